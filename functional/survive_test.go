package functional

import (
	"fmt"
	"maps"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
	"github.com/google/go-cmp/cmp"
)

func TestKilledFleetdRestartsAndMovesNothing(t *testing.T) {
	w := use(t)
	before := w.startMany("kill", 6, "")
	id := w.Hosts[1].MachineID()
	presence := w.get(w.Hosts[0], prefix+"machines/"+id).Kvs
	old := w.mainPID(w.Hosts[1], "fleet.service")
	for range 3 {
		w.run(w.Hosts[1], "systemctl kill --signal=SIGKILL --kill-whom=main fleet.service")
		w.await("fleetd to be back", func() (bool, string) {
			pid := w.mainPID(w.Hosts[1], "fleet.service")
			if len(w.get(w.Hosts[0], prefix+"machines/"+id).Kvs) != 1 {
				t.Fatal("the machine vanished from the cluster")
			}
			return pid != "0" && pid != old && w.joinedSince(w.Hosts[1], pid), "main PID " + pid
		})
		old = w.mainPID(w.Hosts[1], "fleet.service")
	}
	if d := cmp.Diff(before, w.where("kill@"), cmp.AllowUnexported(running{})); d != "" {
		t.Errorf("units changed:\n%s", d)
	}
	if len(presence) != 1 {
		t.Errorf("the machine had %d presence keys", len(presence))
	}
}

// joinedSince says whether the fleetd of that main PID has joined the cluster.
func (w *world) joinedSince(h *platform.Host, pid string) bool {
	return strings.Contains(w.run(h, "journalctl -o cat _PID="+pid+" || true"), "joined the cluster")
}

func TestRestartOfAllFleetdRestartsAndMovesNothing(t *testing.T) {
	w := use(t)
	before := w.startMany("again", 9, "")
	w.everywhere(func(h *platform.Host) { w.run(h, "systemctl restart fleet.service") })
	for _, h := range w.Hosts {
		w.await("fleetd to have joined", func() (bool, string) {
			return w.joinedSince(h, w.mainPID(h, "fleet.service")), h.Name()
		})
	}
	// Whatever they would do, they do before they answer this.
	w.fleetctl("start", w.file("after.service", sleeper("")))
	if d := cmp.Diff(before, w.where("again@"), cmp.AllowUnexported(running{})); d != "" {
		t.Errorf("units changed:\n%s", d)
	}
}

// everywhere runs something on all hosts at once.
func (w *world) everywhere(do func(h *platform.Host)) {
	var wg sync.WaitGroup
	for _, h := range w.Hosts {
		wg.Go(func() { do(h) })
	}
	wg.Wait()
}

func TestStoppedFleetdHandsItsUnitsOver(t *testing.T) {
	w := use(t)
	w.startMany("hand", 6, "")
	w.run(w.Hosts[2], "systemctl stop fleet.socket fleet.service")
	after := w.where("hand@")
	w.await("all six to run on the other two", func() (bool, string) {
		after = w.where("hand@")
		return len(after) == 6, fmt.Sprint(after)
	})
	for unit, r := range after {
		if r.host == w.Hosts[2].Name() {
			t.Errorf("%s still runs on the host that left", unit)
		}
	}
	w.run(w.Hosts[2], "systemctl start fleet.socket fleet.service")
	if err := w.AwaitMachines(w.ctx, 3); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(after, w.where("hand@"), cmp.AllowUnexported(running{})); d != "" {
		t.Errorf("units moved when the host came back:\n%s", d)
	}
}

