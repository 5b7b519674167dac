package planner

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
)

// loads counts the units on each machine that are placed there.
func (s *sim) loads() map[string]int {
	out := map[string]int{}
	for k, spec := range s.view.Schedule {
		if spec.Target != unit.TargetNone {
			out[short(k.Machine)]++
		}
	}
	return out
}

func withMachines(names ...string) *sim {
	s := newSim()
	for _, n := range names {
		s.machine(machine.Machine{ID: id(n)})
	}
	return s
}

func TestSpread(t *testing.T) {
	for _, tt := range []struct {
		name string
		do   func(*sim)
		want map[string]int
	}{
		{"by load", func(s *sim) {
			for i := range 9 {
				s.submit(unit.Name(fmt.Sprintf("u%d.service", i)), "launched", "[Service]\n")
			}
		}, map[string]int{"a": 3, "b": 3, "c": 3}},
		{"what a lost machine had goes to all others", func(s *sim) {
			for i := range 12 {
				s.submit(unit.Name(fmt.Sprintf("u%d.service", i)), "launched", "[Service]\n")
			}
			s.settle()
			s.lose(id("a"), true)
		}, map[string]int{"b": 6, "c": 6}},
		{"a pinned unit counts", func(s *sim) {
			for i := range 2 {
				s.submit(unit.Name(fmt.Sprintf("a%d.service", i)), "launched", "[X-Fleet]\nMachineID=a0000000\n")
			}
			s.settle()
			for i := range 4 {
				s.submit(unit.Name(fmt.Sprintf("u%d.service", i)), "launched", "[Service]\n")
			}
		}, map[string]int{"a": 2, "b": 2, "c": 2}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			s := withMachines("a", "b", "c")
			tt.do(s)
			s.settle()
			if d := cmp.Diff(tt.want, s.loads()); d != "" {
				t.Error(d)
			}
		})
	}
}

// TestSpreadInstances: of machines with the same load, the one with the fewest
// instances of the template is taken, in however many classes they are.
func TestSpreadInstances(t *testing.T) {
	for _, rule := range []string{"", "MachineMetadata=n!=99"} {
		for i := range 12 {
			s := newSim()
			for n, name := range []string{"a", "b", "c", "d"} {
				s.machine(machine.Machine{ID: id(name), Metadata: map[string]string{"n": fmt.Sprint(n)}})
			}
			tmpl := fmt.Sprintf("t%d", i)
			for pin, name := range map[string]string{"a": tmpl + "@1", "b": tmpl + "@2", "c": "o", "d": "p"} {
				s.submit(unit.Name(name+".service"), "launched", "[X-Fleet]\nMachineID="+id(pin).Short()+"\n")
			}
			s.settle()
			for _, n := range []string{"@3", "@4"} {
				s.submit(unit.Name(tmpl+n+".service"), "launched", "[X-Fleet]\n"+rule+"\n")
			}
			s.settle()
			got := []string{short(s.placed(unit.Name(tmpl+"@3.service"), false)[0]), short(s.placed(unit.Name(tmpl+"@4.service"), false)[0])}
			slices.Sort(got)
			if !slices.Equal(got, []string{"c", "d"}) {
				t.Errorf("%s with %q: on %v, not on c and d", tmpl, rule, got)
			}
		}
	}
}

// TestTies: machines that are equal get units in no order of their names, and
// the same in every process.
func TestTies(t *testing.T) {
	got := map[string]int{}
	var first []string
	for i := range 300 {
		s := withMachines("a", "b", "c", "d", "e", "f")
		name := unit.Name(fmt.Sprintf("u%d.service", i))
		s.submit(name, "launched", "[Service]\n")
		s.settle()
		on := short(s.placed(name, false)[0])
		got[on]++
		if i < 12 {
			first = append(first, on)
		}
	}
	if len(got) != 6 {
		t.Errorf("some machine never gets a unit: %v", got)
	}
	// Written down once: another value means that an upgrade of the leader
	// would decide otherwise than the one before.
	if want := "ecddededddde"; strings.Join(first, "") != want {
		t.Errorf("ties are broken as %s, not as %s", strings.Join(first, ""), want)
	}
}

// TestSearch compares the choice with one that looks at every machine.
func TestSearch(t *testing.T) {
	for _, few := range []int{0, 3, fewMachines} {
		t.Run(fmt.Sprintf("sets of more than %d", few), func(t *testing.T) { testSearch(t, few) })
	}
}

