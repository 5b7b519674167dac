package simulation

import (
	"slices"
	"testing"
)

// enough is how many seeds draw everything: the rarest of what they must have, who
// is missing when a leader begins, comes once in thirty worlds.
const enough = 500

// consequences are what faults must lead to now and then, besides themselves.
var consequences = []string{
	"doubled on a lost machine", "late write", "leader elected", "lost answer", "lost request", "watch compacted", "write fenced off",
}

// missing tells which faults, consequences and invariants did not come up at all in
// that many worlds: what is never drawn, or never judged, holds nothing.
func missing(seeds uint64, counts map[string]int) (names []string) {
	if seeds < enough {
		return nil
	}
	must := slices.Clone(consequences)
	for _, f := range faultKinds {
		must = append(must, f.name)
	}
	for _, i := range invariants {
		must = append(must, i.judged())
	}
	return slices.DeleteFunc(must, func(name string) bool { return counts[name] > 0 })
}

func TestMissing(t *testing.T) {
	all := map[string]int{}
	for _, name := range missing(enough, nil) {
		all[name]++
	}
	for _, name := range []string{"host lost", "new leader's clock set", "write fenced off", "judged: none lost"} {
		t.Run(name, func(t *testing.T) {
			if all[name] != 1 {
				t.Errorf("it must come up once and does %d times", all[name])
			}
			all[name] = 0
			if got := missing(enough, all); len(got) != 1 || got[0] != name {
				t.Errorf("missing: %q", got)
			}
			if got := missing(enough-1, all); got != nil {
				t.Errorf("missing, with few seeds: %q", got)
			}
			all[name] = 1
			if got := missing(enough, all); len(got) > 0 {
				t.Errorf("missing, with all there: %q", got)
			}
		})
	}
}
