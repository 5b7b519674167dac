package functional

import (
	"context"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
	"github.com/google/go-cmp/cmp"
)

// A live cluster of fleet 1.0 becomes one of this fleet, as
// docs/migrating-from-coreos-fleet.md says, and no unit is stopped or moved.
func TestMoveALiveClusterFromFleet1_0(t *testing.T) {
	if whyNoHost != nil {
		t.Skipf("needs real hosts: %v", whyNoHost)
	}
	c, err := bootFleet1("live")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	w := &world{Cluster: c, t: t, ctx: ctx}
	t.Cleanup(func() {
		if t.Failed() {
			keepJournals(t.Name())
		}
		for _, h := range c.Hosts {
			if err := h.Remove(); err != nil {
				t.Error(err)
			}
		}
	})

	w.fleet1Units()
	w.file("wanted.service", sleeper("")+"\n[Install]\nWantedBy=multi-user.target\n")
	launched := []string{"a.service", "t@1.service", "t@2.service", "g.service", "wanted.service"}
	w.run(c.Hosts[0], `cd /root/fleet1; cp /root/units/wanted.service .; f=/opt/fleet1/fleetctl
$f submit t@.service; $f start a.service t@1 t@2 g.service wanted.service; $f load once.service`)
	running := func() (bool, string) {
		out := w.run(c.Hosts[0], "/opt/fleet1/fleetctl list-units --no-legend --fields unit,active,sub")
		return strings.Count(out, "running") == len(launched)+1 && strings.Contains(out, "once.service"), out
	}
	w.await("fleet 1.0's units", running)
	before := w.processes(launched...)

	// Save the units as fleet 1.0 has them.
	w.run(c.Hosts[0], `PATH=/opt/fleet1:$PATH; cd /root
mkdir moved && cd moved
fleetctl list-unit-files --no-legend --fields unit,dstate >../states
while read -r unit state; do fleetctl cat "$unit" >"$unit"; done <../states`)
	// Put the new programs and services in place, on every host.
	for _, h := range c.Hosts {
		w.installFleet(h)
	}
	// Stop the old etcd: fleet 1.0 can change nothing any more, and keeps what runs.
	w.run(c.Hosts[0], "systemctl stop etcd1.service")
	for _, h := range c.Hosts {
		w.await("fleet 1.0 to notice", func() (bool, string) {
			out, err := h.Journal(ctx, "fleet.service")
			return err == nil && strings.Contains(out, "Server register machine failed"), out
		})
	}
	// Kill fleet 1.0 everywhere: systemd starts the new fleetd.
	var all sync.WaitGroup
	for _, h := range c.Hosts {
		all.Go(func() {
			if _, err := h.Run(ctx, "systemctl", "kill", "--kill-who=main", "--signal=KILL", "fleet.service"); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	// Start the new etcd, empty.
	w.run(c.Hosts[0], "mv /var/lib/etcd2 /var/lib/etcd2.old")
	if _, err := cluster.Form(ctx, c.Hosts, cluster.Options{}); err != nil {
		t.Fatal(err)
	}
	// Submit the units in the states that they had.
	w.run(c.Hosts[0], `cd /root/moved
while read -r unit state; do
  case $state in
    launched) fleetctl start "$unit" ;;
    loaded) fleetctl load "$unit" ;;
    *) fleetctl submit "$unit" ;;
  esac </dev/null
done <../states`)

	if d := cmp.Diff(before, w.processes(launched...)); d != "" {
		t.Errorf("main processes before (-) and after (+):\n%s", d)
	}
	if out := w.fleetctl("list-units", "--no-legend", "--fields", "unit,active"); strings.Count(out, "\n") != len(launched)+2 {
		t.Errorf("list-units: %s", out)
	}
	// They are this fleet's now.
	w.fleetctl("restart", "a.service")
	w.fleetctl("destroy", "a.service", "t@1.service", "t@2.service", "g.service", "wanted.service", "once.service", "t@.service")
	for where, pid := range w.processes(launched...) {
		if pid != "0" {
			t.Errorf("after destroy, %s runs on as %s", where, pid)
		}
	}
	for _, h := range c.Hosts {
		if left := w.run(h, "cd /run/systemd/system; ls -d a.service t@* g.service wanted.service multi-user.target.wants/* 2>/dev/null || true"); left != "" {
			t.Errorf("destroy left on %s: %s", h.Name(), left)
		}
	}
}

// A unit moves from a cluster of fleet 1.0 to one of this fleet beside it.
func TestMoveAUnitFromFleet1_0(t *testing.T) {
	w, old := use(t), useFleet1(t)
	old.fleet1Units()
	if said, code := old.fleetctlAt("start a.service"); code != 0 {
		t.Fatal(said)
	}
	w.run(w.Hosts[0], `cd /root; old=http://`+old.Hosts[0].IP()+`:8320
fleetctl --endpoint $old cat a.service >a.service
fleetctl start a.service
fleetctl --endpoint $old destroy a.service`)
	if !w.active(w.host("a.service"), "a.service") {
		t.Error("it doesn't run in the new cluster")
	}
	for where, pid := range old.processes("a.service") {
		if pid != "0" {
			t.Errorf("%s still runs as %s", where, pid)
		}
	}
	if said, _ := old.fleetctlAt("list-unit-files --no-legend"); said != "" {
		t.Errorf("fleet 1.0 still has %s", said)
	}
}

// installFleet puts this fleet's services, whose package is installed, in the
// place of fleet 1.0's, without starting anything.
func (w *world) installFleet(h *platform.Host) {
	w.t.Helper()
	w.run(h, "rm /etc/systemd/system/fleet.service /etc/systemd/system/fleet.socket; systemctl daemon-reload")
}
