package planner

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/unit"
	"pgregory.net/rapid"
)

// TestReplacesEnd: whatever units replace and follow whom, in chains and in
// circles, they come to rest soon, and rest keeps nobody from a place that is
// free. A step plans and has all agents do what they are told.
func TestReplacesEnd(t *testing.T) {
	for range rounds {
		rapid.Check(t, func(t *rapid.T) {
			w := newWorld(t, false)
			const units = 5
			name := func(i int) unit.Name { return unit.Name(fmt.Sprintf("r%d.service", i)) }
			others := rapid.SliceOfNDistinct(rapid.IntRange(0, units-1), 0, 3, rapid.ID[int])
			options := func(of int) string {
				out := ""
				for _, x := range others.Draw(t, "replaces") {
					if x != of {
						out += fmt.Sprintf("Replaces=r%d.*\n", x)
					}
				}
				if x := rapid.IntRange(0, 3*units).Draw(t, "follows"); x < units && x != of && !strings.Contains(out, fmt.Sprintf("r%d.", x)) {
					out += fmt.Sprintf("MachineOf=%s\n", name(x))
				}
				return out
			}
			// Each may move once for every other: a withdrawal and a placement.
			const enough = 2 * units
			for range rapid.IntRange(1, 3*units).Draw(t, "submits") {
				i := rapid.IntRange(0, units-1).Draw(t, "unit")
				w.hand(name(i), "launched", options(i))
				if rapid.Bool().Draw(t, "lose a host") {
					w.lose(w.drawHost(), true)
				}
				if rapid.Bool().Draw(t, "get a host") {
					w.join(w.drawHost())
				}
				steps := 0
				for ; ; steps++ {
					plan := w.plan(0)
					if !w.agents() && len(plan.Decisions) == 0 && len(w.pending) == 0 {
						break
					}
					if steps > enough {
						t.Fatalf("still going on after %d steps", steps)
					}
				}
			}
			w.rest()
		})
	}
}
