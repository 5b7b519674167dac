package agent

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

func TestUnitsLife(t *testing.T) {
	r := newRig(t).start()
	h := r.cluster.file(sleeper)
	r.cluster.tell(place("a.service", launched(h)))
	r.cluster.await(t, "launched", is("a.service", unit.TargetLaunched, "active"))
	r.idle()
	if diff := cmp.Diff([]string{"write 1", "start a.service"}, r.sys.log()); diff != "" {
		t.Error(diff)
	}

	spec := launched(h)
	spec.Restart = 1
	r.cluster.tell(place("a.service", spec))
	r.cluster.await(t, "restarted", func(s map[unit.Name]record.State) bool { return s["a.service"].Spec == spec })
	r.idle()
	if diff := cmp.Diff([]string{"restart a.service"}, r.sys.log()); diff != "" {
		t.Error(diff)
	}

	changed := r.cluster.file(sleeper + "[Install]\nWantedBy=multi-user.target\n")
	spec.File = changed
	r.cluster.tell(place("a.service", spec))
	r.cluster.await(t, "updated", func(s map[unit.Name]record.State) bool { return s["a.service"].Spec == spec })
	r.idle()
	if diff := cmp.Diff([]string{"write 1", "enable", "restart a.service"}, r.sys.log()); diff != "" {
		t.Error(diff)
	}

	spec.Target = unit.TargetLoaded
	r.cluster.tell(place("a.service", spec))
	r.cluster.await(t, "stopped", is("a.service", unit.TargetLoaded, "inactive"))
	r.cluster.tell(place("a.service", record.Spec{Target: unit.TargetNone}))
	r.cluster.await(t, "forgotten", gone("a.service"))
	r.idle()
	want := []string{"stop a.service", "disable", "reset a.service", "remove a.service"}
	if diff := cmp.Diff(want, slices.DeleteFunc(r.sys.log(), func(s string) bool { return s == "reload" })); diff != "" {
		t.Error(diff)
	}
	r.stop()
	if n := len(r.agent.core.units); n != 0 {
		t.Errorf("%d units are remembered", n)
	}
}

// A oneshot that was launched and is inactive is done. One whose job still
// waits its turn must not look so.
func TestStartThatWaitsItsTurnIsNotSaid(t *testing.T) {
	r := newRig(t).start()
	r.sys.mu.Lock()
	r.sys.slow, r.sys.queued = true, true
	started := make(chan struct{})
	r.sys.fault = func(call string, after bool) error {
		if call == "start a.service" && after {
			close(started)
		}
		return nil
	}
	r.sys.mu.Unlock()
	r.cluster.tell(place("a.service", launched(r.cluster.file(sleeper))))
	<-started
	r.idle()
	r.cluster.await(t, "looked at", func(s map[unit.Name]record.State) bool {
		if st := s["a.service"]; st.Target == unit.TargetLaunched {
			t.Errorf("said before its turn: %+v", st)
		}
		return true
	})
	r.sys.finish("a.service")
	r.cluster.await(t, "launched", is("a.service", unit.TargetLaunched, "active"))
}

// A restart has not taken place while the run before it goes on.
func TestRestartThatWaitsItsTurnIsNotSaid(t *testing.T) {
	r := newRig(t).start()
	spec := launched(r.cluster.file(sleeper))
	r.cluster.tell(place("a.service", spec))
	r.cluster.await(t, "launched", is("a.service", unit.TargetLaunched, "active"))
	r.sys.mu.Lock()
	r.sys.slow, r.sys.queued = true, true
	accepted := make(chan struct{})
	r.sys.fault = func(call string, after bool) error {
		if call == "restart a.service" && after {
			close(accepted)
		}
		return nil
	}
	r.sys.mu.Unlock()
	spec.Restart = 1
	r.cluster.tell(place("a.service", spec))
	<-accepted
	r.idle()
	restarted := func(s map[unit.Name]record.State) bool { return s["a.service"].Restart == 1 }
	r.cluster.await(t, "looked at", func(s map[unit.Name]record.State) bool {
		if restarted(s) {
			t.Errorf("said before its turn: %+v", s["a.service"])
		}
		return true
	})
	r.sys.finish("a.service")
	r.cluster.await(t, "restarted", restarted)
}

