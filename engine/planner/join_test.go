package planner

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"pgregory.net/rapid"
)

// TestJoin: machines that come and go leave the ring in order, and all that is kept
// by position says of each machine what is true of it.
func TestJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim()
		p := s.planner
		p.classes.ring.few = 0
		s.submit("lonely@1.service", "launched", "[X-Fleet]\nConflicts=lonely@*\nMachineMetadata=region=eu\n")
		s.submit("lonely@2.service", "launched", "[X-Fleet]\nConflicts=lonely@*\nMachineMetadata=region=eu\n")
		s.submit("global@1.service", "launched", "[X-Fleet]\nGlobal=true\n")
		draw := func() machine.ID { return id(fmt.Sprintf("m%d", rapid.IntRange(10, 99).Draw(t, "machine"))) }
		join := func() {
			s.machine(machine.Machine{ID: draw(), Metadata: map[string]string{"region": rapid.SampledFrom([]string{"eu", "us"}).Draw(t, "region")}})
		}
		t.Repeat(map[string]func(*rapid.T){
			"join": func(*rapid.T) { join() },
			"many join": func(t *rapid.T) {
				for range rapid.IntRange(1, 30).Draw(t, "machines") {
					join()
				}
			},
			"forget": func(*rapid.T) {
				h := draw()
				s.lose(h, true)
				for _, k := range sortedKeys(s.view.Schedule) {
					if k.Machine == h {
						s.edit(k.Unit, func(u *record.Unit) { u.Target = "inactive" })
					}
				}
			},
			"launch": func(*rapid.T) {
				for name := range s.view.Units {
					s.edit(name, func(u *record.Unit) { u.Target = "launched" })
				}
			},
			"": func(t *rapid.T) {
				s.settle()
				checkRing(t, p)
			},
		})
	})
}

func checkRing(t *rapid.T, p *Planner) {
	r := &p.classes.ring
	r.tidy()
	free := 0
	var last *host
	for at, h := range r.hosts {
		if at > 0 && r.keys[at] < r.keys[at-1] {
			t.Fatalf("the keys are out of order at %d", at)
		}
		if h == nil {
			free++
			continue
		}
		if h.at != int32(at) || r.keys[at] != h.ring || last != nil && byRing(last, h) >= 0 {
			t.Fatalf("%s is not where it belongs", short(h.id))
		}
		last = h
	}
	place := rapid.Uint64().Draw(t, "place")
	first := slices.IndexFunc(r.keys, func(key uint64) bool { return key >= place })
	if from := r.from(place); from != first && (first >= 0 || from != len(r.keys)) {
		t.Fatalf("from %x on: %d, not %d", place, from, first)
	}
	if free != r.free {
		t.Fatalf("%d positions are free, not %d", free, r.free)
	}
	for _, c := range p.classes.all {
		c.refresh()
		for at, h := range r.hosts {
			if is := h != nil && h.open && c.allows(h); is != (c.load[at] >= 0) || h != nil && c.allowed.has(int32(at)) != c.allows(h) {
				t.Fatalf("%q has position %d: %v", c.key, at, !is)
			}
		}
	}
	for name, tpl := range p.templates {
		sets := tpl.refresh()
		for at, h := range r.hosts {
			n := 0
			for i, some := range sets {
				if i > 0 && some.has(int32(at)) {
					n = i
				}
			}
			if is := h != nil && tpl.on[h] > 0; is != (sets != nil && sets[0].has(int32(at))) || is && n != int(tpl.on[h]) {
				t.Fatalf("%s has %d instances in position %d", name, n, at)
			}
		}
	}
	for key, g := range p.patterns.all {
		has := g.refresh()
		for at, h := range r.hosts {
			tally := g.at[h]
			if is := h != nil && tally.covered.in(enter) > 0; is != (has && g.coveredOn.has(int32(at))) {
				t.Fatalf("%v covers position %d: %v", key, at, !is)
			}
		}
	}
}

// TestJoinMovesFew: to give a machine a position, hardly another one loses its own.
func TestJoinMovesFew(t *testing.T) {
	p := New(Config{})
	join := func(i int) {
		id := machine.ID(fmt.Sprintf("%032d", i))
		p.Step(time.Unix(1, 0), []record.Change{record.MachineChange{ID: id, New: &machine.Machine{ID: id}}})
	}
	const many, more = 1000, 50
	for i := range many {
		join(i)
	}
	r := &p.classes.ring
	r.tidy()
	generation, changes := r.generation, r.end()
	for i := range more {
		join(many + i)
		r.tidy()
	}
	if r.generation != generation {
		t.Errorf("all positions were given out anew, %d times", r.generation-generation)
	}
	// Of each machine that is moved, two positions change.
	if moved := r.end() - changes; moved > more*2*slack {
		t.Errorf("%d changes of positions for %d machines", moved, more)
	}
}
