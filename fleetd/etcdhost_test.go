package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/fleet-project/fleet/discovery/server"
	"github.com/sirupsen/logrus"
)

// testDNS, in the environment of a fleetd that a test starts, is the DNS server
// that it asks.
const testDNS = "FLEET_TEST_DNS"

// asFleetd is what a test starts as fleetd.
func asFleetd() {
	if dns := os.Getenv(testDNS); dns != "" {
		net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, "udp", dns)
		}}
	}
	main()
}

// networks counts the test's networks: each has 127.x.y.0/24 of its own.
var networks atomic.Uint32

// network is where a test's hosts are.
type network struct{ prefix string }

func newNetwork(t *testing.T) network {
	t.Helper()
	n := uint32(os.Getpid())*16 + networks.Add(1)
	return network{fmt.Sprintf("127.%d.%d.", 1+n/250%250, 1+n%250)}
}

// etcdHost is a host of one: fleetd etcd as a process with an address of its own.
type etcdHost struct {
	t       *testing.T
	name    string
	addr    string
	dir     string // its data
	environ []string

	said  *book
	cmd   *exec.Cmd
	ended chan struct{}
}

// host is one that isn't started yet. It is configured as the cloud-config of
// old has it, by what it is given and its own address.
func (n network) host(t *testing.T, i int, environ ...string) *etcdHost {
	h := &etcdHost{t: t, name: fmt.Sprint("n", i), addr: n.prefix + fmt.Sprint(i), dir: filepath.Join(t.TempDir(), "etcd2")}
	h.environ = append([]string{
		"ETCD_NAME=" + h.name,
		"ETCD_DATA_DIR=" + h.dir,
		"ETCD_LOG_LEVEL=error",
		"ETCD_UNSAFE_NO_FSYNC=true",
		"COREOS_PRIVATE_IPV4=" + h.addr,
		"ETCD_INITIAL_ADVERTISE_PEER_URLS=http://$private_ipv4:2380",
		"ETCD_LISTEN_PEER_URLS=http://$private_ipv4:2380",
		"ETCD_ADVERTISE_CLIENT_URLS=http://$private_ipv4:2379,http://$private_ipv4:4001",
		"ETCD_LISTEN_CLIENT_URLS=http://$private_ipv4:2379,http://$private_ipv4:4001",
	}, environ...)
	return h
}

// start starts fleetd etcd.
func (h *etcdHost) start(args ...string) *etcdHost {
	h.t.Helper()
	h.said, h.ended = new(book), make(chan struct{})
	h.cmd = exec.Command("fleetd", append([]string{"etcd"}, args...)...)
	h.cmd.Env = append([]string{"PATH=" + os.Getenv("PATH")}, h.environ...)
	h.cmd.Stdout, h.cmd.Stderr = h.said, h.said
	if err := h.cmd.Start(); err != nil {
		h.t.Fatal(err)
	}
	go func() {
		_ = h.cmd.Wait() // the exit status is asked for
		close(h.ended)
	}()
	h.t.Cleanup(h.kill)
	return h
}

// kill ends it at once.
func (h *etcdHost) kill() {
	_ = h.cmd.Process.Kill() // it may have ended
	<-h.ended
}

// exit waits until it has ended by itself, and gives its exit status.
func (h *etcdHost) exit() int {
	h.t.Helper()
	select {
	case <-h.ended:
	case <-time.After(time.Minute):
		h.t.Fatalf("%s never ended:\n%s", h.name, h.said)
	}
	return h.cmd.ProcessState.ExitCode()
}

// terminate ends it as systemd does.
func (h *etcdHost) terminate() int {
	h.t.Helper()
	if err := h.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		h.t.Fatal(err)
	}
	return h.exit()
}