func TestIdleHostPublishesNothing(t *testing.T) {
	r := newRig(t).start()
	r.cluster.tell(place("a.service", launched(r.cluster.file(sleeper))))
	r.cluster.await(t, "launched", is("a.service", unit.TargetLaunched, "active"))
	r.idle()
	puts := r.cluster.puts
	r.sys.mu.Lock()
	r.sys.become("a.service", "active") // a signal without news
	r.sys.changes.Resync = true
	r.sys.mu.Unlock()
	r.idle()
	if r.cluster.puts != puts {
		t.Error("published though nothing changed")
	}
}

func TestBatch(t *testing.T) {
	r := newRig(t).start()
	var changes []record.Change
	for i := range 100 {
		changes = append(changes, place(unit.Name(fmt.Sprintf("u%d.service", i)), launched(r.cluster.file(sleeper))))
	}
	r.cluster.tell(changes...)
	r.cluster.await(t, "all launched", func(s map[unit.Name]record.State) bool {
		n := 0
		for _, st := range s {
			if st.Target == unit.TargetLaunched && st.Active == "active" {
				n++
			}
		}
		return n == 100
	})
	r.idle()
	log := r.sys.log()
	if log[0] != "write 100" || len(log) != 101 || r.cluster.fileCalls != 1 {
		t.Errorf("%d file calls, %d calls: %v", r.cluster.fileCalls, len(log), log)
	}
	t.Logf("%d puts of states", r.cluster.puts)
}

// Nothing is done to units when fleetd is restarted or killed, whatever they did
// meanwhile.
func TestAdopts(t *testing.T) {
	r := newRig(t).start()
	h := r.cluster.file(sleeper)
	r.cluster.tell(place("runs.service", launched(h)), place("failed.service", launched(h)), place("exits.service", launched(h)))
	for _, name := range []unit.Name{"runs.service", "failed.service", "exits.service"} {
		r.cluster.await(t, "launched", is(name, unit.TargetLaunched, "active"))
	}
	r.idle()
	r.stop()
	r.sys.log()
	r.sys.happens("failed.service", "failed")
	r.sys.happens("exits.service", "inactive")
	puts := r.cluster.puts
	r.start()
	r.cluster.await(t, "told", is("failed.service", unit.TargetLaunched, "failed"))
	r.idle()
	if log := r.sys.log(); len(log) > 0 {
		t.Errorf("a new agent did %v", log)
	}
	if n := r.cluster.puts - puts; n != 1 {
		t.Errorf("%d puts", n)
	}
}

func TestVanishedKeyStopsNothing(t *testing.T) {
	r := newRig(t).start()
	r.cluster.tell(place("a.service", launched(r.cluster.file(sleeper))))
	r.cluster.await(t, "launched", is("a.service", unit.TargetLaunched, "active"))
	r.cluster.tell(vanish("a.service"))
	r.idle()
	r.stop()
	r.start() // and neither does a snapshot without it
	r.idle()
	if u := r.sys.get("a.service"); u.active != "active" {
		t.Errorf("it is %s", u.active)
	}
	r.cluster.await(t, "still told", is("a.service", unit.TargetLaunched, "active"))
}

