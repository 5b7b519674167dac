package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
)

// listener is a list's watch, driven by hand: next gives what it tells of the last
// update.
type listener[T any] struct {
	stream *listStream
	out    *httptest.ResponseRecorder
	say    func(T) string
}

func listen[T any](c *cache, list listKind, say func(T) string) *listener[T] {
	out := httptest.NewRecorder()
	watch, _ := c.feeds[list].join(c, nil)
	return &listener[T]{out: out, say: say, stream: &listStream{
		lines: newLines(out, httptest.NewRequest("GET", "/", nil), time.Minute), server: &Server{cache: c}, watch: watch,
	}}
}

func (w *listener[T]) next(t *testing.T) []string {
	t.Helper()
	if err := w.stream.tellNews(); err != nil {
		t.Fatal(err)
	}
	var events []string
	for d := json.NewDecoder(w.out.Body); ; {
		var e api.ListEvent[T]
		if err := d.Decode(&e); errors.Is(err, io.EOF) {
			return events
		} else if err != nil {
			t.Fatal(err)
		}
		events = append(events, fmt.Sprintf("%s %s", e.Type, w.say(*e.Object)))
	}
}

// clusterOf is two units, one of which runs on a machine.
func clusterOf(ip string, more ...record.Change) *record.View {
	v := record.NewView()
	spec := record.Spec{Target: unit.TargetLaunched, File: "h"}
	key := record.Key{Machine: "m1", Unit: "a.service"}
	for _, c := range append([]record.Change{
		record.MachineChange{ID: "m1", New: &machine.Machine{ID: "m1", IP: ip}},
		record.UnitChange{Name: "a.service", New: &record.Unit{File: "h", Target: unit.TargetLaunched}},
		record.UnitChange{Name: "b.service", New: &record.Unit{File: "h", Target: unit.TargetInactive}},
		record.PlacementChange{Key: key, New: &spec},
		record.StateChange{Key: key, New: &record.State{Spec: spec, SystemdState: unit.SystemdState{Active: "active"}}},
	}, more...) {
		v.Apply(c)
	}
	return v
}

// What a watch of a list can't learn from single changes to its rows' keys.
func TestListWatchSeesWhatIsBehindItsRows(t *testing.T) {
	c := newCache()
	units := listen(c, unitList, func(u api.Unit) string {
		return fmt.Sprintf("%s %d %s %s", u.Name, len(u.Options), u.CurrentState, u.PrimaryIP)
	})
	states := listen(c, stateList, func(s api.UnitState) string {
		return fmt.Sprintf("%s %s", s.Name, s.PrimaryIP)
	})
	moved := &machine.Machine{ID: "m1", IP: "10.0.0.9"}
	gone := clusterOf("10.0.0.9", record.UnitChange{Name: "a.service"}, record.UnitChange{Name: "c.service", New: &record.Unit{Target: unit.TargetInactive}})
	tests := []struct {
		name          string
		update        registry.Update
		units, states []string
	}{
		{
			"the first snapshot", registry.Update{Reset: true, View: clusterOf("10.0.0.1")},
			[]string{"ADDED a.service 0 launched 10.0.0.1", "ADDED b.service 0 inactive "}, []string{"ADDED a.service 10.0.0.1"},
		},
		{
			"a text that had been missing",
			registry.Update{View: record.NewView(), Changes: []record.Change{record.FileChange{Hash: "h", Text: []byte("[Service]\nExecStart=/bin/a\n")}}},
			[]string{"MODIFIED a.service 1 launched 10.0.0.1", "MODIFIED b.service 1 inactive "}, nil,
		},
		{
			"a machine that has another address",
			registry.Update{View: record.NewView(), Changes: []record.Change{record.MachineChange{ID: "m1", New: moved, Old: &machine.Machine{ID: "m1", IP: "10.0.0.1"}}}},
			[]string{"MODIFIED a.service 1 launched 10.0.0.9"}, []string{"MODIFIED a.service 10.0.0.9"},
		},
		{
			"a machine that says itself again",
			registry.Update{View: record.NewView(), Changes: []record.Change{record.MachineChange{ID: "m1", New: moved, Old: moved}}}, nil, nil,
		},
		{
			"a unit's key that vanishes, its state still there",
			registry.Update{View: record.NewView(), Changes: []record.Change{record.UnitChange{Name: "a.service"}}},
			[]string{"DELETED a.service 1 launched 10.0.0.9"}, []string{"DELETED a.service 10.0.0.9"},
		},
		{
			"a snapshot in which it is back",
			registry.Update{Reset: true, View: clusterOf("10.0.0.9")},
			[]string{"ADDED a.service 0 launched 10.0.0.9", "MODIFIED b.service 0 inactive "}, []string{"ADDED a.service 10.0.0.9"},
		},
		{
			"a snapshot with other units",
			registry.Update{Reset: true, View: gone},
			[]string{"DELETED a.service 0 launched 10.0.0.9", "ADDED c.service 0 inactive "}, []string{"DELETED a.service 10.0.0.9"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c.update(tt.update)
			if d := cmp.Diff(tt.units, units.next(t)); d != "" {
				t.Errorf("units (-want +got):\n%s", d)
			}
			if d := cmp.Diff(tt.states, states.next(t)); d != "" {
				t.Errorf("states (-want +got):\n%s", d)
			}
		})
	}
}
