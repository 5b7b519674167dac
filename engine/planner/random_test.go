package planner

import (
	"testing"

	"pgregory.net/rapid"
)

// rounds multiplies rapid's number of checks, which is made for slower code.
const rounds = 20

// TestRandom: whatever happens, every plan keeps the promises, and once
// nothing happens any more everything is where it belongs.
func TestRandom(t *testing.T) {
	for range rounds {
		rapid.Check(t, func(t *rapid.T) {
			w := newWorld(t, false)
			t.Repeat(w.actions())
			w.rest()
		})
	}
}

// TestRandomLate is the same with a planner that hears of things late, its own
// writes included.
func TestRandomLate(t *testing.T) {
	for range rounds {
		rapid.Check(t, func(t *rapid.T) {
			w := newWorld(t, true)
			t.Repeat(w.actions())
			w.late = false
			w.rest()
		})
	}
}
