package planner

import (
	"fmt"
	"math"
	"runtime"
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
	answer(w.Planner, plan.Decisions)
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
			old := record.State{Spec: *held[0].says}
			_, did, _ = w.count(record.StateChange{Key: held[0].key(), New: &old})
			if did != (work{}) {
				t.Errorf("for a state that says nothing new: %+v", did)
			}

			_, did, _ = w.count(losing(w.Planner, 3)...)
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
	plan, did, _ := w.count(unplaceable(many)...)
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

// TestLooksDontGrow: how many machines a decision looks at, and how many units an
// event has looked at, is the same in a cluster of whatever size.
func TestLooksDontGrow(t *testing.T) {
	type counts struct{ all, one, lost float64 }
	measure := func(t *testing.T, shape load.Shape) (c counts) {
		w := &worker{New(Config{}), t}
		_, did, _ := w.count(shape.Snapshot()...)
		c.all = float64(did.looks) / float64(shape.Decisions())
		const more = 40
		for i := range more { // of every kind of template
			_, did, _ = w.count(shape.Instance(i, shape.Instances))
			c.one += float64(did.looks+did.considered) / more
		}
		moved := len(w.hosts[load.MachineID(3)].seats)
		_, did, _ = w.count(losing(w.Planner, 3)...)
		c.lost = float64(did.looks+did.considered) / float64(moved)
		return c
	}
	small := measure(t, load.Shape{Templates: 40, Instances: 10, Machines: 40, Globals: 1})
	for _, times := range []int{10, 50} {
		shape := load.Shape{Templates: 40, Instances: 10 * times, Machines: 40 * times, Globals: 1}
		large := measure(t, shape)
		const tolerance = 1.1 // what is lost differs from machine to machine
		if large.all > tolerance*small.all || large.one > tolerance*small.one || large.lost > 2*tolerance*small.lost {
			t.Errorf("%v: %+v looks for each unit placed, added and lost; in a cluster of 40 machines %+v", shape, large, small)
		}
	}
}

// TestUnplacedWait: units that fit nowhere are looked at again only when something
// changed that could help them. The same is done to two clusters, of which one has
// such units: the difference is for them.
func TestUnplacedWait(t *testing.T) {
	const many = 60
	shape := load.Shape{Templates: 40, Instances: 20, Machines: 100}
	joins := func(i int, k, v string) record.Change {
		m := shape.Machine(shape.Machines + i)
		m.Metadata[k] = v
		return record.MachineChange{ID: m.ID, New: &m}
	}
	for _, test := range []struct {
		name   string
		rule   string
		change func(w *worker) []record.Change
		looks  int // units that are to be looked at again, of those that fit nowhere
	}{
		{"a unit is added", "MachineMetadata=key00=none", func(*worker) []record.Change {
			return []record.Change{shape.Instance(0, shape.Instances)}
		}, 0},
		{"a unit leaves", "MachineMetadata=key00=none", func(*worker) []record.Change {
			return []record.Change{record.UnitChange{Name: load.Name(0, 0), New: &record.Unit{File: unit.HashOf(shape.Text(0)), Target: unit.TargetInactive}}}
		}, 0},
		{"a machine is lost", "MachineMetadata=key00=none", func(w *worker) []record.Change { return losing(w.Planner, 7) }, 0},
		{"a machine joins that hasn't it either", "MachineMetadata=key00=none", func(*worker) []record.Change {
			return []record.Change{joins(0, "key00", "3")}
		}, 0},
		{"a machine joins that has it", "MachineMetadata=key00=none", func(*worker) []record.Change {
			return []record.Change{joins(0, "key00", "none")}
		}, many},
		{"a machine is cordoned", "MachineMetadata=key00=none", func(*worker) []record.Change {
			return []record.Change{record.OverridesChange{ID: load.MachineID(1), New: &record.Overrides{Cordoned: true}}}
		}, 0},
		{"a machine gets what they want", "MachineMetadata=key00=none", func(*worker) []record.Change {
			return []record.Change{record.OverridesChange{ID: load.MachineID(1), New: &record.Overrides{Metadata: map[string]string{"key00": "none"}}}}
		}, many},
		{"another unit than the one that they follow comes", "MachineOf=leader.service", func(*worker) []record.Change {
			return load.Added("other.service", "[Service]\n")
		}, 0},
		{"the unit comes that they follow", "MachineOf=leader.service", func(*worker) []record.Change {
			return load.Added("leader.service", "[Service]\n")
		}, many},
		{"one of many leaves with which they conflict", "Conflicts=app*", func(*worker) []record.Change {
			return []record.Change{record.UnitChange{Name: load.Name(0, 0), New: &record.Unit{File: unit.HashOf(shape.Text(0)), Target: unit.TargetInactive}}}
		}, many},
		{"a state says what they conflict with still runs", "Conflicts=app*", func(w *worker) []record.Change {
			s := w.jobs.get(load.Name(0, 0)).seats[0]
			return []record.Change{record.StateChange{Key: s.key(), New: &record.State{Spec: *s.says}}}
		}, 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			considered := func(unplaced bool) int {
				w := &worker{New(Config{}), t}
				w.count(shape.Snapshot()...)
				if unplaced {
					var changes []record.Change
					for i := range many {
						changes = append(changes, load.Added(unit.Name(fmt.Sprintf("nowhere%d.service", i)), "[X-Fleet]\n"+test.rule+"\n")...)
					}
					if plan, _, _ := w.count(changes...); len(plan.Decisions) > 0 {
						t.Fatalf("fits after all: %v", plan.Decisions[0])
					}
				}
				before := w.work.considered
				answer(w.Planner, w.Step(someTime, test.change(w)).Decisions)
				return w.work.considered - before
			}
			if n := considered(true) - considered(false); n < test.looks || test.looks == 0 && n > 0 {
				t.Errorf("%d looks at %d units that fit nowhere, not %d", n, many, test.looks)
			}
		})
	}
}

