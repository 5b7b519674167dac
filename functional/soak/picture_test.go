package main

import (
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/faults"
	"github.com/fleet-project/fleet/unit"
)

func TestPicture(t *testing.T) {
	const one, everywhere = unit.Name("soak-base-0.service"), unit.Name("soak-base-global-0.service")
	for _, tt := range []struct {
		name          string
		unit          unit.Name
		target        unit.Target // empty: not there
		where         string
		lost, doubled int
		wrong         string // empty: nothing is
	}{
		{"runs", one, unit.TargetLaunched, "n1", 0, 0, ""},
		{"runs nowhere", one, unit.TargetLaunched, "", 1, 0, "is launched and runs on []"},
		{"runs twice", one, unit.TargetLaunched, "n1 n3", 0, 1, "is launched and runs on [n1 n3]"},
		{"runs everywhere", everywhere, unit.TargetLaunched, "n1 n2 n3", 0, 0, ""},
		{"does not run everywhere", everywhere, unit.TargetLaunched, "n1 n3", 1, 0, "runs on [n1 n3]"},
		{"is loaded", one, unit.TargetLoaded, "", 0, 0, ""},
		{"is loaded and runs", one, unit.TargetLoaded, "n2", 0, 0, "is loaded and runs on [n2]"},
		{"is not there", one, "", "", 0, 0, ""},
		{"is not there and runs", one, "", "n2", 0, 0, "is not there and runs on [n2]"},
		{"is being destroyed and runs", one, unit.TargetDestroyed, "n2", 0, 0, "is destroyed and runs on [n2]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			p := picture{hosts: 3, units: map[unit.Name]stored{}, where: map[unit.Name][]string{}}
			if tt.target != "" {
				p.units[tt.unit] = stored{Target: tt.target}
			}
			if where := strings.Fields(tt.where); len(where) > 0 {
				p.where[tt.unit] = where
			}
			if lost, doubled := len(p.lost()), len(p.doubled()); lost != tt.lost || doubled != tt.doubled {
				t.Errorf("lost %d, doubled %d", lost, doubled)
			}
			err := p.wrong()
			if tt.wrong == "" && err != nil || tt.wrong != "" && (err == nil || !strings.Contains(err.Error(), tt.wrong)) {
				t.Errorf("wrong: %v, want %q", err, tt.wrong)
			}
		})
	}
}

func TestWithin(t *testing.T) {
	life := func(host string, start int) *faults.Life {
		return &faults.Life{Host: host, Start: faults.Moment(start)}
	}
	frozen := []faults.Cut{{Host: "n1", Span: faults.Span{From: 10, To: 20}}}
	for _, tt := range []struct {
		name string
		d    faults.Double
		want bool
	}{
		{"while it came to", faults.Double{A: life("n1", 1), B: life("n2", 12), Together: 3}, true},
		{"the other way around", faults.Double{A: life("n2", 12), B: life("n1", 1), Together: 3}, true},
		{"too early", faults.Double{A: life("n1", 1), B: life("n2", 9), Together: 3}, false},
		{"too long", faults.Double{A: life("n1", 1), B: life("n2", 12), Together: 9}, false},
		{"other hosts", faults.Double{A: life("n3", 1), B: life("n2", 12), Together: 3}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := within(tt.d, frozen); got != tt.want {
				t.Error(got)
			}
		})
	}
}
