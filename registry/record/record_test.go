package record

import (
	"testing"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// What a machine says of a unit carries the count: a unit that was stopped, or
// stopped and started again, must not be taken for what it was before.
func TestAimCountsStops(t *testing.T) {
	for _, tt := range []struct {
		from, to unit.Target
		counts   bool
	}{
		{unit.TargetInactive, unit.TargetLaunched, false},
		{unit.TargetLoaded, unit.TargetLaunched, false},
		{unit.TargetLaunched, unit.TargetLaunched, false},
		{unit.TargetLoaded, unit.TargetInactive, false},
		{unit.TargetLaunched, unit.TargetLoaded, true},
		{unit.TargetLaunched, unit.TargetInactive, true},
	} {
		u := Unit{File: "f", Target: tt.from, Restart: 4}.Aim(tt.to)
		if want := (Unit{File: "f", Target: tt.to, Restart: 4}); tt.counts != (u.Restart == 5) || u.Target != want.Target || u.File != want.File {
			t.Errorf("from %s to %s: %+v", tt.from, tt.to, u)
		}
	}
}

func TestRestartCounts(t *testing.T) {
	all := func(machine.ID) bool { return true }
	but := func(out machine.ID) func(machine.ID) bool { return func(id machine.ID) bool { return id != out } }
	type counts = map[machine.ID]uint64
	for _, tt := range []struct {
		name string
		do   func(Unit) Unit
		want Unit
	}{
		{"everywhere", Unit.Restarted, Unit{Restart: 5}},
		{"on one", func(u Unit) Unit { return u.RestartedOn("a", all) }, Unit{Restart: 4, RestartOn: counts{"a": 5}}},
		{"on it again", func(u Unit) Unit { return u.RestartedOn("a", all).RestartedOn("a", all) }, Unit{Restart: 4, RestartOn: counts{"a": 6}}},
		{"on another", func(u Unit) Unit { return u.RestartedOn("a", all).RestartedOn("b", all) }, Unit{Restart: 4, RestartOn: counts{"a": 5, "b": 6}}},
		{"on another, when the first is gone", func(u Unit) Unit { return u.RestartedOn("a", all).RestartedOn("b", but("a")) },
			Unit{Restart: 4, RestartOn: counts{"b": 6}}},
		{"on one that nobody knows", func(u Unit) Unit { return u.RestartedOn("a", but("a")) }, Unit{Restart: 4, RestartOn: counts{"a": 5}}},
		{"everywhere after that", func(u Unit) Unit { return u.RestartedOn("a", all).RestartedOn("b", all).Restarted() }, Unit{Restart: 7}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := Unit{Restart: 4}
			if d := cmp.Diff(tt.want, tt.do(before)); d != "" {
				t.Error(d)
			}
		})
	}
}

// A machine restarts a unit when it is told a higher count than it speaks for. It
// may have missed any number of counts in between, or speak for one that was
// forgotten since.
func TestRestartsReachWhomTheyConcern(t *testing.T) {
	machines := []machine.ID{"a", "b", "c"}
	rapid.Check(t, func(t *rapid.T) {
		u := Unit{Target: unit.TargetLaunched}
		told := map[machine.ID]uint64{} // the highest ever
		concerns := func(what string, is Unit, on ...machine.ID) {
			for _, id := range machines {
				concerned := len(on) == 0 || on[0] == id
				if n := is.RestartCount(id); concerned != (n > told[id]) {
					t.Fatalf("%s: %s is told %d, and was told %d: %+v", what, id, n, told[id], is)
				}
				told[id] = max(told[id], is.RestartCount(id))
			}
		}
		for range rapid.IntRange(1, 20).Draw(t, "restarts") {
			was := u
			switch what := rapid.SampledFrom([]string{"everywhere", "on one", "on one", "stop and start"}).Draw(t, "what"); what {
			case "everywhere":
				u = u.Restarted()
				concerns(what, u)
			case "on one":
				on, forgotten := rapid.SampledFrom(machines).Draw(t, "on"), rapid.SampledFrom(machines).Draw(t, "forgotten")
				u = u.RestartedOn(on, func(id machine.ID) bool { return id != forgotten })
				concerns(what, u, on)
			case "stop and start":
				u = u.Aim(unit.TargetLoaded).Aim(unit.TargetLaunched)
				concerns(what, u)
			}
			if !was.Equal(was) || was.Equal(u) || u.Equal(was) {
				t.Fatalf("%+v and %+v", was, u)
			}
		}
	})
}
