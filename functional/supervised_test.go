package functional

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/platform"
	"github.com/google/go-cmp/cmp"
)

// statusText is the Status: line of systemctl status fleet.
func (w *world) statusText(h *platform.Host) string {
	w.t.Helper()
	return w.run(h, "systemctl show -P StatusText fleet.service")
}

func (w *world) awaitStatus(h *platform.Host, words string) {
	w.t.Helper()
	w.await(h.Name()+"'s status to say "+words, func() (bool, string) {
		s := w.statusText(h)
		return strings.Contains(s, words), s
	})
}

func TestCompatFleetdStatusTellsTheTruth(t *testing.T) {
	w := use(t)
	h := w.Hosts[0]
	w.fleetctl("start", w.file("counted.service", sleeper("MachineMetadata=index=0\n")))
	w.awaitStatus(h, "joined as "+h.MachineID()[:8]+" ("+h.IP()+"), 1 units")
	w.await("one leader", func() (bool, string) {
		var all []string
		for _, h := range w.Hosts {
			all = append(all, w.statusText(h))
		}
		return strings.Count(strings.Join(all, "\n"), "leads the cluster") == 1, strings.Join(all, "\n")
	})
	w.everywhere(func(h *platform.Host) {
		w.run(h, "systemctl kill --signal=SIGKILL etcd2.service; systemctl stop etcd2.service")
	})
	w.awaitStatus(h, "etcd is out of reach, everything stays as it is: http://127.0.0.1:2379: dial tcp 127.0.0.1:2379: connect: connection refused")
	w.run(h, "systemctl restart fleet.service")
	w.awaitStatus(h, "waiting for etcd to join the cluster: http://127.0.0.1:2379: dial tcp")
	if state := w.run(h, "systemctl is-active fleet.service"); state != "active" {
		t.Errorf("fleet.service is %s while etcd is away", state)
	}
	w.everywhere(func(h *platform.Host) { w.run(h, "systemctl start etcd2.service") })
	w.awaitStatus(h, "joined as")
}

func TestHungFleetdIsRestartedAndTouchesNothing(t *testing.T) {
	w := use(t)
	h := w.Hosts[1]
	// Shorter than it is in dist/, as is the tests' agent_ttl.
	w.deploy(h, map[string]string{"/etc/systemd/system/fleet.service.d/10-watchdog.conf": "[Service]\nWatchdogSec=2s\n"}, "systemctl restart fleet.service")
	w.awaitStatus(h, "joined as")
	// Without etcd it lives all the same.
	pid := w.mainPID(h, "fleet.service")
	w.everywhere(func(h *platform.Host) { w.run(h, "systemctl stop etcd2.service") })
	w.awaitStatus(h, "etcd is out of reach")
	for range 2 {
		last := w.lastBeat(h)
		w.await("a sign of life without etcd", func() (bool, string) { return w.lastBeat(h) != last, last })
	}
	w.everywhere(func(h *platform.Host) { w.run(h, "systemctl start etcd2.service") })
	if err := w.AwaitMachines(w.ctx, 3); err != nil {
		t.Fatal(err)
	}
	if now := w.mainPID(h, "fleet.service"); now != pid {
		t.Fatalf("fleetd was process %s, is %s, though only etcd was away", pid, now)
	}
	before := w.startMany("hung", 6, "")
	w.run(h, "systemctl kill --signal=SIGSTOP --kill-whom=main fleet.service")
	w.await("systemd to restart fleetd", func() (bool, string) {
		now := w.mainPID(h, "fleet.service")
		return now != "0" && now != pid && w.joinedSince(h, now), "main PID " + now
	})
	if log := w.run(h, "journalctl -o cat -u fleet.service"); !strings.Contains(log, "Watchdog timeout") {
		t.Errorf("not by its watchdog:\n%s", log)
	}
	if d := cmp.Diff(before, w.where("hung@"), cmp.AllowUnexported(running{})); d != "" {
		t.Errorf("units changed:\n%s", d)
	}
}

// lastBeat is when fleetd last gave a sign of life.
func (w *world) lastBeat(h *platform.Host) string {
	w.t.Helper()
	return w.run(h, "systemctl show -P WatchdogTimestampMonotonic fleet.service")
}

// A fleetd that could not join is stopped for good: what an earlier one left
// must not run here and, once its lease has ended, elsewhere too.
func TestStoppedBeforeJoiningLeavesNothingBehind(t *testing.T) {
	w := use(t)
	h := w.Hosts[2]
	conf := w.run(h, "cat /etc/fleet/fleet.conf") + "\n"
	w.startMany("left", 6, "")
	w.deploy(h, map[string]string{"/etc/fleet/fleet.conf": conf + "etcd_servers=http://127.0.0.1:1\n"}, "systemctl restart fleet.service")
	w.awaitStatus(h, "waiting for etcd")
	here := 0
	for _, r := range w.where("left@") {
		if r.host == h.Name() {
			here++
		}
	}
	if here == 0 {
		t.Fatal("no unit runs on the host")
	}
	w.run(h, "systemctl stop fleet.socket fleet.service")
	if left := w.run(h, "systemctl list-units --plain --no-legend --state=active 'left@*' || true"); left != "" {
		t.Errorf("still there:\n%s", left)
	}
	w.await("all six to run on the other two", func() (bool, string) {
		all := w.where("left@")
		return len(all) == 6, fmt.Sprint(all)
	})
}
