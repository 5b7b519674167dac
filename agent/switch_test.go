package agent

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// fakeSwitch notes for when it is armed.
type fakeSwitch struct {
	clock *fakeClock
	mu    sync.Mutex
	at    time.Time
	ended int
	err   error
}

func (s *fakeSwitch) Arm(_ context.Context, in time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.err == nil {
		s.at = s.clock.Now().Add(in)
	}
	return s.err
}

func (s *fakeSwitch) Disarm(context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.at = time.Time{}
	s.ended++
	return s.err
}

func (s *fakeSwitch) state() (at time.Time, ended int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.at, s.ended
}

func TestSwitch(t *testing.T) {
	r := newIsolationRig(t)
	dead := &fakeSwitch{clock: r.clock}
	r.opts.Switch = dead
	r.start()
	r.pass(time.Second)
	if at, ended := dead.state(); !at.IsZero() || ended != 1 {
		t.Errorf("without such units it is armed for %s, ended %d times: once, in case an earlier fleetd had armed it", at, ended)
	}
	first := r.cluster.RenewedAt()
	r.launch()
	r.until("armed for 0.7 of the lease", func() bool { at, _ := dead.state(); return at.Equal(first.Add(21 * time.Second)) })
	r.pass(10 * time.Second)
	r.renew()
	renewed := r.clock.Now()
	r.pass(2 * time.Second)
	if at, _ := dead.state(); !at.Equal(renewed.Add(21 * time.Second)) {
		t.Errorf("armed for %s after the next renewal", at.Sub(renewed))
	}
	r.did()
	// Nobody looked while the switch did its work: it is ended before the unit is
	// started again, and armed anew.
	r.cluster.mu.Lock()
	r.cluster.renewed = r.clock.Now().Add(24 * time.Second)
	r.cluster.mu.Unlock()
	r.clock.advance(25 * time.Second)
	r.pass(3 * time.Second)
	r.did("stop stop.service", "start stop.service")
	if at, ended := dead.state(); ended != 2 || at.IsZero() {
		t.Errorf("ended %d times, armed for %s", ended, at)
	}
	r.cluster.tell(place("stop.service", record.Spec{Target: unit.TargetNone}))
	r.until("disarmed", func() bool { at, _ := dead.state(); return at.IsZero() })
}

// While no unit says Isolation=stop nobody looks at the lease. The next one that does
// is not stopped for that.
func TestSwitchIsArmedAnew(t *testing.T) {
	r := newIsolationRig(t)
	dead := &fakeSwitch{clock: r.clock}
	r.opts.Switch = dead
	r.start()
	r.launch()
	r.cluster.tell(place("stop.service", record.Spec{Target: unit.TargetNone}))
	r.until("disarmed", func() bool { at, _ := dead.state(); return at.IsZero() })
	for range 6 {
		r.pass(10 * time.Second)
		r.renew()
	}
	_, before := dead.state()
	r.sys.log()
	r.cluster.tell(place("other.service", launched(r.cluster.file(isolated))))
	r.until("launched", func() bool { return is("other.service", unit.TargetLaunched, "active")(r.cluster.states()) })
	r.until("armed", func() bool { at, _ := dead.state(); return !at.IsZero() })
	r.did("write 1", "start other.service")
	if _, ended := dead.state(); ended != before {
		t.Errorf("the switch was ended %d times, though nothing was stopped", ended-before)
	}
}

// A host that can't have one works all the same, and goes on trying.
func TestSwitchThatFails(t *testing.T) {
	r := newIsolationRig(t)
	dead := &fakeSwitch{clock: r.clock, err: errors.New("no")}
	r.opts.Switch = dead
	r.start()
	r.launch()
	dead.mu.Lock()
	dead.err = nil
	dead.mu.Unlock()
	r.pass(3 * time.Second)
	if at, _ := dead.state(); at.IsZero() {
		t.Error("not tried again")
	}
}

// A switch that can't be ended, for D-Bus is away, is tried again in a while, not at
// once for ever.
func TestSwitchThatCannotBeEnded(t *testing.T) {
	r := newIsolationRig(t)
	dead := &fakeSwitch{clock: r.clock}
	r.opts.Switch = dead
	r.start()
	r.launch()
	fail := func(err error) (ended int) {
		dead.mu.Lock()
		defer dead.mu.Unlock()
		dead.err = err
		return dead.ended
	}
	before := fail(errors.New("no"))
	r.cluster.tell(place("stop.service", record.Spec{Target: unit.TargetNone}))
	r.until("tried again", func() bool { _, ended := dead.state(); return ended >= before+3 })
	r.pass(3 * time.Second)
	if _, ended := dead.state(); ended > before+30 {
		t.Errorf("tried %d times", ended-before)
	}
	after := fail(nil)
	r.until("ended", func() bool { _, ended := dead.state(); return ended > after })
}

// What the dead man's switch has started ends by itself: when it has stopped the
// units, or when somebody else has, such as a host that is shut down.
func TestIsolateEnds(t *testing.T) {
	for _, tt := range []struct {
		name string
		what func(r *isolationRig)
	}{
		{"the lease ends", func(*isolationRig) {}},
		{"the host is shut down", func(r *isolationRig) { r.sys.happens("stop.service", "inactive") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := newIsolationRig(t)
			r.start()
			r.launch()
			r.stop()
			safe := make(chan struct{})
			r.run(newIsolation(r.opts, sync.OnceFunc(func() { close(safe) })))
			ended := func() bool {
				select {
				case <-safe:
					return true
				default:
					return false
				}
			}
			r.idleNow()
			if ended() {
				t.Fatal("it ends while its unit runs")
			}
			tt.what(r)
			r.pass(r.opts.TTL * 8 / 10)
			if ended() {
				t.Error("it ends before it has killed what its unit may have left behind")
			}
			r.pass(r.opts.TTL / 10)
			r.until("ends", ended)
		})
	}
	t.Run("nothing is there", func(t *testing.T) {
		r := newIsolationRig(t)
		if err := Isolate(t.Context(), r.opts); err != nil {
			t.Error(err)
		}
	})
}
