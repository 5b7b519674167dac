package planner

import (
	"fmt"
	"testing"
	"time"

	"github.com/fleet-project/fleet/bench/load"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// worker is a planner whose work is counted.
type worker struct {
	*Planner
	t *testing.T
}

// count plans, and gives the work of that; then all that was decided comes back.
func (w *worker) count(changes ...record.Change) (Plan, work, int) {
	was, updates := w.work, w.classes.ring.updates
	plan := w.Step(time.Unix(1, 0), changes)
	did := work{looks: w.work.looks - was.looks, considered: w.work.considered - was.considered}
	updates = w.classes.ring.updates - updates
	var echo []record.Change
	for _, d := range plan.Decisions {
		switch d := d.(type) {
		case Place:
			echo = append(echo, record.PlacementChange{Key: d.Key, New: &d.Spec}, record.StateChange{Key: d.Key, New: &record.State{Spec: d.Spec}})
		case Withdraw:
			echo = append(echo, record.PlacementChange{Key: d.Key, New: &record.Spec{Target: unit.TargetNone}})
		}
	}
	if plan := w.Step(time.Unix(1, 0), echo); len(plan.Decisions) > 0 {
		w.t.Fatalf("the echo made decisions: %v", plan.Decisions[0])
	}
	return plan, did, updates
}

// TestWorkFollowsChanges: what the planner does for a change is bounded by the
// change, however big the cluster is. It counts, and doesn't time.
func TestWorkFollowsChanges(t *testing.T) {
	for _, shape := range []load.Shape{
		{Templates: 40, Instances: 10, Machines: 40},
		{Templates: 40, Instances: 100, Machines: 400},
		{Templates: 40, Instances: 500, Machines: 2000, Globals: 1},
		{Templates: 20, Instances: 400, Machines: 400, Kind: load.Apart}, // full: each has one place
	} {
		t.Run(fmt.Sprintf("%v, kind %d", shape, shape.Kind), func(t *testing.T) {
			w := &worker{New(Config{}), t}
			atMost := func(what string, n, limit int) {
				t.Helper()
				if n > limit {
					t.Errorf("%s: %d, more than %d", what, n, limit)
				}
			}
			plan, did, updates := w.count(shape.Snapshot()...)
			n := len(plan.Decisions)
			if n != shape.Decisions() {
				t.Fatalf("%d decisions of %d", n, shape.Decisions())
			}
			atMost("looks at machines, to place all", did.looks, 2*n)
			atMost("units considered, to place all", did.considered, n+n/100+shape.Globals)
			// Each class begins with all machines; no template has more than one.
			atMost("updates of classes, to place all", updates, n+2*shape.Templates*shape.Machines)

			// The first search of a class reads what happened since its last.
			w.count(shape.Instance(0, shape.Instances))
			plan, did, updates = w.count(shape.Instance(0, shape.Instances+1))
			if shape.Kind == load.Mixed && len(plan.Decisions) != 1 {
				t.Fatalf("one unit added: %v", plan.Decisions)
			}
			atMost("looks, for one unit added", did.looks, 2)
			atMost("units considered, for one added", did.considered, 1)
			atMost("updates of classes, for one unit added", updates, 1)

			held := w.hosts[load.MachineID(3)].sorted()
			var gone []record.Change
			for _, s := range held {
				gone = append(gone, record.StateChange{Key: s.key()})
			}
			old := record.State{Spec: *held[0].says}
			_, did, _ = w.count(record.StateChange{Key: held[0].key(), New: &old})
			if did != (work{}) {
				t.Errorf("for a state that says nothing new: %+v", did)
			}

			_, did, _ = w.count(append(gone, record.MachineChange{ID: load.MachineID(3)})...)
			// A follower is looked at when its leader leaves, and when it is placed.
			atMost("looks, for a machine lost", did.looks, 6*len(held))
			atMost("units considered, for a machine lost", did.considered, 3*len(held))
		})
	}
}

// TestWorkForUnplaced: units that fit nowhere are looked at once, at next to no
// machine, and not again for what can't help them.
func TestWorkForUnplaced(t *testing.T) {
	shape := load.Shape{Templates: 40, Instances: 50, Machines: 200, Globals: 1}
	w := &worker{New(Config{}), t}
	w.count(shape.Snapshot()...)
	const many = 300
	var changes []record.Change
	for i := range many {
		rule := []string{"MachineMetadata=key00=none", "Conflicts=everywhere*", "MachineOf=nobody.service"}[i%3]
		changes = append(changes, load.Added(unit.Name(fmt.Sprintf("nowhere@%d.service", i)), "[X-Fleet]\n"+rule+"\n")...)
	}
	plan, did, _ := w.count(changes...)
	if len(plan.Decisions) > 0 {
		t.Fatalf("fits after all: %v", plan.Decisions[0])
	}
	if did.looks > many || did.considered > many {
		t.Errorf("%+v for %d units that fit nowhere", did, many)
	}
	plan, did, _ = w.count(shape.Instance(0, shape.Instances))
	if len(plan.Decisions) != 1 || did.considered > 1 || did.looks > 2 {
		t.Errorf("one unit added beside them: %v, %+v", plan.Decisions, did)
	}
	if _, did, _ = w.count(record.MachineChange{ID: load.MachineID(5)}); did.considered >= many {
		t.Errorf("a machine lost beside them: %+v", did)
	}
	m := shape.Machine(shape.Machines)
	m.Metadata["key00"] = "none"
	plan, did, _ = w.count(record.MachineChange{ID: m.ID, New: &m})
	if placed := len(plan.Decisions); placed < many/3 || did.considered < placed {
		t.Errorf("the machine that a third of them wait for came: %d decisions, %+v", placed, did)
	}
}
