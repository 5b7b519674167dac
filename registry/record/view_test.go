package record

import (
	"testing"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
)

// full is a view with something of every kind.
func full() *View {
	v := NewView()
	key := Key{Machine: "m", Unit: "a.service"}
	spec := Spec{Target: unit.TargetLaunched, File: "h", Restart: 2}
	for _, c := range []Change{
		ClusterChange{New: &Cluster{ID: "c", Schema: "1.0.0"}},
		FileChange{Hash: "h", Text: []byte("text")},
		FileChange{Hash: "empty", Text: []byte{}},
		UnitChange{Name: "a.service", New: &Unit{File: "h", Target: unit.TargetLaunched, Restart: 2}},
		PlacementChange{Key: key, New: &spec},
		StateChange{Key: key, New: &State{Spec: spec, SystemdState: unit.SystemdState{Active: "active"}}},
		MachineChange{ID: "m", New: &machine.Machine{ID: "m"}},
		OverridesChange{ID: "m", New: &Overrides{Cordoned: true}},
	} {
		v.Apply(c)
	}
	return v
}

func TestChangesMakeTheViewFromNothing(t *testing.T) {
	want, got := full(), NewView()
	for _, c := range want.Changes() {
		got.Apply(c)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestApplyTakesAway(t *testing.T) {
	v := full()
	key := Key{Machine: "m", Unit: "a.service"}
	for _, c := range []Change{
		ClusterChange{}, FileChange{Hash: "h"}, FileChange{Hash: "empty"}, UnitChange{Name: "a.service"},
		PlacementChange{Key: key}, StateChange{Key: key}, MachineChange{ID: "m"}, OverridesChange{ID: "m"},
	} {
		v.Apply(c)
	}
	if d := cmp.Diff(NewView(), v); d != "" {
		t.Error(d)
	}
}

func TestOverridesApply(t *testing.T) {
	own := map[string]string{"region": "eu", "disk": "ssd"}
	tests := []struct {
		name string
		o    Overrides
		want map[string]string
	}{
		{"none", Overrides{}, own},
		{"set over the machine's own", Overrides{Metadata: map[string]string{"region": "us"}}, map[string]string{"region": "us", "disk": "ssd"}},
		{"removed", Overrides{Removed: []string{"disk", "unknown"}}, map[string]string{"region": "eu"}},
		{"removed, then set again", Overrides{Removed: []string{"disk"}, Metadata: map[string]string{"disk": "hdd"}}, map[string]string{"region": "eu", "disk": "hdd"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, tt.o.Apply(own)); d != "" {
				t.Error(d)
			}
			if own["region"] != "eu" || own["disk"] != "ssd" {
				t.Error("the machine's own metadata was changed")
			}
		})
	}
}
