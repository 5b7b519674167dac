package agent

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// stepped is a rig whose agents are Steppers.
type stepped struct {
	*rig
	now     time.Time
	stepper *Stepper
}

func newStepped(t *testing.T) *stepped {
	s := &stepped{rig: newRig(t), now: time.Unix(1e9, 0)}
	s.opts.Uptime = func() (time.Duration, error) { return s.now.Sub(time.Unix(0, 0)), nil }
	return s
}

func (s *stepped) begin() {
	s.t.Helper()
	stepper, err := NewStepper(s.opts, s.now, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.stepper = stepper
}

// pass lets time pass, with all steps that are due in it.
func (s *stepped) pass(d time.Duration) {
	end := s.now.Add(d)
	for {
		wake := s.stepper.Step(s.now)
		if wake.IsZero() || wake.After(end) {
			break
		}
		s.now = wake
	}
	s.now = end
}

func (s *stepped) tell(reset bool, changes ...record.Change) {
	view := s.cluster.view
	for _, c := range changes {
		view.Apply(c)
	}
	if reset {
		changes = nil
	}
	s.stepper.Follow(s.stepper.Following(), registry.Update{Reset: reset, View: view, Changes: changes})
	s.pass(time.Second)
}

func (s *stepped) published(name unit.Name) record.State {
	return s.cluster.view.States[record.Key{Machine: me, Unit: name}]
}

func TestStepperCarriesOutAndAdopts(t *testing.T) {
	s := newStepped(t)
	s.begin()
	h := s.cluster.file(notifier)
	s.tell(true, place("a.service", launched(h)))
	if got := s.published("a.service"); got.Active != "active" || got.Spec != launched(h) {
		t.Fatalf("published %+v", got)
	}
	if s.stepper.Units() != 1 || s.stepper.Health() != nil {
		t.Errorf("%d units, health %v", s.stepper.Units(), s.stepper.Health())
	}
	s.sys.log()

	s.begin() // the one before was killed
	if err := s.stepper.Health(); err == nil {
		t.Error("it follows its schedule before it has one")
	}
	s.tell(true)
	if did := s.sys.log(); len(did) > 0 {
		t.Errorf("the next agent did %v", did)
	}
	s.tell(false, place("a.service", record.Spec{Target: unit.TargetNone}))
	if want := []string{"stop a.service", "reset a.service", "remove a.service"}; !slices.Equal(s.sys.log(), want) {
		t.Errorf("the unit was not taken away")
	}
	if s.tell(false, vanish("a.service")); !s.stepper.Empty() {
		t.Error("something is left")
	}
}

// The engine takes note of an acknowledgement by deleting it, with the instruction. A
// unit that is given and taken away anew at that very moment must be acknowledged anew,
// though to the agent it all comes at once, or in a snapshot.
func TestAWithdrawalRightAfterAnotherIsAcknowledged(t *testing.T) {
	none := place("a.service", record.Spec{Target: unit.TargetNone})
	for name, reset := range map[string]bool{"told at once": false, "in a snapshot": true} {
		t.Run(name, func(t *testing.T) {
			s := newStepped(t)
			s.cluster.engine = false
			s.begin()
			h := s.cluster.file(notifier)
			s.tell(true, place("a.service", launched(h)))
			s.tell(false, none)
			if got := s.published("a.service"); got.Target != unit.TargetNone {
				t.Fatalf("published %+v", got)
			}
			s.cluster.view.Apply(record.StateChange{Key: record.Key{Machine: me, Unit: "a.service"}})
			s.tell(reset, vanish("a.service"), place("a.service", launched(h)), none)
			if got := s.published("a.service"); got.Target != unit.TargetNone {
				t.Errorf("published %+v", got)
			}
			if s.tell(false, vanish("a.service")); !s.stepper.Empty() {
				t.Error("something is left")
			}
		})
	}
}

func TestStepperIsKilledInACall(t *testing.T) {
	s := newStepped(t)
	h := s.cluster.file(sleeper)
	s.cluster.view.Apply(place("a.service", launched(h)))
	for _, after := range []bool{false, true} {
		s.sys.fault = func(call string, done bool) error {
			if call == "start a.service" && done == after {
				panic(killed{})
			}
			return nil
		}
		func() {
			defer func() {
				if r := recover(); r != (killed{}) {
					t.Fatalf("not killed, but %v", r)
				}
			}()
			s.begin()
			s.tell(true)
		}()
	}
	s.sys.fault = func(string, bool) error { return nil }
	s.begin()
	s.tell(true)
	if runs := s.sys.get("a.service").runs; runs != 1 {
		t.Errorf("it was started %d times", runs)
	}
	if got := s.published("a.service"); got.Spec != launched(h) {
		t.Errorf("published %+v", got)
	}
}

func TestStepperAwaitsJobs(t *testing.T) {
	s := newStepped(t)
	s.begin()
	s.sys.slow = true
	h := s.cluster.file(notifier)
	s.tell(true, place("a.service", launched(h)))
	if got := s.published("a.service"); got.Active != "activating" {
		t.Errorf("published %+v", got)
	}
	s.sys.finish("a.service")
	s.pass(time.Second)
	if got := s.published("a.service"); got.Active != "active" {
		t.Errorf("published %+v", got)
	}
}

func TestStepperWantsTheScheduleAnewAfterACutOff(t *testing.T) {
	s := newStepped(t)
	s.cluster.renewed = s.now
	s.begin()
	h := s.cluster.file(sleeper + "[X-Fleet]\nIsolation=stop\n")
	s.tell(true, place("a.service", launched(h)))
	first := s.stepper.Following()

	s.pass(s.opts.TTL * 3 / 4)
	if active := s.sys.get("a.service").active; active != "inactive" {
		t.Fatalf("cut off, and the unit is %s", active)
	}
	s.cluster.renewed = s.now
	s.pass(time.Second)
	if s.stepper.Following() == first {
		t.Fatal("the lease is back, and the schedule is not asked for")
	}
	s.stepper.Follow(first, registry.Update{Reset: true, View: s.cluster.view})
	if s.pass(time.Second); s.sys.get("a.service").active != "inactive" {
		t.Fatal("started by a schedule of before")
	}
	s.cluster.renewed = s.now
	if s.tell(true); s.sys.get("a.service").active != "active" {
		t.Error("not started anew")
	}
}

func TestStepperGuards(t *testing.T) {
	s := newStepped(t)
	s.cluster.renewed = s.now
	s.begin()
	h := s.cluster.file(sleeper + "[X-Fleet]\nIsolation=stop\n")
	s.tell(true, place("a.service", launched(h)))

	s.opts.Registry = nil
	s.begin()
	if s.stepper.Following() != 0 {
		t.Error("it follows while it guards")
	}
	if s.pass(s.opts.TTL / 2); s.sys.get("a.service").active != "active" {
		t.Fatal("stopped too early")
	}
	if s.pass(s.opts.TTL / 2); s.sys.get("a.service").active != "inactive" {
		t.Error("it outlived the lease")
	}
}

func TestStepperStopsAll(t *testing.T) {
	s := newStepped(t)
	s.begin()
	h := s.cluster.file(sleeper)
	s.tell(true, place("a.service", launched(h)))
	s.stepper.StopAll()
	if s.pass(time.Second); !s.stepper.Empty() || s.sys.get("a.service").active != "inactive" {
		t.Error("it still runs")
	}
}

func TestStepperLeavesOperationsToItsOwner(t *testing.T) {
	s := newStepped(t)
	var waiting []func()
	stepper, err := NewStepper(s.opts, s.now, func(op func()) { waiting = append(waiting, op) })
	if err != nil {
		t.Fatal(err)
	}
	s.stepper = stepper
	h := s.cluster.file(notifier)
	for s.tell(true, place("a.service", launched(h))); len(waiting) > 0; s.pass(time.Second) {
		if got := s.published("a.service"); got.Active != "" {
			t.Fatalf("published %+v, and operations wait", got)
		}
		op := waiting[0]
		waiting = waiting[1:]
		op()
	}
	if got := s.published("a.service"); got.Active != "active" {
		t.Errorf("published %+v", got)
	}
}

func TestStepperNeedsItsRecords(t *testing.T) {
	s := newStepped(t)
	s.opts.Records = unreadable{}
	if _, err := NewStepper(s.opts, s.now, nil); !errors.Is(err, errUnreadable) {
		t.Errorf("got %v", err)
	}
}

var errUnreadable = errors.New("a disk that can't be read")

type unreadable struct{ Records }

func (unreadable) Cluster() (record.Cluster, error) { return record.Cluster{}, nil }
func (unreadable) Load(func(error)) ([]Record, error) {
	return nil, errUnreadable
}
