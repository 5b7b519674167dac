package agent

import (
	"context"
	"testing"
	"time"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

const isolated = sleeper + "[X-Fleet]\nIsolation=stop\n"

func TestLeaveHandsOver(t *testing.T) {
	r := newRig(t).start()
	r.cluster.tell(place("a.service", launched(r.cluster.file(sleeper))))
	r.cluster.await(t, "launched", is("a.service", unit.TargetLaunched, "active"))
	if err := r.agent.Leave(context.Background()); err != nil {
		t.Error(err)
	}
	r.cluster.await(t, "taken away", gone("a.service"))
	if !r.cluster.machine.Leaving || !r.cluster.left || r.sys.get("a.service").active != "inactive" {
		t.Errorf("leaving %v, left %v, unit %s", r.cluster.machine.Leaving, r.cluster.left, r.sys.get("a.service").active)
	}
}

// Without an engine, or without etcd, the host stops its units itself, and the
// next agent starts them anew.
func TestLeaveAlone(t *testing.T) {
	for name, down := range map[string]bool{"no engine": false, "no etcd": true} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t).start()
			r.cluster.tell(place("a.service", launched(r.cluster.file(sleeper))))
			r.cluster.await(t, "launched", is("a.service", unit.TargetLaunched, "active"))
			r.cluster.mu.Lock()
			r.cluster.engine, r.cluster.down = false, down
			r.cluster.mu.Unlock()
			ctx, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
			defer cancel()
			if err := r.agent.Leave(ctx); err != nil {
				t.Error(err)
			}
			if !r.cluster.left || r.sys.get("a.service").active != "inactive" || len(r.sys.files) > 0 {
				t.Errorf("left %v, unit %s", r.cluster.left, r.sys.get("a.service").active)
			}
			r.stop()
			r.start()
			r.cluster.await(t, "launched again", is("a.service", unit.TargetLaunched, "active"))
		})
	}
}

// The lease of 30 s ends: a unit that says Isolation=stop is stopped ten seconds
// before, and killed three seconds before.
func TestIsolation(t *testing.T) {
	clock := newFakeClock()
	r := newRig(t)
	r.opts.Clock = clock
	r.cluster.renewed = clock.Now()
	r.start()
	pass := func(d time.Duration) {
		t.Helper()
		for ; d > 0; d -= 100 * time.Millisecond {
			r.idleNow()
			clock.advance(min(d, 100*time.Millisecond))
		}
		r.idleNow()
	}
	keep, stop := r.cluster.file(sleeper), r.cluster.file(isolated)
	r.cluster.tell(place("keep.service", launched(keep)), place("stop.service", launched(stop)))
	began := clock.Now()
	for !is("stop.service", unit.TargetLaunched, "active")(r.cluster.states()) {
		pass(time.Millisecond)
		if clock.Now().Sub(began) > 900*time.Millisecond {
			t.Fatalf("not launched: %+v", r.cluster.states())
		}
	}
	pass(time.Second - clock.Now().Sub(began))
	r.sys.log()
	r.sys.delay(true)

	pass(18900 * time.Millisecond)
	if log := r.sys.log(); len(log) > 0 {
		t.Errorf("after 19.9 s: %v", log)
	}
	pass(200 * time.Millisecond)
	if log := r.sys.log(); len(log) != 1 || log[0] != "stop stop.service" {
		t.Errorf("after 20.1 s: %v", log)
	}
	pass(6800 * time.Millisecond)
	if log := r.sys.log(); len(log) > 0 {
		t.Errorf("after 26.9 s: %v", log)
	}
	pass(200 * time.Millisecond)
	if log := r.sys.log(); len(log) != 1 || log[0] != "kill stop.service" {
		t.Errorf("after 27.1 s: %v", log)
	}
	if a := r.sys.get("stop.service").active; a != "inactive" {
		t.Errorf("it is %s", a)
	}
	pass(10 * time.Minute)
	// The lease is back, and the schedule says that it is still ours.
	r.sys.delay(false)
	r.cluster.mu.Lock()
	r.cluster.renewed = clock.Now()
	r.cluster.mu.Unlock()
	pass(3 * time.Second)
	if log := r.sys.log(); len(log) != 1 || log[0] != "start stop.service" {
		t.Errorf("back: %v", log)
	}
	if u := r.sys.get("keep.service"); u.runs != 1 || u.active != "active" {
		t.Errorf("the other one was touched: %+v", u)
	}
}

// While the host was cut off, the unit was given to another.
func TestIsolatedUnitThatMoved(t *testing.T) {
	clock := newFakeClock()
	r := newRig(t)
	r.opts.Clock = clock
	r.cluster.renewed = clock.Now()
	r.start()
	pass := func(d time.Duration) {
		for ; d > 0; d -= 500 * time.Millisecond {
			r.idleNow()
			clock.advance(500 * time.Millisecond)
		}
		r.idleNow()
	}
	r.cluster.tell(place("stop.service", launched(r.cluster.file(isolated))))
	pass(25 * time.Second)
	if a := r.sys.get("stop.service").active; a != "inactive" {
		t.Fatalf("it is %s", a)
	}
	r.sys.log()
	r.cluster.mu.Lock()
	key := record.Key{Machine: me, Unit: "stop.service"}
	delete(r.cluster.view.Schedule, key) // followers weren't told: only a new snapshot shows it
	r.cluster.renewed = clock.Now()
	r.cluster.mu.Unlock()
	pass(5 * time.Second)
	if log := r.sys.log(); len(log) > 0 {
		t.Errorf("did %v", log)
	}
}

func (c *fakeCluster) states() map[unit.Name]record.State {
	c.mu.Lock()
	defer c.mu.Unlock()
	out := map[unit.Name]record.State{}
	for key, s := range c.view.States {
		out[key.Unit] = s
	}
	return out
}

// idleNow waits until the agent does nothing but wait for time to pass.
func (r *rig) idleNow() {
	r.t.Helper()
	calm := 0
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		busy := make(chan bool, 1)
		a := r.agent
		a.post(func(now time.Time) {
			due := len(a.pending) > 0 && !now.Before(a.publishAt)
			busy <- a.active > 0 || due || len(a.ends) > 0 || len(a.core.dirty) > 0 || a.opts.Registry != nil && !a.core.following || a.resync ||
				a.returning || len(a.sys.Changed()) > 0 || len(a.events) > 0
		})
		if <-busy {
			calm = 0
		} else if calm++; calm == 2 {
			return
		}
	}
	r.t.Fatal("the agent never comes to rest")
}
