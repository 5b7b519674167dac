package simulation

import (
	"fmt"
	"slices"
	"strings"
	"testing"
)

// TestLarge runs worlds of thousands of machines.
func TestLarge(t *testing.T) {
	from, to, err := span(*large)
	if err != nil {
		t.Fatal(err)
	}
	for seed := from; seed <= to; seed++ {
		o := play(seed, largePlan(seed), *tracing)
		report(t, o, fmt.Sprintf("make sim LARGE=%d TRACE=1", seed))
		t.Logf("2000 machines, %d steps, %s", o.Steps, o.Passed)
	}
}

// TestEqualSeedsGiveEqualRuns plays seeds twice and compares all that happened.
func TestEqualSeedsGiveEqualRuns(t *testing.T) {
	for seed := uint64(1); seed <= 3; seed++ {
		first, second := Run(seed, true), Run(seed, true)
		if len(first.History) < 100 {
			t.Fatalf("seed %d: little happened: %d lines", seed, len(first.History))
		}
		for i, line := range first.History {
			if i >= len(second.History) || second.History[i] != line {
				t.Fatalf("seed %d: it is another run from line %d on:\n%s\n%s", seed, i, line, strings.Join(slices.Clip(second.History[i:min(i+1, len(second.History))]), ""))
			}
		}
		if untraced := Run(seed, false); untraced.Steps != first.Steps {
			t.Errorf("seed %d: %d steps, and %d when it is traced", seed, untraced.Steps, first.Steps)
		}
	}
}
