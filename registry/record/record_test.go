package record

import (
	"testing"

	"github.com/fleet-project/fleet/unit"
)

// What a machine says of a unit carries the count: a unit that was stopped, or
// stopped and started again, must not be taken for what it was before.
func TestAimCountsStops(t *testing.T) {
	for _, tt := range []struct {
		from, to unit.Target
		counts   bool
	}{
		{unit.TargetInactive, unit.TargetLaunched, false},
		{unit.TargetLoaded, unit.TargetLaunched, false},
		{unit.TargetLaunched, unit.TargetLaunched, false},
		{unit.TargetLoaded, unit.TargetInactive, false},
		{unit.TargetLaunched, unit.TargetLoaded, true},
		{unit.TargetLaunched, unit.TargetInactive, true},
	} {
		u := Unit{File: "f", Target: tt.from, Restart: 4}.Aim(tt.to)
		if want := (Unit{File: "f", Target: tt.to, Restart: 4}); tt.counts != (u.Restart == 5) || u.Target != want.Target || u.File != want.File {
			t.Errorf("from %s to %s: %+v", tt.from, tt.to, u)
		}
	}
}