func TestLostHostLosesItsUnitsAndTheFirstBackDoesNotGetAll(t *testing.T) {
	w := use(t)
	before := w.startMany("lost", 9, "")
	lost := w.Hosts[1]
	if err := lost.Kill(); err != nil {
		t.Fatal(err)
	}
	var after map[string]running
	w.await("all nine to run on the other two", func() (bool, string) {
		after = w.where("lost@")
		return len(after) == 9, fmt.Sprint(after)
	})
	count := map[string]int{}
	for unit, r := range after {
		count[r.host]++
		if was := before[unit]; was.host != lost.Name() && was != r {
			t.Errorf("%s was %v, is %v: it had no reason to change", unit, was, r)
		}
	}
	if count[w.Hosts[0].Name()] < 3 || count[w.Hosts[2].Name()] < 3 {
		t.Errorf("not spread over the survivors: %v", count)
	}
	if err := lost.Start(w.ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.AwaitMachines(w.ctx, 3); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(after, w.where("lost@"), cmp.AllowUnexported(running{})); d != "" {
		t.Errorf("units moved when the host came back:\n%s", d)
	}
}

func TestHostRebootedInTimeKeepsItsUnits(t *testing.T) {
	w := use(t)
	before := w.startMany("reboot", 6, "")
	h := w.Hosts[1]
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(w.ctx); err != nil {
		t.Fatal(err)
	}
	var after map[string]running
	w.await("all six to run again", func() (bool, string) {
		after = w.where("reboot@")
		return len(after) == 6, fmt.Sprint(after)
	})
	for unit, was := range before {
		if is := after[unit]; is.host != was.host || was.host != h.Name() && is.pid != was.pid {
			t.Errorf("%s was %v, is %v", unit, was, is)
		}
	}
}

func TestEtcdDownStopsAndMovesNothing(t *testing.T) {
	w := use(t)
	before := w.startMany("etcd", 6, "")
	// Killed, all at once: a stop in order takes etcd seconds, in which two
	// members may still end the leases of the host whose own is down.
	w.everywhere(func(h *platform.Host) {
		w.run(h, "systemctl kill --signal=SIGKILL etcd2.service; systemctl stop etcd2.service")
	})
	// The outage must outlast every lease.
	outage := time.NewTimer(2 * agentTTL)
	defer outage.Stop()
	<-outage.C
	if d := cmp.Diff(before, w.where("etcd@"), cmp.AllowUnexported(running{})); d != "" {
		t.Errorf("units changed while etcd was down:\n%s", d)
	}
	w.everywhere(func(h *platform.Host) { w.run(h, "systemctl start etcd2.service") })
	if err := w.AwaitMachines(w.ctx, 3); err != nil {
		t.Fatal(err)
	}
	// A full round of leases later, nothing may have moved.
	round := time.NewTimer(2 * agentTTL)
	defer round.Stop()
	<-round.C
	if d := cmp.Diff(before, w.where("etcd@"), cmp.AllowUnexported(running{})); d != "" {
		t.Errorf("units changed when etcd came back:\n%s", d)
	}
}

func TestCutOffHostKeepsItsUnitsButNotIsolationStop(t *testing.T) {
	w := use(t)
	cut := w.Hosts[2]
	pin := "MachineMetadata=index=2\n"
	w.fleetctl("start", w.file("keep.service", sleeper(pin)), w.file("stop.service", sleeper("Isolation=stop\n"+pin)))
	keep := w.mainPID(cut, "keep.service")
	if err := cut.CutOff(w.ctx); err != nil {
		t.Fatal(err)
	}
	w.await("stop.service to be stopped on the host that is cut off", func() (bool, string) {
		return !w.active(cut, "stop.service"), "active"
	})
	if got := w.get(w.Hosts[0], prefix+"machines/"+cut.MachineID()); len(got.Kvs) != 1 {
		t.Error("stop.service was stopped only after the cluster had given the host up")
	}
	w.await("the cluster to give the host up", func() (bool, string) {
		got := w.get(w.Hosts[0], prefix+"machines/"+cut.MachineID())
		return len(got.Kvs) == 0, fmt.Sprint(got)
	})
	if err := cut.Rejoin(w.ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.AwaitMachines(w.ctx, 3); err != nil {
		t.Fatal(err)
	}
	w.await("stop.service to run again", func() (bool, string) { return w.active(cut, "stop.service"), "inactive" })
	if got := w.mainPID(cut, "keep.service"); got != keep {
		t.Errorf("keep.service was process %s, is %s", keep, got)
	}
}

func TestKeysDeletedByHandStopNothing(t *testing.T) {
	w := use(t)
	before := w.startMany("hold", 6, "")
	w.fleetctl("submit", w.file("inactive.service", sleeper("")))
	cluster := w.get(w.Hosts[0], prefix+"cluster").Kvs[0].Value
	unchanged := func(what string) {
		t.Helper()
		if d := cmp.Diff(before, w.where("hold@"), cmp.AllowUnexported(running{})); d != "" {
			t.Errorf("%s: units changed:\n%s", what, d)
		}
	}
	for _, room := range []string{"schedule/", "states/", "units/", "files/", "machines/", "leader/"} {
		t.Run(room, func(t *testing.T) {
			keys := func() map[string]bool {
				all := map[string]bool{}
				for _, kv := range w.get(w.Hosts[0], prefix+room).Kvs {
					all[kv.Key] = true
				}
				return all
			}
			want := keys()
			if w.deletePrefix(w.Hosts[0], prefix+room) == 0 {
				t.Fatalf("there was nothing under %s", room)
			}
			if room != "leader/" { // whose keys are named by leases
				w.await(room+" to be whole again", func() (bool, string) {
					got := keys()
					return maps.Equal(got, want), cmp.Diff(want, got)
				})
			}
			// The cluster still works.
			w.fleetctl("start", w.file("probe.service", sleeper("")))
			w.fleetctl("destroy", "probe.service")
			unchanged(room)
		})
	}
	t.Run("cluster", func(t *testing.T) {
		w.deleteKey(w.Hosts[0], prefix+"cluster")
		for _, h := range w.Hosts {
			w.await("fleetd to say what is wrong", func() (bool, string) {
				log := w.run(h, "journalctl -o cat -u fleet.service")
				return strings.Contains(log, "etcdctl put "+prefix+"cluster"), h.Name()
			})
		}
		unchanged("cluster")
		w.everywhere(func(h *platform.Host) { w.run(h, "systemctl restart fleet.service") })
		unchanged("cluster, then a restart")
		w.put(w.Hosts[0], prefix+"cluster", cluster)
		w.fleetctl("start", w.file("probe.service", sleeper("")))
		unchanged("cluster, restored")
	})
}

func TestIdleClusterWritesNothing(t *testing.T) {
	w := use(t)
	w.startMany("idle", 50, "")
	settled := w.revision(w.Hosts[0])
	w.await("the revision to settle", func() (bool, string) {
		was := settled
		settled = w.revision(w.Hosts[0])
		return was == settled, settled
	})
	asked := w.requests()
	// Six renewals of every lease.
	idle := time.NewTimer(2 * agentTTL)
	defer idle.Stop()
	<-idle.C
	if d := cmp.Diff(asked, w.requests()); d != "" {
		t.Errorf("etcd was asked for more than to renew leases:\n%s", d)
	}
	if after := w.revision(w.Hosts[0]); after != settled {
		t.Errorf("etcd went from revision %s to %s", settled, after)
	}
}

// requests are how often each host's etcd was asked for anything about keys or
// leases, but for renewals, as it counts that itself.
func (w *world) requests() map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for _, h := range w.Hosts {
		all[h.Name()] = w.run(h, `curl -sf http://127.0.0.1:2379/metrics | grep -E '^grpc_server_started_total.*etcdserverpb.(KV|Lease)"' | grep -v LeaseKeepAlive`)
	}
	return all
}
