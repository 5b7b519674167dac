package planner

import (
	"fmt"
	"testing"
	"time"

	"github.com/fleet-project/fleet/bench/load"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// For benchstat: go test -run '^$' -bench . -count 10 ./engine/planner. A million units
// are measured by bench/planner.

// sizes of clusters: the units for each machine are ten.
var sizes = []load.Shape{
	{Templates: 20, Instances: 50, Machines: 100, Globals: 2},
	{Templates: 200, Instances: 50, Machines: 1000, Globals: 2},
	{Templates: 200, Instances: 500, Machines: 10000, Globals: 2},
}

var someTime = time.Unix(1e9, 0)

// lead gives a planner that leads a cluster where everything is placed and runs.
func lead(tb testing.TB, shape load.Shape) *Planner {
	p := New(Config{})
	plan := p.Step(someTime, shape.Snapshot())
	if len(plan.Decisions) != shape.Decisions() {
		tb.Fatalf("%d decisions for %v", len(plan.Decisions), shape)
	}
	answer(p, plan.Decisions)
	return p
}

// answer has what was decided come back: it is written, and carried out on the
// machines that are there. It goes on until nothing follows from that.
func answer(p *Planner, decisions []Decision) {
	for len(decisions) > 0 {
		var changes []record.Change
		tell := func(k record.Key, spec *record.Spec) {
			changes = append(changes, record.PlacementChange{Key: k, New: spec})
			switch {
			case spec == nil:
				changes = append(changes, record.StateChange{Key: k})
			case p.hosts[k.Machine].live():
				changes = append(changes, record.StateChange{Key: k, New: &record.State{Spec: *spec}})
			}
		}
		for _, d := range decisions {
			switch d := d.(type) {
			case Place:
				tell(d.Key, &d.Spec)
			case Withdraw:
				tell(d.Key, &record.Spec{Target: unit.TargetNone})
			case Forget:
				tell(d.Key, nil)
			case Release:
				changes = append(changes, record.UnitChange{Name: d.Unit})
			}
		}
		decisions = p.Step(someTime, changes).Decisions
	}
}

func eachSize(b *testing.B, run func(b *testing.B, shape load.Shape)) {
	for _, shape := range sizes {
		b.Run(fmt.Sprintf("units=%d/machines=%d", shape.Units(), shape.Machines), func(b *testing.B) {
			b.ReportAllocs()
			run(b, shape)
		})
	}
}

// BenchmarkPlaceAll is the cost of a snapshot with nothing placed yet.
func BenchmarkPlaceAll(b *testing.B) {
	eachSize(b, func(b *testing.B, shape load.Shape) {
		snapshot := shape.Snapshot()
		for b.Loop() {
			if plan := New(Config{}).Step(someTime, snapshot); len(plan.Decisions) != shape.Decisions() {
				b.Fatalf("%d decisions", len(plan.Decisions))
			}
		}
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*shape.Decisions()), "ns/decision")
	})
}

// BenchmarkTakeOver is the cost of a snapshot in which everything runs already.
func BenchmarkTakeOver(b *testing.B) {
	eachSize(b, func(b *testing.B, shape load.Shape) {
		snapshot := shape.Snapshot()
		for _, d := range New(Config{}).Step(someTime, snapshot).Decisions {
			place := d.(Place)
			snapshot = append(snapshot, record.PlacementChange{Key: place.Key, New: &place.Spec},
				record.StateChange{Key: place.Key, New: &record.State{Spec: place.Spec}})
		}
		for b.Loop() {
			if plan := New(Config{}).Step(someTime, snapshot); len(plan.Decisions) > 0 {
				b.Fatalf("taking over made decisions: %v", plan.Decisions[0])
			}
		}
	})
}

// BenchmarkStartOne is the cost of one unit more. It is destroyed before the next,
// so that the cluster stays as large as it is.
func BenchmarkStartOne(b *testing.B) {
	eachSize(b, func(b *testing.B, shape load.Shape) {
		p := lead(b, shape)
		change := shape.Instance(0, shape.Instances).(record.UnitChange)
		for b.Loop() {
			plan := p.Step(someTime, []record.Change{change})
			if len(plan.Decisions) != 1 {
				b.Fatalf("one unit made %d decisions", len(plan.Decisions))
			}
			b.StopTimer()
			answer(p, plan.Decisions)
			gone := *change.New
			gone.Target = unit.TargetDestroyed
			answer(p, p.Step(someTime, []record.Change{record.UnitChange{Name: change.Name, New: &gone}}).Decisions)
			b.StartTimer()
		}
	})
}