func testSearch(t *testing.T, few int) {
	rng := rand.New(rand.NewPCG(1, 2))
	s := newSim()
	s.planner.classes.ring.few = few
	for i := range 60 {
		s.machine(machine.Machine{ID: id(fmt.Sprintf("%02d", i+10)), Metadata: map[string]string{
			"zone": fmt.Sprint(i % 3), "odd": fmt.Sprint(i % 2)}})
	}
	texts := []string{"", "MachineMetadata=zone=1", "MachineMetadata=odd=1\nMachineMetadata=zone!=0", "Conflicts=%p@*", "Conflicts=%p@*\nMachineMetadata=zone=1"}
	for i := range 400 {
		name := unit.Name(fmt.Sprintf("t%d@%d.service", rng.IntN(12), i))
		s.submit(name, "launched", "[X-Fleet]\n"+texts[rng.IntN(len(texts))]+"\n")
		s.planner.Observe(slices.Concat(s.pending...))
		s.pending = nil
		j := s.planner.jobs.get(name)
		var want *host
		for _, h := range s.planner.hosts {
			if s.planner.fits(j, h, enter, nil) && (want == nil || j.better(h, want)) {
				want = h
			}
		}
		plan := s.step(0)
		if want == nil {
			if len(plan.Decisions) > 0 {
				t.Fatalf("%s fits nowhere, but: %v", name, plan.Decisions)
			}
			continue
		}
		if got := plan.Decisions[0].(Place).Machine; got != want.id {
			t.Fatalf("%s goes to %s, though %s is better", name, short(got), short(want.id))
		}
	}
}

// TestEchoLate: the planner's own writes come back after it has decided anew,
// one at a time.
func TestEchoLate(t *testing.T) {
	s := withMachines("a")
	s.submit("web.service", "launched", "[Service]\n")
	key := record.Key{Machine: id("a"), Unit: "web.service"}
	spec := s.step(0).Decisions[0].(Place).Spec
	for _, target := range []unit.Target{"loaded", "launched", "inactive"} {
		s.edit("web.service", func(u *record.Unit) { u.Target = target })
		if plan := s.stepNewest(); len(plan.Decisions) != 1 {
			t.Fatalf("%s: %v", target, plan.Decisions)
		}
	}
	loaded, none := spec, record.Spec{Target: unit.TargetNone}
	loaded.Target = "loaded"
	for _, echo := range []record.Spec{spec, loaded, spec, none} {
		plan := s.planner.Step(s.now, []record.Change{record.PlacementChange{Key: key, New: &echo}})
		if len(plan.Decisions) > 0 {
			t.Fatalf("the echo %v made decisions: %v", echo, plan.Decisions)
		}
	}
}

// TestForgetOnce: an acknowledgement is answered once, however late the answer
// comes back; and the unit comes back only after it has.
func TestForgetOnce(t *testing.T) {
	s := withMachines("a")
	s.submit("web.service", "launched", "[Service]\n")
	s.settle()
	s.edit("web.service", func(u *record.Unit) { u.Target = "inactive" })
	s.step(0)
	s.agents()
	if plan := s.step(0); len(plan.Decisions) != 1 {
		t.Fatalf("got %v", plan.Decisions)
	}
	late := s.pending
	s.pending = nil
	s.edit("web.service", func(u *record.Unit) { u.Target = "launched" })
	if plan := s.stepNewest(); len(plan.Decisions) > 0 {
		t.Fatalf("before the deletion is seen: %v", plan.Decisions)
	}
	if plan := s.planner.Step(s.now, slices.Concat(late...)); len(plan.Decisions) != 1 {
		t.Fatalf("after the deletion is seen: %v", plan.Decisions)
	}
}

// TestPlacedTwice: of two placements, written by hand or by a leader that got
// no further, the one on the live machine counts.
func TestPlacedTwice(t *testing.T) {
	s := withMachines("a")
	s.submit("web.service", "launched", "[Service]\n")
	spec := record.Spec{Target: "launched", File: s.view.Units["web.service"].File}
	for _, m := range []string{"a", "b"} {
		s.placement(record.Key{Machine: id(m), Unit: "web.service"}, &spec)
	}
	got := lines(s.step(0).Decisions)
	if want := "withdraw web.service from b0000000: it is placed on a0000000 now\n"; got != want {
		t.Errorf("got %s", got)
	}
}

// TestWarnsOnce: a unit that the cluster doesn't know is reported once.
func TestWarnsOnce(t *testing.T) {
	s := withMachines("a")
	key := record.Key{Machine: id("a"), Unit: "web.service"}
	warnings := 0
	for restart := range uint64(3) {
		s.state(key, &record.State{Spec: record.Spec{Target: "launched", Restart: restart}})
		warnings += len(s.step(0).Warnings)
	}
	if warnings != 1 {
		t.Errorf("%d warnings", warnings)
	}
}

