package engine

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
)

var noon = time.Date(2026, 1, 1, 12, 0, 0, 0, time.UTC)

// counting is a census that writes down which waits ended.
type counting struct {
	*census
	view  *record.View
	now   time.Time
	ended []string
}

func newCounting() *counting {
	c := &counting{view: record.NewView(), now: noon}
	c.census = newCensus(func(why cause, took time.Duration) {
		c.ended = append(c.ended, fmt.Sprintf("%s after %s", why, took))
	})
	return c
}

// tell tells it one change, a second after the one before.
func (c *counting) tell(ch record.Change) {
	c.now = c.now.Add(time.Second)
	c.view.Apply(ch)
	c.note(c.now, []record.Change{ch})
}

// resnapshot has it count anew.
func (c *counting) resnapshot() {
	c.now = c.now.Add(time.Second)
	c.restart()
	c.note(c.now, c.view.Changes())
}

func (c *counting) unit(name unit.Name, target unit.Target, restart uint64) {
	c.tell(record.UnitChange{Name: name, New: &record.Unit{File: "f", Target: target, Restart: restart}})
}

func (c *counting) placed(name unit.Name, id machine.ID, target unit.Target) {
	c.tell(record.PlacementChange{Key: record.Key{Machine: id, Unit: name}, New: &record.Spec{Target: target, File: "f"}})
}

func (c *counting) said(name unit.Name, id machine.ID, active string, restart uint64) {
	c.tell(record.StateChange{Key: record.Key{Machine: id, Unit: name}, New: &record.State{
		Spec:         record.Spec{Target: unit.TargetLaunched, File: "f", Restart: restart},
		SystemdState: unit.SystemdState{Active: active},
	}})
}

func (c *counting) present(ids ...machine.ID) {
	for _, id := range ids {
		c.tell(record.MachineChange{ID: id, New: &machine.Machine{ID: id}})
	}
}

func TestCensusCounts(t *testing.T) {
	c := newCounting()
	c.present("m", "n", "o")
	c.unit("web.service", unit.TargetLaunched, 0)
	c.placed("web.service", "m", unit.TargetLaunched)
	c.said("web.service", "m", "active", 0)
	c.unit("lost.service", unit.TargetLaunched, 0)
	c.placed("lost.service", "n", unit.TargetLaunched)
	c.tell(record.MachineChange{ID: "n"})
	c.unit("big.service", unit.TargetLoaded, 0)
	c.unit("idle.service", unit.TargetInactive, 0)
	c.unit("bad.service", unit.TargetLaunched, 0)
	c.placed("bad.service", "m", unit.TargetLaunched)
	c.tell(record.StateChange{Key: record.Key{Machine: "m", Unit: "bad.service"}, New: &record.State{
		Spec: record.Spec{Target: unit.TargetInactive}, SystemdState: unit.SystemdState{Active: "no word of systemd's"}, Error: "no"}})
	c.tell(record.OverridesChange{ID: "o", New: &record.Overrides{Cordoned: true}})
	want := sums{
		units: map[unitClass]int{
			{unit.TargetLaunched, unit.TargetLaunched}: 1,
			{unit.TargetLaunched, unit.TargetInactive}: 2,
			{unit.TargetLoaded, unit.TargetInactive}:   1,
			{unit.TargetInactive, unit.TargetInactive}: 1,
		},
		active:   map[string]int{"active": 1, "other": 1},
		errors:   1,
		unplaced: map[string]int{unplacedNowhere: 1, unplacedAbsent: 1},
		machines: map[string]int{machineReady: 1, machineCordoned: 1, machineAbsent: 1},
	}
	if d := cmp.Diff(want, c.nonzero(), cmp.AllowUnexported(sums{}, unitClass{})); d != "" {
		t.Error(d)
	}
	c.tell(record.MachineChange{ID: "m", New: &machine.Machine{ID: "m", Leaving: true}})
	if got := c.nonzero().machines[machineLeaving]; got != 1 {
		t.Errorf("%d machines leave, want 1", got)
	}
}

// nonzero are the sums without what there is none of.
func (c *counting) nonzero() sums {
	return sums{nonzero(c.sums.units), nonzero(c.sums.active), c.sums.errors, nonzero(c.sums.unplaced), nonzero(c.sums.machines)}
}