// refused says that it ended, for good, and said so.
func (h *etcdHost) refused(says ...string) {
	h.t.Helper()
	if code := h.exit(); code != 78 {
		h.t.Errorf("%s ended with %d:\n%s", h.name, code, h.said)
	}
	for _, s := range says {
		if !strings.Contains(h.said.String(), s) {
			h.t.Errorf("%s does not say %q, but:\n%s", h.name, s, h.said)
		}
	}
}

// members are the names of the cluster's members as a client at a URL of this
// host is told, once it answers.
func (h *etcdHost) members(client *http.Client, base string) []string {
	h.t.Helper()
	for deadline := time.Now().Add(30 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		names, err := askMembers(client, base)
		if err == nil {
			return names
		}
		select {
		case <-h.ended:
			h.t.Fatalf("%s has ended (%v):\n%s", h.name, h.cmd.ProcessState, h.said)
		default:
		}
		if time.Now().After(deadline) {
			h.t.Fatalf("%s does not answer (%v):\n%s", h.name, err, h.said)
		}
	}
}

// askMembers asks by etcd's JSON gateway, with a linearizable read: a majority
// must be there.
func askMembers(client *http.Client, base string) ([]string, error) {
	resp, err := client.Post(base+"/v3/cluster/member/list", "application/json", bytes.NewBufferString(`{"linearizable":true}`))
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	var list struct{ Members []struct{ Name string } }
	if err := json.Unmarshal(text, &list); err != nil || resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s (%w)", resp.Status, text, err)
	}
	var names []string
	for _, m := range list.Members {
		if m.Name == "" {
			return nil, fmt.Errorf("a member has not started: %s", text)
		}
		names = append(names, m.Name)
	}
	slices.Sort(names)
	return names, nil
}

// formed checks that hosts are members of one cluster, and no others are.
func formed(t *testing.T, hosts ...*etcdHost) {
	t.Helper()
	formedAt(t, newClient(nil), "http", hosts...)
}

func formedAt(t *testing.T, client *http.Client, scheme string, hosts ...*etcdHost) {
	t.Helper()
	var want []string
	for _, h := range hosts {
		want = append(want, h.name)
	}
	slices.Sort(want)
	for _, h := range hosts {
		for _, port := range []string{"2379", "4001"} {
			if got := h.members(client, scheme+"://"+h.addr+":"+port); !slices.Equal(got, want) {
				t.Fatalf("%s is in a cluster of %v, and not of %v:\n%s", h.name, got, want, h.said)
			}
		}
	}
}

// newClient is an HTTP client with these certificates, if any, that asks anew
// rather than wait: etcd may begin to listen long before it answers.
func newClient(cfg *tls.Config) *http.Client {
	return &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}}
}

// aDiscovery is our service, with something in its way if wanted.
type aDiscovery struct {
	*httptest.Server
	service  http.Handler
	underway atomic.Pointer[func(http.ResponseWriter, *http.Request)]
}

func startDiscovery(t *testing.T) *aDiscovery {
	t.Helper()
	store, err := server.OpenStore(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	log := logrus.New()
	log.SetOutput(io.Discard)
	srv, err := server.New(server.Options{Store: store, Log: logrus.NewEntry(log)})
	if err != nil {
		t.Fatal(err)
	}
	d := &aDiscovery{service: srv}
	d.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if f := d.underway.Load(); f != nil {
			(*f)(w, r)
			return
		}
		srv.ServeHTTP(w, r)
	}))
	t.Cleanup(func() {
		d.CloseClientConnections()
		d.Close()
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return d
}

// url is a new one, for so many members.
func (d *aDiscovery) url(t *testing.T, size int) string {
	t.Helper()
	req := httptest.NewRequest("GET", fmt.Sprintf("/new?size=%d", size), nil)
	req.Host = strings.TrimPrefix(d.URL, "http://")
	w := httptest.NewRecorder()
	d.service.ServeHTTP(w, req)
	if w.Code != http.StatusOK {
		t.Fatal(w.Body)
	}
	return w.Body.String()
}