// stepNewest plans with the last transaction only, as if the echoes of all
// others were still on their way, and commits nothing.
func (s *sim) stepNewest() Plan {
	last := s.pending[len(s.pending)-1]
	s.pending = nil
	return s.planner.Step(s.now, last)
}

// TestWake: nothing pending, nothing to wake for; and the time that is
// given is enough.
func TestWake(t *testing.T) {
	s := withMachines("a", "b")
	s.submit("web.service", "launched", "[X-Fleet]\nMachineMetadata=no!=1\n")
	if plan := s.step(0); !plan.Wake.IsZero() {
		t.Errorf("wakes at %v for nothing", plan.Wake)
	}
	s.settle()
	on := s.placed("web.service", false)[0]
	s.lose(on, true)
	s.newLeader()
	plan := s.step(time.Second)
	if want := s.now.Add(grace); !plan.Wake.Equal(want) {
		t.Errorf("wakes at %v, not at %v", plan.Wake, want)
	}
	if plan := s.step(grace - 1); len(plan.Decisions) > 0 {
		t.Errorf("moves before the time: %v", plan.Decisions)
	}
	if plan := s.step(1); len(plan.Decisions) != 2 || !plan.Wake.IsZero() {
		t.Errorf("at the time: %v, wake %v", plan.Decisions, plan.Wake)
	}
}

// TestWaitsForWhoeverSaysThatItRuns: somebody has deleted a machine's presence and what
// it was told, but its lease lives, for what it says is there.
func TestWaitsForWhoeverSaysThatItRuns(t *testing.T) {
	begin := func() (s *sim, on record.Key) {
		s = withMachines("a", "b")
		s.submit("web.service", "launched", "[Service]\n")
		s.settle()
		on = record.Key{Machine: s.placed("web.service", false)[0], Unit: "web.service"}
		m := s.view.Machines[on.Machine]
		s.placement(on, nil)
		s.do(record.MachineChange{ID: on.Machine, Old: &m})
		s.newLeader()
		if plan := s.step(time.Second); len(plan.Decisions) > 0 || !plan.Wake.Equal(s.now.Add(grace)) {
			t.Errorf("begins with %v, wakes at %v", plan.Decisions, plan.Wake)
		}
		return s, on
	}
	t.Run("it is back", func(t *testing.T) {
		s, on := begin()
		s.machine(s.hosts[on.Machine])
		s.settle()
		if got := s.placed("web.service", true); !slices.Equal(got, []machine.ID{on.Machine}) {
			t.Errorf("placed on %v, ran on %s", got, on.Machine)
		}
	})
	t.Run("its lease ends", func(t *testing.T) {
		s, on := begin()
		s.state(on, nil)
		s.settle()
		if got := s.placed("web.service", true); len(got) != 1 || got[0] == on.Machine {
			t.Errorf("placed on %v, ran on %s", got, on.Machine)
		}
	})
	t.Run("it is given up", func(t *testing.T) {
		s, on := begin()
		if plan := s.step(grace); len(plan.Decisions) != 1 {
			t.Errorf("when it was given up: %v", plan.Decisions)
		}
		if got := s.placed("web.service", true); len(got) != 1 || got[0] == on.Machine {
			t.Errorf("placed on %v, ran on %s", got, on.Machine)
		}
	})
}

// TestForgets: nothing is kept in memory of what is gone.
func TestForgets(t *testing.T) {
	s := withMachines("a", "b")
	for i := range 20 {
		s.submit(unit.Name(fmt.Sprintf("u@%d.service", i)), "launched", fmt.Sprintf("[X-Fleet]\nConflicts=v@%d*\nReplaces=\n# %d\n", i, i))
	}
	s.settle()
	for i := range 20 {
		s.edit(unit.Name(fmt.Sprintf("u@%d.service", i)), func(u *record.Unit) { u.Target = unit.TargetDestroyed })
	}
	s.settle()
	s.lose(id("a"), true)
	s.lose(id("b"), true)
	s.step(0)
	p := s.planner
	for what, n := range map[string]int{
		"jobs": p.jobs.len(), "hosts": len(p.hosts), "short": len(p.short), "files": len(p.files), "classes": len(p.classes.all),
		"patterns": len(p.patterns.all), "prefixes": len(p.patterns.byPrefix), "lengths": len(p.patterns.lengths),
		"followers": len(p.followers), "waiting": len(p.waiting), "hunters": len(p.hunters), "postponed": len(p.postponed), "stored units": len(s.view.Units),
		"stored files": len(s.view.Files), "stored placements": len(s.view.Schedule), "stored states": len(s.view.States),
	} {
		if n > 0 {
			t.Errorf("%d %s left", n, what)
		}
	}
}
