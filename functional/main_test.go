package functional

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// agentTTL is short, for the tests that wait for a host to be given up.
const agentTTL = 5 * time.Second

// shared is the cluster of all tests; nil where real hosts can't be booted.
var (
	shared    *cluster.Cluster
	plat      *platform.Platform
	whyNoHost error
)

func TestMain(m *testing.M) {
	flag.Parse()
	// What runs in parallel here mostly waits: for timeouts, for slow units.
	if err := flag.Set("test.parallel", "6"); err != nil {
		panic(err)
	}
	os.Exit(run(m))
}

func run(m *testing.M) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := platform.Install(ctx, os.Stdout); err != nil {
		fmt.Println(err)
		return 1
	}
	if whyNoHost = platform.Check(); whyNoHost == nil {
		if err := boot(ctx); err != nil {
			fmt.Println(err)
			if plat != nil {
				keepJournals("boot")
				plat.Close()
			}
			return 1
		}
		defer plat.Close()
	}
	stop() // an interrupt ends the tests at once: the hosts end with their owner
	return m.Run()
}

func boot(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Minute)
	defer cancel()
	opts := cluster.Options{Conf: func(i int) []string {
		return []string{"agent_ttl=" + agentTTL.String(), fmt.Sprintf("metadata=index=%d,region=%s", i, []string{"eu", "eu", "us"}[i])}
	}}
	var err error
	if plat, err = platform.New(ctx, platform.Options{Out: os.Stdout}); err != nil {
		return err
	}
	specs, err := cluster.Specs(ctx, plat, opts)
	if err != nil {
		return err
	}
	for i := range specs { // lists are in the order of machine ids
		specs[i].MachineID = fmt.Sprintf("%d%d%d%029x", i+1, i+1, i+1, rand.Uint64())
	}
	hosts, err := plat.BootAll(ctx, specs...)
	if err != nil {
		return err
	}
	shared, err = cluster.Form(ctx, hosts, opts)
	return err
}

// keepJournals writes all hosts' journals where a person can read them.
func keepJournals(test string) {
	dir := "failed/" + strings.ReplaceAll(test, "/", "-")
	if err := plat.CollectJournals(context.Background(), dir); err != nil {
		fmt.Println("the hosts' journals:", err)
		return
	}
	fmt.Printf("the hosts' journals are in functional/%s\n", dir)
}

// world is the cluster as one test uses it.
type world struct {
	*cluster.Cluster
	t   testing.TB
	ctx context.Context
}

// use gives a test the whole cluster, and checks at its end that it is whole
// again.
func use(t testing.TB) *world {
	t.Helper()
	if whyNoHost != nil {
		t.Skipf("needs real hosts: %v", whyNoHost)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	w := &world{Cluster: shared, t: t, ctx: ctx}
	t.Cleanup(func() {
		cancel()
		if t.Failed() {
			keepJournals(t.Name())
		}
		after, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := shared.AwaitMachines(after, len(shared.Hosts)); err != nil {
			t.Errorf("the test left the cluster broken: %v", err)
		}
		w.destroyAll(after)
	})
	return w
}

// destroyAll leaves no unit in the cluster.
func (w *world) destroyAll(ctx context.Context) {
	w.t.Helper()
	if left, _ := w.Fleetctl(ctx, "list-unit-files", "--no-legend", "--fields", "unit"); left != "" {
		if _, err := w.Fleetctl(ctx, append([]string{"destroy"}, strings.Fields(left)...)...); err != nil {
			w.t.Errorf("destroying what the test left: %v", err)
		}
	}
}

// fleetctl runs fleetctl on the first running host; it must succeed.
func (w *world) fleetctl(args ...string) string {
	w.t.Helper()
	out, err := w.Fleetctl(w.ctx, args...)
	if err != nil {
		w.t.Fatal(err)
	}
	return out
}

// file puts a unit file on every host, in /root/units, and gives its path.
func (w *world) file(name, text string) string {
	w.t.Helper()
	path := "/root/units/" + name
	for _, h := range w.Hosts {
		if h.State() != platform.Running {
			continue
		}
		if err := h.WriteFile(w.ctx, path, platform.File{Content: text}); err != nil {
			w.t.Fatal(err)
		}
	}
	return path
}

// sleeper is a unit that runs until it is stopped.
func sleeper(fleetOptions string) string {
	return "[Service]\nExecStart=/bin/sleep infinity\n\n[X-Fleet]\n" + fleetOptions
}

// host is where a unit is placed; the test fails if nowhere.
func (w *world) host(unit string) *platform.Host {
	w.t.Helper()
	h := w.HostOf(w.ctx, unit)
	if h == nil {
		w.t.Fatalf("%s is placed nowhere:\n%s", unit, w.fleetctl("list-units", "--full"))
	}
	return h
}

// run runs a shell line on a host; it must succeed.
func (w *world) run(h *platform.Host, line string) string {
	w.t.Helper()
	out, err := h.Run(w.ctx, "sh", "-ec", line)
	if err != nil {
		w.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// mainPID is a unit's main process on a host, "0" if it has none.
func (w *world) mainPID(h *platform.Host, unit string) string {
	w.t.Helper()
	return w.run(h, "systemctl show -P MainPID "+unit)
}

// active says whether systemd on a host has the unit active.
func (w *world) active(h *platform.Host, unit string) bool {
	w.t.Helper()
	return w.run(h, "systemctl is-active "+unit+" || true") == "active"
}

// await waits for a condition of the test's.
func (w *world) await(what string, holds func() (bool, string)) {
	w.t.Helper()
	if err := cluster.Await(w.ctx, what, holds); err != nil {
		w.t.Fatal(err)
	}
}

// startMany starts n sleepers named prefix@1 … and gives where each runs and
// its main PID.
func (w *world) startMany(prefix string, n int, fleetOptions string) map[string]running {
	w.t.Helper()
	w.file(prefix+"@.service", sleeper(fleetOptions))
	args := []string{"sh", "-ec", "cd /root/units && exec fleetctl start \"$@\"", "sh"}
	for i := 1; i <= n; i++ {
		args = append(args, fmt.Sprintf("%s@%d.service", prefix, i))
	}
	if _, err := w.Any().Run(w.ctx, args...); err != nil {
		w.t.Fatal(err)
	}
	return w.where(prefix + "@")
}

// running is where a unit runs, and as what process.
type running struct{ host, pid string }

// where gives all units of a prefix that have a main process, on any host that
// runs.
func (w *world) where(prefix string) map[string]running {
	w.t.Helper()
	all := map[string]running{}
	for _, h := range w.Hosts {
		if h.State() == platform.Off {
			continue
		}
		out := w.run(h, "for u in $(systemctl list-units --plain --no-legend --state=active '"+prefix+"*' | awk '{print $1}'); do echo $u $(systemctl show -P MainPID $u); done")
		for _, line := range strings.Split(out, "\n") {
			f := strings.Fields(line)
			if len(f) != 2 {
				continue
			}
			if other, twice := all[f[0]]; twice {
				w.t.Errorf("%s runs on %s and on %s", f[0], other.host, h.Name())
			}
			all[f[0]] = running{h.Name(), f[1]}
		}
	}
	return all
}
