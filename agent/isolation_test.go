package agent

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// isolationRig is a host whose uptime may go on while its clock stands still.
type isolationRig struct {
	*rig
	clock  *fakeClock
	booted time.Time
	mu     sync.Mutex
	asleep time.Duration
}

func newIsolationRig(t *testing.T) *isolationRig {
	r := &isolationRig{rig: newRig(t), clock: newFakeClock()}
	r.booted = r.clock.Now().Add(-time.Hour)
	r.opts.Clock = r.clock
	r.opts.Uptime = func() (time.Duration, error) {
		r.mu.Lock()
		defer r.mu.Unlock()
		return r.clock.Now().Sub(r.booted) + r.asleep, nil
	}
	r.renew()
	return r
}

func (r *isolationRig) renew() {
	r.cluster.mu.Lock()
	defer r.cluster.mu.Unlock()
	r.cluster.renewed = r.clock.Now()
}

func (r *isolationRig) suspend(d time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.asleep += d
}

func (r *isolationRig) pass(d time.Duration) {
	r.t.Helper()
	for ; d > 0; d -= 100 * time.Millisecond {
		r.idleNow()
		r.clock.advance(min(d, 100*time.Millisecond))
	}
	r.idleNow()
}

// until lets a little time pass, again and again, until something holds.
func (r *isolationRig) until(what string, holds func() bool) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); {
		r.idleNow()
		if holds() {
			return
		}
		r.clock.advance(time.Millisecond)
	}
	r.t.Fatalf("never %s", what)
}

// launch starts one unit that says Isolation=stop.
func (r *isolationRig) launch() {
	r.t.Helper()
	r.cluster.tell(place("stop.service", launched(r.cluster.file(isolated))))
	r.until("launched", func() bool { return is("stop.service", unit.TargetLaunched, "active")(r.cluster.states()) })
	r.sys.log()
}

func (r *isolationRig) did(want ...string) {
	r.t.Helper()
	if got := r.sys.log(); !slices.Equal(got, want) {
		r.t.Errorf("did %v, not %v", got, want)
	}
}

// The loop's clock stands still while the host is suspended, the lease's doesn't.
func TestSuspended(t *testing.T) {
	for name, c := range map[string]struct {
		asleep time.Duration
		want   []string
	}{
		"for moments":             {5 * time.Second, nil},
		"until the lease is late": {20 * time.Second, []string{"stop stop.service"}},
		"for an hour":             {time.Hour, []string{"stop stop.service", "kill stop.service"}},
	} {
		t.Run(name, func(t *testing.T) {
			r := newIsolationRig(t)
			r.start()
			r.launch()
			r.sys.delay(true)
			r.suspend(c.asleep)
			r.pass(2 * time.Second)
			r.did(c.want...)
			r.sys.delay(false)
		})
	}
}

// Between a renewal and the loop's look at it the host may have been suspended.
func TestSuspendedAfterRenewal(t *testing.T) {
	r := newIsolationRig(t)
	r.start()
	r.launch()
	r.pass(10 * time.Second)
	r.renew()
	r.suspend(time.Hour)
	r.pass(2 * time.Second)
	r.did("stop stop.service", "kill stop.service")
}

// A host that was suspended before its first such unit came: the unit isn't started
// on a lease that may be older than it looks, nor on one that may have to be taken for
// old moments later; but on the next renewal.
func TestSuspendedBeforeTheFirstUnit(t *testing.T) {
	r := newIsolationRig(t)
	r.start()
	r.pass(time.Second)
	r.suspend(15 * time.Second)
	r.pass(time.Second)
	r.cluster.tell(place("stop.service", launched(r.cluster.file(isolated))))
	r.pass(2 * time.Second)
	for _, call := range r.sys.log() {
		if call == "start stop.service" {
			t.Error("it is started on a lease that nobody knows the age of")
		}
	}
	r.renew()
	r.until("launched", func() bool { return is("stop.service", unit.TargetLaunched, "active")(r.cluster.states()) })
}

