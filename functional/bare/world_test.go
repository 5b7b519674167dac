package bare

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	if err := platform.Install(context.Background(), os.Stdout); err != nil {
		fmt.Println(err)
		return 1
	}
	return m.Run()
}

// userData is where a host that was installed finds what it is to boot with.
const userData = "/var/lib/coreos-install/user_data"

// world is one test's network: a discovery service, and hosts.
type world struct {
	*cluster.Cluster
	t     *testing.T
	ctx   context.Context
	plat  *platform.Platform
	layer string // the package, installed

	listen, data string // the discovery service's
	service      *cluster.Program
	logs         []string // of those that were killed
}

func newWorld(t *testing.T) *world {
	t.Helper()
	plat := platform.ForTest(t)
	ctx, cancel := context.WithTimeout(t.Context(), 6*time.Minute)
	t.Cleanup(cancel)
	layer, err := cluster.Installed(ctx, plat)
	if err != nil {
		t.Fatal(err)
	}
	listen, err := cluster.FreePort(plat.Gateway().String())
	if err != nil {
		t.Fatal(err)
	}
	return &world{
		Cluster: &cluster.Cluster{}, t: t, ctx: ctx, plat: plat, layer: layer,
		listen: listen, data: t.TempDir(),
	}
}

// serve starts the discovery service, on this machine, which all hosts reach.
func (w *world) serve() {
	w.t.Helper()
	service, err := cluster.LaunchDiscovery(w.ctx, w.listen, w.data)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(service.Kill)
	w.service = service
}

// crash kills the discovery service.
func (w *world) crash() {
	w.service.Kill()
	w.logs = append(w.logs, w.service.Log())
}

// registrations is how often a host has joined, by the discovery services' logs.
func (w *world) registrations() int {
	return strings.Count(strings.Join(w.logs, "")+w.service.Log(), " joined, ")
}

// url makes a discovery URL, as an operator does.
func (w *world) url(size int) string {
	w.t.Helper()
	url, err := cluster.Get(w.ctx, fmt.Sprintf("http://%s/new?size=%d", w.listen, size))
	if err != nil {
		w.t.Fatal(err)
	}
	return url
}

// boot boots bare hosts that have been given files, all at once.
func (w *world) boot(files map[string]platform.File, names ...string) []*platform.Host {
	w.t.Helper()
	var specs []platform.HostSpec
	for _, name := range names {
		specs = append(specs, platform.HostSpec{Name: name, Layers: []string{w.layer}, Files: files})
	}
	hosts, err := w.plat.BootAll(w.ctx, specs...)
	if err != nil {
		w.t.Fatal(err)
	}
	w.Hosts = append(w.Hosts, hosts...)
	return hosts
}

// with is a host's user-data.
func with(text string) map[string]platform.File {
	return map[string]platform.File{userData: {Content: text, Mode: 0o600}}
}

// sh runs a shell line on a host; it must succeed.
func (w *world) sh(h *platform.Host, line string) string {
	w.t.Helper()
	out, err := h.Run(w.ctx, "sh", "-ec", line)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// fleetctl runs fleetctl on a host; it must succeed.
func (w *world) fleetctl(h *platform.Host, args ...string) string {
	w.t.Helper()
	out, err := h.Run(w.ctx, append([]string{"fleetctl"}, args...)...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

func (w *world) await(what string, holds func() (bool, string)) {
	w.t.Helper()
	if err := cluster.Await(w.ctx, what, holds); err != nil {
		w.t.Fatal(err)
	}
}

// says waits until systemctl status of a unit on a host shows all of these words:
// what somebody sees who looks why a host isn't there.
func (w *world) says(h *platform.Host, unit string, words ...string) {
	w.t.Helper()
	w.await(fmt.Sprintf("%s's %s to say %q", h.Name(), unit, words), func() (bool, string) {
		out, err := h.Run(w.ctx, "sh", "-c", "systemctl status --no-pager --full --lines=50 "+unit+"; true")
		if err != nil {
			return false, err.Error()
		}
		for _, word := range words {
			if !strings.Contains(out, word) {
				return false, out
			}
		}
		return true, ""
	})
}

// role is what a host has become to its etcd cluster: "member", "proxy", or "" as
// yet.
func (w *world) role(h *platform.Host) string {
	out, err := h.Run(w.ctx, "sh", "-c", "[ ! -e /var/lib/etcd2/member/wal ] || echo member; [ ! -e /var/lib/etcd2/proxy ] || echo proxy")
	if err != nil {
		return ""
	}
	return strings.Join(strings.Fields(out), "+")
}

// awaitRole waits until a host has become something.
func (w *world) awaitRole(want string, hosts ...*platform.Host) {
	w.t.Helper()
	for _, h := range hosts {
		w.await(h.Name()+" to be a "+want, func() (bool, string) {
			is := w.role(h)
			return is == want, is
		})
	}
}

// etcdCluster is a cluster as one of its members tells it.
type etcdCluster struct {
	ID      string
	Members []etcdMember
}

type etcdMember struct {
	ID, Name  string
	PeerURLs  []string `json:"peerURLs"`
	IsLearner bool     `json:"isLearner"`
}

// names are the members' names, which are machine ids, in order.
func (c etcdCluster) names() []string {
	var names []string
	for _, m := range c.Members {
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return names
}

// ask asks a host's etcd for its cluster.
func (w *world) ask(h *platform.Host) (c etcdCluster, err error) {
	req, err := http.NewRequestWithContext(w.ctx, http.MethodPost, "http://"+h.IP()+":2379/v3/cluster/member/list", strings.NewReader("{}"))
	if err != nil {
		return c, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return c, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return c, err
	}
	var answer struct {
		Header struct {
			ClusterID string `json:"cluster_id"`
		}
		Members []etcdMember
	}
	if err := json.Unmarshal(text, &answer); err != nil || resp.StatusCode != http.StatusOK {
		return c, fmt.Errorf("%s: %s", resp.Status, text)
	}
	return etcdCluster{answer.Header.ClusterID, answer.Members}, nil
}

// members waits until these hosts are members of one etcd cluster, with nobody
// else, and gives it.
func (w *world) members(hosts ...*platform.Host) etcdCluster {
	w.t.Helper()
	var want []string
	for _, h := range hosts {
		want = append(want, h.MachineID())
	}
	slices.Sort(want)
	var first etcdCluster
	for i, h := range hosts {
		w.await(h.Name()+" to be one of the etcd cluster's members", func() (bool, string) {
			c, err := w.ask(h)
			if err != nil {
				return false, err.Error()
			}
			if i == 0 {
				first = c
			}
			return slices.Equal(c.names(), want) && c.ID == first.ID, fmt.Sprint(c)
		})
	}
	return first
}

// awaitMachines waits until fleetctl on a host lists so many machines, and gives
// what it says.
func (w *world) awaitMachines(h *platform.Host, want int) string {
	w.t.Helper()
	list := ""
	w.await(fmt.Sprintf("%d machines in fleetctl list-machines on %s", want, h.Name()), func() (bool, string) {
		out, err := h.Run(w.ctx, "fleetctl", "list-machines", "--no-legend", "--full")
		if err != nil {
			return false, err.Error()
		}
		list = out
		return strings.Count(out, "\n") == want, out
	})
	return list
}
