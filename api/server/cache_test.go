package server

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

// Nobody asks for a list, and units come and go: their names must not pile up.
func TestNamesOfUnitsThatWentAreForgotten(t *testing.T) {
	c := newCache()
	change := func(name unit.Name, to *record.Unit) {
		c.update(registry.Update{View: record.NewView(), Changes: []record.Change{record.UnitChange{Name: name, New: to}}})
	}
	u := &record.Unit{File: "h", Target: unit.TargetInactive}
	change("stays.service", u)
	for i := range 5000 {
		name := unit.Name(fmt.Sprintf("goes%d.service", i))
		change(name, u)
		change(name, nil)
	}
	if n := len(c.names) + len(c.added); n > 1100 {
		t.Errorf("%d names of one unit are kept", n)
	}
	change("also.service", u)
	change("also.service", nil)
	change("also.service", u)
	c.lockSorted().RUnlock()
	if diff := cmp.Diff([]unit.Name{"also.service", "stays.service"}, c.names); diff != "" {
		t.Error(diff)
	}
}

func TestByUnit(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b, want := byUnit[int]{}, map[record.Key]int{}
		units, machines := []unit.Name{"a", "b"}, []machine.ID{"1", "2", "3"}
		for i := range rapid.IntRange(1, 20).Draw(t, "steps") {
			k := record.Key{Unit: rapid.SampledFrom(units).Draw(t, "unit"), Machine: rapid.SampledFrom(machines).Draw(t, "machine")}
			if rapid.Bool().Draw(t, "there") {
				b.set(k, &i)
				want[k] = i
			} else {
				b.set(k, nil)
				delete(want, k)
			}
		}
		got := map[record.Key]int{}
		for name, of := range b {
			for _, on := range of {
				got[record.Key{Unit: name, Machine: on.machine}] = on.value
			}
			if len(of) == 0 || !slices.IsSortedFunc(of, func(x, y *onMachine[int]) int { return x.compare(y.machine) }) {
				t.Fatalf("%s: %v", name, of)
			}
		}
		if !maps.Equal(want, got) {
			t.Fatalf("%v, want %v", got, want)
		}
		for _, name := range units {
			for _, id := range machines {
				v, there := want[record.Key{Unit: name, Machine: id}]
				if at := b.at(name, id); (at != nil) != there || there && *at != v {
					t.Fatalf("%s on %s", name, id)
				}
			}
		}
	})
}