// What nobody has written down may have ended long ago.
func TestGuardKnowsNothing(t *testing.T) {
	r := newIsolationRig(t)
	r.start()
	r.launch()
	r.stop()
	if err := writeJSON(r.agent.records.(store).leasePath(), lease{Boot: "another"}); err != nil {
		t.Fatal(err)
	}
	r.sys.log()
	r.run(newGuard(r.opts))
	r.pass(time.Second)
	r.did("stop stop.service", "kill stop.service")
}

// A fleetd that was started anew with another agent_ttl has not got that lease yet.
func TestGuardOfAnotherTTL(t *testing.T) {
	r := newIsolationRig(t)
	r.start()
	r.launch()
	r.stop()
	r.opts.TTL = 300 * time.Second
	r.run(newGuard(r.opts))
	r.pass(25 * time.Second)
	r.did("stop stop.service", "kill stop.service")
}

// An earlier fleetd ended before it could stop a unit that was taken away. Who guards
// can't ask whether it still is: it stops it, as it does any other, and leaves the
// withdrawal to who can. To kill it would not do: with Restart= it would be back.
func TestGuardOfAWithdrawal(t *testing.T) {
	r := newIsolationRig(t)
	r.start()
	r.launch()
	r.stop()
	records, err := r.agent.records.Load(func(err error) { t.Error(err) })
	if err != nil || len(records) != 1 {
		t.Fatal(records, err)
	}
	records[0].Intent = &record.Spec{Target: unit.TargetNone}
	if err := r.agent.records.Save(&records[0]); err != nil {
		t.Fatal(err)
	}
	r.run(newGuard(r.opts))
	r.pass(25 * time.Second)
	r.did("stop stop.service")
	r.stop()
	r.renew()
	r.cluster.tell(place("stop.service", record.Spec{Target: unit.TargetNone}))
	r.start()
	r.until("taken away", func() bool {
		records, err := r.agent.records.Load(func(err error) { t.Error(err) })
		return err == nil && len(records) == 0
	})
}

// A process that was stopped between the decision to start a unit and the call.
func TestNoStartOnALeaseThatEnds(t *testing.T) {
	r := newIsolationRig(t)
	r.start()
	r.launch()
	r.pass(15 * time.Second)
	rec := r.agent.core.units["stop.service"].rec
	if err := r.agent.mayStart(rec); err != nil {
		t.Errorf("after 16 s: %v", err)
	}
	r.suspend(10 * time.Second) // the loop hasn't looked yet
	if err := r.agent.mayStart(rec); !errors.Is(err, errLeaseEnds) {
		t.Errorf("after 26 s: %v", err)
	}
	if err := r.agent.mayStart(&Record{}); err != nil {
		t.Errorf("a unit that may run twice: %v", err)
	}
	r.stop()
}

// systemd hangs: what must be dead is killed without it.
func TestSlain(t *testing.T) {
	r := newIsolationRig(t)
	slain := &slayingSystemd{fakeSystemd: r.sys}
	r.opts.Systemd = slain
	r.start()
	r.launch()
	r.sys.fault = func(call string, after bool) error {
		if !after && (call == "stop stop.service" || call == "kill stop.service") {
			return context.DeadlineExceeded
		}
		return nil
	}
	r.pass(25 * time.Second)
	if n := slain.count(); n != 0 {
		t.Errorf("after 26 s it was slain %d times", n)
	}
	r.pass(2 * time.Second)
	if n := slain.count(); n == 0 {
		t.Error("after 28 s it lives")
	}
}

type slayingSystemd struct {
	*fakeSystemd
	lock sync.Mutex
	n    int
}

func (s *slayingSystemd) Slay([]unit.Name) error {
	s.lock.Lock()
	defer s.lock.Unlock()
	s.n++
	return nil
}

func (s *slayingSystemd) count() int {
	s.lock.Lock()
	defer s.lock.Unlock()
	return s.n
}
