package planner

import (
	"fmt"
	"slices"
	"testing"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"pgregory.net/rapid"
)

// TestWalk compares a walk with one that asks for every position.
func TestWalk(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 200).Draw(t, "machines")
		r := &ring{hosts: make([]*host, n)}
		draw := func(name string) set {
			s := r.newSet()
			for _, at := range rapid.SliceOf(rapid.IntRange(0, n-1)).Draw(t, name) {
				s.put(int32(at), true)
			}
			return s
		}
		s := draw("set")
		var only, not, nor set
		if rapid.Bool().Draw(t, "only some") {
			only = draw("only")
		}
		if rapid.Bool().Draw(t, "not all") {
			not, nor = draw("not"), draw("nor")
		}
		from := rapid.IntRange(0, n).Draw(t, "from")
		stop := rapid.IntRange(1, n).Draw(t, "stop")
		var want, got []int
		for i := range n {
			at := (from + i) % n
			if p := int32(at); s.has(p) && (only == nil || only.has(p)) && !not.has(p) && !nor.has(p) && len(want) < stop {
				want = append(want, at)
			}
		}
		stopped := s.walk(from, only, not, nor, func(at int) bool {
			got = append(got, at)
			return len(got) == stop
		})
		if !slices.Equal(got, want) || stopped != (len(want) == stop) {
			t.Fatalf("from %d: got %v (stopped: %v), want %v", from, got, stopped, want)
		}
	})
}

// TestClassesFollow: whatever happened to the machines, and however long ago a
// class was last searched, it has the machines that it should have.
func TestClassesFollow(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		s := newSim()
		s.submit("eu.service", "inactive", "[X-Fleet]\nMachineMetadata=region=eu\n")
		s.submit("any.service", "inactive", "[Service]\n")
		for i := range 8 {
			s.submit(unit.Name(fmt.Sprintf("n%d.service", i)), "launched", "[X-Fleet]\nMachineMetadata=region=eu\n")
			s.submit(unit.Name(fmt.Sprintf("m@%d.service", i)), "launched", "[Service]\n")
		}
		draw := func() machine.ID { return id(fmt.Sprint(rapid.IntRange(0, 9).Draw(t, "machine"))) }
		meta := func() map[string]string {
			return map[string]string{"region": rapid.SampledFrom([]string{"eu", "us"}).Draw(t, "region")}
		}
		t.Repeat(map[string]func(*rapid.T){
			"join":     func(*rapid.T) { s.machine(machine.Machine{ID: draw(), Metadata: meta()}) },
			"lose":     func(*rapid.T) { s.lose(draw(), true) },
			"cordon":   func(*rapid.T) { s.overrides(draw(), &record.Overrides{Cordoned: true}) },
			"override": func(*rapid.T) { s.overrides(draw(), &record.Overrides{Metadata: meta()}) },
			"uncordon": func(*rapid.T) { s.overrides(draw(), nil) },
			"settle":   func(*rapid.T) { s.settle() },
			"forget": func(*rapid.T) { // what changed is not known any more
				s.planner.classes.ring.drop()
			},
			"search": func(t *rapid.T) {
				s.settle()
				p := s.planner
				c := p.jobs.get(rapid.SampledFrom([]unit.Name{"eu.service", "any.service"}).Draw(t, "unit")).class
				c.refresh()
				got := map[*host]int{}
				for _, l := range c.levels {
					n := 0
					l.hosts.walk(0, nil, nil, nil, func(at int) bool {
						got[c.ring.hosts[at]] = int(l.load)
						n++
						return false
					})
					if n != l.size || n == 0 {
						t.Fatalf("%d machines with load %d, not %d", n, l.load, l.size)
					}
				}
				for _, h := range p.hosts {
					load, in := got[h]
					if should := h.open && c.allows(h); should != in || in && load != h.load {
						t.Fatalf("%s with load %d: in the class: %v, with load %d", short(h.id), h.load, in, load)
					}
					delete(got, h)
				}
				if len(got) > 0 {
					t.Fatalf("machines that are gone: %v", got)
				}
			},
		})
	})
}