func nonzero[K comparable](m map[K]int) map[K]int {
	out := map[K]int{}
	for k, n := range m {
		if n != 0 {
			out[k] = n
		}
	}
	return out
}

// Whatever happened in whatever order: what was counted change by change is what
// a snapshot of the outcome gives, and nothing is kept of what is gone.
func TestCensusCountsAsASnapshotDoes(t *testing.T) {
	for seed := range uint64(200) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		c := newCounting()
		for range 150 {
			c.tell(randomChange(rnd))
		}
		again := newCounting()
		again.view = c.view
		again.resnapshot()
		if d := cmp.Diff(again.nonzero(), c.nonzero(), cmp.AllowUnexported(sums{}, unitClass{})); d != "" {
			t.Fatalf("seed %d: (-snapshot +changes)\n%s", seed, d)
		}
		for _, ch := range c.view.Changes() {
			c.tell(undone(ch))
		}
		if got := c.nonzero(); len(got.units)+len(got.active)+len(got.unplaced)+len(got.machines)+got.errors != 0 {
			t.Fatalf("seed %d: nothing is left and counted as %+v", seed, got)
		}
		if len(c.units)+len(c.machines)+len(c.waits) != 0 {
			t.Fatalf("seed %d: kept %d units, %d machines, %d waits", seed, len(c.units), len(c.machines), len(c.waits))
		}
	}
}

func randomChange(rnd *rand.Rand) record.Change {
	pick := func(s ...string) string { return s[rnd.IntN(len(s))] }
	id := machine.ID(pick("m", "n", "o"))
	key := record.Key{Machine: id, Unit: unit.Name(pick("a.service", "b.service", "c.service"))}
	target := unit.Target(pick("inactive", "loaded", "launched", "none"))
	gone := rnd.IntN(3) == 0
	var change record.Change
	switch rnd.IntN(5) {
	case 0:
		change = record.UnitChange{Name: key.Unit, New: &record.Unit{File: "f", Target: target, Restart: rnd.Uint64N(2)}}
	case 1:
		change = record.PlacementChange{Key: key, New: &record.Spec{File: "f", Target: target}}
	case 2:
		change = record.StateChange{Key: key, New: &record.State{Spec: record.Spec{File: "f", Target: target},
			SystemdState: unit.SystemdState{Active: pick("active", "failed", "activating")}, Error: pick("", "no")}}
	case 3:
		change = record.MachineChange{ID: id, New: &machine.Machine{ID: id, Leaving: rnd.IntN(4) == 0}}
	default:
		change = record.OverridesChange{ID: id, New: &record.Overrides{Cordoned: rnd.IntN(2) == 0}}
	}
	if gone {
		return undone(change)
	}
	return change
}

// undone is the end of what a change made.
func undone(ch record.Change) record.Change {
	switch ch := ch.(type) {
	case record.UnitChange:
		return record.UnitChange{Name: ch.Name}
	case record.PlacementChange:
		return record.PlacementChange{Key: ch.Key}
	case record.StateChange:
		return record.StateChange{Key: ch.Key}
	case record.MachineChange:
		return record.MachineChange{ID: ch.ID}
	case record.OverridesChange:
		return record.OverridesChange{ID: ch.ID}
	}
	panic(fmt.Sprintf("%T", ch))
}