func TestLostCluster(t *testing.T) {
	for name, other := range map[string]*record.Cluster{"gone": nil, "another": {ID: "other"}} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t).start()
			h := r.cluster.file(sleeper)
			r.cluster.tell(place("a.service", launched(h)))
			r.cluster.await(t, "launched", is("a.service", unit.TargetLaunched, "active"))
			r.cluster.tell(record.ClusterChange{New: other}, place("a.service", record.Spec{Target: unit.TargetNone}), place("b.service", launched(h)))
			r.idle()
			r.stop()
			r.start() // it is remembered
			r.idle()
			if u := r.sys.get("a.service"); u.active != "active" || r.sys.get("b.service").runs > 0 {
				t.Error("the host was changed")
			}
			err := r.agent.Health()
			if err == nil || !strings.Contains(err.Error(), `etcdctl put cluster '{"id":"c","schema":"1.0.0"}'`) {
				t.Errorf("health: %v", err)
			}
			r.cluster.tell(record.ClusterChange{New: &record.Cluster{ID: "c", Schema: "1.0.0"}})
			r.cluster.await(t, "resumed", is("b.service", unit.TargetLaunched, "active"))
			r.cluster.await(t, "withdrawn", gone("a.service"))
			if err := r.agent.Health(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestErrorsAreTold(t *testing.T) {
	clock := newFakeClock()
	r := newRig(t)
	r.opts.Clock = clock
	r.sys.foreign["ssh.service"] = true
	r.start()
	// Of a unit that systemd knows, in systemd's words; of one that was never
	// given to it, in fleet's.
	told := func(name unit.Name, load, active, word string) {
		t.Helper()
		r.cluster.await(t, word, func(s map[unit.Name]record.State) bool {
			st := s[name]
			return strings.Contains(st.Error, word) && st.Load == load && st.Active == active
		})
	}
	r.cluster.tell(
		place("ssh.service", launched(r.cluster.file(sleeper))),
		place("bad.service", launched(r.cluster.file(badText))),
		place("lost.service", launched(unit.HashOf([]byte("lost")))),
		place("busy.socket", launched(r.cluster.file(busyText))),
	)
	defer clock.run()()
	told("ssh.service", "error", "failed", "belongs to this host")
	told("bad.service", "loaded", "inactive", "bad unit file setting")
	told("lost.service", "error", "failed", "isn't in etcd")
	told("busy.socket", "loaded", "inactive", "refused to start")

	r.cluster.file("lost")
	r.cluster.await(t, "found", is("lost.service", unit.TargetLaunched, "active"))
}

// A unit whose file couldn't be written is not started without it.
func TestInstallThatFailedIsDoneAgain(t *testing.T) {
	clock := newFakeClock()
	r := newRig(t)
	r.opts.Clock = clock
	full := true
	r.sys.fault = func(call string, after bool) error {
		if call == "write 1" && full {
			full = false // the one install at a time
			return errors.New("no space left on device")
		}
		return nil
	}
	r.start()
	defer clock.run()()
	r.cluster.tell(place("a.service", launched(r.cluster.file(sleeper))))
	r.cluster.await(t, "launched", is("a.service", unit.TargetLaunched, "active"))
}

func TestSystemdAway(t *testing.T) {
	r := newRig(t).start()
	h := r.cluster.file(sleeper)
	r.cluster.tell(place("a.service", launched(h)))
	r.cluster.await(t, "launched", is("a.service", unit.TargetLaunched, "active"))
	r.sys.mu.Lock()
	r.sys.down = true
	r.sys.mu.Unlock()
	r.cluster.tell(place("b.service", launched(h)))
	r.sys.mu.Lock()
	r.sys.down = false
	r.sys.get("a.service").active = "failed" // nobody signalled
	r.sys.changes.Resync = true
	r.sys.notify()
	r.sys.mu.Unlock()
	r.cluster.await(t, "known", is("a.service", unit.TargetLaunched, "failed"))
	r.cluster.await(t, "launched", is("b.service", unit.TargetLaunched, "active"))
}

func TestMetrics(t *testing.T) {
	r := newRig(t)
	reg := prometheus.NewRegistry()
	r.opts.Metrics = reg
	r.start()
	r.cluster.tell(place("a.service", launched(r.cluster.file(sleeper))))
	r.cluster.await(t, "launched", is("a.service", unit.TargetLaunched, "active"))
	r.idle()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() == "fleet_agent_units" {
			for _, m := range f.Metric {
				if n := m.Gauge.GetValue(); (n == 1) != (m.Label[0].GetValue() == "active") {
					t.Error(m)
				}
			}
		}
		if f.GetName() == "fleet_agent_reconcile_repairs_total" && f.Metric[0].Counter.GetValue() != 0 {
			t.Error(f)
		}
	}
}

// A host that is told of a withdrawal's end, of a launch and of another withdrawal all
// at once has its acknowledgement repeated: that of the first went with the first.
func TestAnotherWithdrawal(t *testing.T) {
	r := newRig(t)
	r.cluster.engine = false
	r.start()
	none := record.Spec{Target: unit.TargetNone}
	r.cluster.tell(place("a.service", none))
	r.cluster.await(t, "the first acknowledged", is("a.service", unit.TargetNone, "inactive"))
	r.cluster.tell(vanish("a.service"), record.StateChange{Key: record.Key{Machine: me, Unit: "a.service"}},
		place("a.service", launched(r.cluster.file(sleeper))), place("a.service", none))
	r.cluster.await(t, "the second acknowledged", is("a.service", unit.TargetNone, "inactive"))
	r.idle()
	r.cluster.tell(vanish("a.service"))
	r.cluster.await(t, "forgotten", func(states map[unit.Name]record.State) bool { return len(states) == 0 })
}