// BenchmarkLoseOne is the cost of moving what a lost machine had. It comes back
// before the next one is lost.
func BenchmarkLoseOne(b *testing.B) {
	eachSize(b, func(b *testing.B, shape load.Shape) {
		p := lead(b, shape)
		moved, i := 0, 0
		for b.Loop() {
			b.StopTimer()
			i++
			m := shape.Machine(i % shape.Machines)
			lost := losing(p, i%shape.Machines)
			b.StartTimer()
			plan := p.Step(someTime, lost)
			b.StopTimer()
			moved += len(plan.Decisions)
			answer(p, plan.Decisions)
			back := []record.Change{record.MachineChange{ID: m.ID, New: &m}}
			for _, s := range p.hosts[m.ID].seats {
				back = append(back, record.StateChange{Key: s.key(), New: &record.State{Spec: *s.spec}})
			}
			answer(p, p.Step(someTime, back).Decisions)
			b.StartTimer()
		}
		b.ReportMetric(float64(moved)/float64(b.N), "decisions/op")
	})
}

// losing gives the changes that a lease's end makes: what the machine said goes with
// it.
func losing(p *Planner, i int) []record.Change {
	id := load.MachineID(i)
	var changes []record.Change
	for _, s := range p.hosts[id].sorted() {
		changes = append(changes, record.StateChange{Key: s.key()})
	}
	return append(changes, record.MachineChange{ID: id})
}

// BenchmarkJoinOne is the cost of a machine that joins, with its global units and
// one unit that is placed after that. The cluster grows by it.
func BenchmarkJoinOne(b *testing.B) {
	eachSize(b, func(b *testing.B, shape load.Shape) {
		p := lead(b, shape)
		for i := 0; b.Loop(); i++ {
			m := shape.Machine(shape.Machines + i)
			plan := p.Step(someTime, []record.Change{record.MachineChange{ID: m.ID, New: &m}})
			if len(plan.Decisions) != shape.Globals {
				b.Fatalf("%d decisions", len(plan.Decisions))
			}
			p.Step(someTime, []record.Change{shape.Instance(0, shape.Instances+i)})
		}
	})
}

// BenchmarkIdle is the cost of a state that says nothing new.
func BenchmarkIdle(b *testing.B) {
	eachSize(b, func(b *testing.B, shape load.Shape) {
		p := lead(b, shape)
		s := p.jobs.get(load.Name(0, 0)).seats[0]
		changes := []record.Change{record.StateChange{Key: s.key(), New: &record.State{Spec: *s.says}}}
		for b.Loop() {
			if plan := p.Step(someTime, changes); len(plan.Decisions) > 0 {
				b.Fatal("a state that says nothing new made a decision")
			}
		}
	})
}

// BenchmarkNowhere is the cost of one unit that starts beside a thousand that fit
// nowhere.
func BenchmarkNowhere(b *testing.B) {
	eachSize(b, func(b *testing.B, shape load.Shape) {
		p := lead(b, shape)
		p.Step(someTime, unplaceable(1000))
		for i := 0; b.Loop(); i++ {
			plan := p.Step(someTime, []record.Change{shape.Instance(0, shape.Instances+i)})
			if len(plan.Decisions) != 1 {
				b.Fatalf("one unit made %d decisions", len(plan.Decisions))
			}
		}
	})
}

// unplaceable gives units that fit nowhere in the clusters of load, a third of them each
// for its own reason.
func unplaceable(n int) []record.Change {
	var changes []record.Change
	for i := range n {
		rule := []string{"MachineMetadata=key00=none", "Conflicts=everywhere*", "MachineOf=nobody.service"}[i%3]
		changes = append(changes, load.Added(unit.Name(fmt.Sprintf("nowhere@%d.service", i)), "[X-Fleet]\n"+rule+"\n")...)
	}
	return changes
}
