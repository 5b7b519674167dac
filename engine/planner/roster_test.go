package planner

import (
	"fmt"
	"testing"

	"github.com/fleet-project/fleet/unit"
	"pgregory.net/rapid"
)

// TestRoster: it finds those that were added and not dropped since, and no others.
func TestRoster(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r := newRoster(rapid.IntRange(0, 100).Draw(t, "expected"))
		want := map[unit.Name]*job{}
		for range rapid.IntRange(0, 500).Draw(t, "changes") {
			name := unit.Name(fmt.Sprintf("u%d.service", rapid.IntRange(0, 60).Draw(t, "unit")))
			if j := want[name]; j == nil {
				want[name] = &job{name: name}
				r.add(want[name])
			} else {
				r.drop(j)
				delete(want, name)
			}
		}
		if r.len() != len(want) {
			t.Fatalf("it has %d, not %d", r.len(), len(want))
		}
		for i := range 61 {
			name := unit.Name(fmt.Sprintf("u%d.service", i))
			if got := r.get(name); got != want[name] {
				t.Fatalf("%s is %v, not %v", name, got, want[name])
			}
		}
		if 3*r.used > 2*len(r.table) {
			t.Fatalf("%d of %d entries are used", r.used, len(r.table))
		}
	})
}