// TestNothingChanged: what says nothing new has nothing looked at.
func TestNothingChanged(t *testing.T) {
	shape := load.Shape{Templates: 40, Instances: 10, Machines: 40, Globals: 1}
	w := &worker{New(Config{}), t}
	w.count(shape.Snapshot()...)
	w.count(unplaceable(30)...)
	s := w.jobs.get(load.Name(0, 0)).seats[0]
	m := shape.Machine(3)
	for _, test := range []struct {
		name   string
		change record.Change
	}{
		{"the same state", record.StateChange{Key: s.key(), New: &record.State{Spec: *s.says}}},
		{"a state that differs in systemd's account", record.StateChange{Key: s.key(), New: &record.State{Spec: *s.says, SystemdState: unit.SystemdState{Sub: "auto-restart"}}}},
		{"a state without a unit's", record.StateChange{Key: record.Key{Machine: m.ID, Unit: "unknown.service"}}},
		{"the same machine", record.MachineChange{ID: m.ID, New: &m}},
		{"a machine that was gone", record.MachineChange{ID: "unknown"}},
		{"the same words of the operator", record.OverridesChange{ID: m.ID}},
		{"the same unit", shape.Instance(0, 0)},
		{"the same placement", record.PlacementChange{Key: s.key(), New: s.spec}},
		{"the same file", record.FileChange{Hash: s.job.file.hash, Text: s.job.file.text}},
	} {
		t.Run(test.name, func(t *testing.T) {
			if plan, did, updates := w.count(test.change); did != (work{}) || updates > 0 || len(plan.Decisions) > 0 {
				t.Errorf("%+v, %d updates of classes, decisions: %v", did, updates, plan.Decisions)
			}
		})
	}
}

// TestNothingAllocatesNothingOfItsSize: an event that changes nothing takes as much
// memory in a large cluster as in a small one.
func TestNothingAllocatesNothingOfItsSize(t *testing.T) {
	shape := func(machines int) load.Shape {
		return load.Shape{Templates: 40, Instances: machines / 4, Machines: machines, Globals: 1}
	}
	small, large := &worker{New(Config{}), t}, &worker{New(Config{}), t}
	small.count(shape(40).Snapshot()...)
	large.count(shape(2000).Snapshot()...)
	// takes is how many bytes an event takes; others of this process may allocate meanwhile.
	takes := func(w *worker, change record.Change) int {
		least := math.MaxInt
		changes := []record.Change{change}
		for range 5 {
			const events = 20
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			for range events {
				w.Step(someTime, changes)
			}
			runtime.ReadMemStats(&after)
			least = min(least, int(after.TotalAlloc-before.TotalAlloc)/events)
		}
		return least
	}
	for _, test := range []struct {
		name   string
		change func(w *worker) record.Change
	}{
		{"a state that differs in systemd's account", func(w *worker) record.Change {
			s := w.jobs.get(load.Name(0, 0)).seats[0]
			return record.StateChange{Key: s.key(), New: &record.State{Spec: *s.says, SystemdState: unit.SystemdState{Sub: "auto-restart"}}}
		}},
		{"the same machine", func(*worker) record.Change {
			m := shape(40).Machine(3)
			return record.MachineChange{ID: m.ID, New: &m}
		}},
		{"the same unit", func(*worker) record.Change { return shape(40).Instance(0, 0) }},
	} {
		t.Run(test.name, func(t *testing.T) {
			const more = 64 // a bit for each of 1,960 machines takes 245
			if few, many := takes(small, test.change(small)), takes(large, test.change(large)); many > few+more {
				t.Errorf("%d bytes on 2,000 machines, %d on 40", many, few)
			}
		})
	}
}