func TestWaits(t *testing.T) {
	const u = unit.Name("web.service")
	// running has the unit run on m; what it took to get there is forgotten.
	running := func(c *counting) {
		c.present("m", "n")
		c.unit(u, unit.TargetLaunched, 0)
		c.placed(u, "m", unit.TargetLaunched)
		c.said(u, "m", "active", 0)
		c.ended = nil
	}
	tests := []struct {
		name string
		do   func(c *counting)
		want []string
	}{
		{"from the wish to active", func(c *counting) {
			c.present("m")
			c.unit(u, unit.TargetLaunched, 0)
			c.placed(u, "m", unit.TargetLaunched)
			c.said(u, "m", "activating", 0)
			c.said(u, "m", "active", 0)
			c.said(u, "m", "active", 0)
		}, []string{"start after 3s"}},
		{"not before it is wished to run", func(c *counting) {
			c.present("m")
			c.unit(u, unit.TargetLoaded, 0)
			c.placed(u, "m", unit.TargetLoaded)
			c.unit(u, unit.TargetLaunched, 0)
			c.placed(u, "m", unit.TargetLaunched)
			c.said(u, "m", "active", 0)
		}, []string{"start after 2s"}},
		{"a failed start isn't timed", func(c *counting) {
			c.present("m")
			c.unit(u, unit.TargetLaunched, 0)
			c.placed(u, "m", unit.TargetLaunched)
			c.said(u, "m", "failed", 0)
			c.said(u, "m", "active", 0)
		}, nil},
		{"a restart, from the count to the state that speaks for it", func(c *counting) {
			running(c)
			c.unit(u, unit.TargetLaunched, 1)
			c.said(u, "m", "active", 0)
			c.said(u, "m", "active", 1)
		}, []string{"restart after 2s"}},
		{"a restart on one machine, to what that one says", func(c *counting) {
			running(c)
			c.placed(u, "n", unit.TargetLaunched)
			c.tell(record.UnitChange{Name: u, New: &record.Unit{File: "f", Target: unit.TargetLaunched, RestartOn: map[machine.ID]uint64{"m": 1}}})
			c.said(u, "n", "active", 0)
			c.said(u, "m", "active", 0)
			c.said(u, "m", "active", 1)
		}, []string{"restart after 3s"}},
		{"a restart on a machine that is lost isn't timed", func(c *counting) {
			running(c)
			c.placed(u, "n", unit.TargetLaunched)
			c.tell(record.UnitChange{Name: u, New: &record.Unit{File: "f", Target: unit.TargetLaunched, RestartOn: map[machine.ID]uint64{"m": 1}}})
			c.tell(record.MachineChange{ID: "m"})
			c.present("m")
			c.said(u, "m", "active", 1)
		}, nil},
		{"a restart on a machine that the unit leaves becomes a move", func(c *counting) {
			running(c)
			c.tell(record.UnitChange{Name: u, New: &record.Unit{File: "f", Target: unit.TargetLaunched, RestartOn: map[machine.ID]uint64{"m": 1}}})
			c.placed(u, "m", unit.TargetNone)
			c.placed(u, "n", unit.TargetLaunched)
			c.said(u, "n", "active", 0)
		}, []string{"move after 2s"}},
		{"a move, from the loss of the machine", func(c *counting) {
			running(c)
			c.tell(record.MachineChange{ID: "m"})
			c.tell(record.StateChange{Key: record.Key{Machine: "m", Unit: u}})
			c.placed(u, "m", unit.TargetNone)
			c.placed(u, "n", unit.TargetLaunched)
			c.said(u, "n", "active", 0)
		}, []string{"move after 4s"}},
		{"a machine that comes back", func(c *counting) {
			running(c)
			c.tell(record.MachineChange{ID: "m"})
			c.present("m")
		}, []string{"move after 1s"}},
		{"a new leader doesn't know since when", func(c *counting) {
			c.view.Apply(record.MachineChange{ID: "m", New: &machine.Machine{ID: "m"}})
			c.view.Apply(record.UnitChange{Name: u, New: &record.Unit{File: "f", Target: unit.TargetLaunched}})
			c.resnapshot()
			c.placed(u, "m", unit.TargetLaunched)
			c.said(u, "m", "active", 0)
		}, nil},
		{"a fresh snapshot ends no wait", func(c *counting) {
			c.present("m")
			c.unit(u, unit.TargetLaunched, 0)
			c.resnapshot()
			c.placed(u, "m", unit.TargetLaunched)
			c.said(u, "m", "active", 0)
		}, []string{"start after 3s"}},
		{"what is stopped meanwhile isn't waited for", func(c *counting) {
			c.present("m")
			c.unit(u, unit.TargetLaunched, 0)
			c.unit(u, unit.TargetInactive, 0)
			c.placed(u, "m", unit.TargetLaunched)
			c.said(u, "m", "active", 0)
		}, nil},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newCounting()
			tt.do(c)
			if !slices.Equal(c.ended, tt.want) {
				t.Errorf("%q, want %q", c.ended, tt.want)
			}
			if len(c.waits) != 0 {
				t.Errorf("still waits: %v", c.waits)
			}
		})
	}
}
