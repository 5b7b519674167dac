package rescue

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// returning is a cluster whose machines come back one after the other, each when it
// has been looked for.
type returning struct {
	held     registry.Restored
	machines []machine.ID
	view     *record.View
	written  bool // one of its units was, since it was looked at last
	finished *registry.Reality
}

func (r *returning) Restoring(context.Context) (*registry.Restored, *record.View, error) {
	if r.finished != nil {
		return nil, nil, registry.ErrNotRestoring
	}
	if len(r.machines) > 0 {
		id := r.machines[0]
		r.machines = r.machines[1:]
		r.view.Apply(record.MachineChange{ID: id, New: &machine.Machine{ID: id}})
		r.view.Apply(record.StateChange{Key: record.Key{Machine: id, Unit: unit.Name(id + ".service")}, New: &record.State{Spec: record.Spec{Target: unit.TargetLaunched}}})
	}
	return &r.held, r.view, nil
}

func (r *returning) FinishRestore(_ context.Context, _ *registry.Restored, is registry.Reality) error {
	if r.written {
		r.written = false
		r.view.Apply(record.UnitChange{Name: "m1.service", New: &record.Unit{Target: unit.TargetLaunched}})
		return fmt.Errorf("%w: m1", registry.ErrWrittenMeanwhile)
	}
	r.finished = &is
	return nil
}

func TestFinish(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		without []string
		waits   bool // until it is given up
		written bool
		says    string
	}{
		{"all but one come back", nil, true, false, "waiting for n3"},
		{"one is handed in at the last moment", []string{"m3"}, false, true, "units were changed meanwhile: m1: looking again\nthey run, and the backup had never heard of them; they are left alone. Hand them in again (fleetctl start), and they stay as they are: [m2.service]\n"},
		{"which is given up", []string{"m3"}, false, false, "never heard of them; they are left alone. Hand them in again (fleetctl start), and they stay as they are: [m1.service m2.service]"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			r := &returning{held: registry.Restored{Machines: map[machine.ID]string{"m1": "n1", "m2": "n2", "m3": "n3"}}, machines: []machine.ID{"m1", "m2"}, view: record.NewView(), written: tt.written}
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			var said []string
			err := Finish(ctx, FinishOptions{Registry: r, Without: tt.without, Pause: time.Millisecond, Say: func(text string) {
				said = append(said, text)
				if tt.waits && strings.HasPrefix(text, "waiting for n3:") {
					cancel()
				}
			}})
			if (r.finished == nil) != tt.waits || errors.Is(err, context.Canceled) != tt.waits {
				t.Errorf("finished: %v, %v", r.finished, err)
			}
			if got := strings.Join(said, "\n"); !strings.Contains(got, tt.says) {
				t.Errorf("it said %s", got)
			}
		})
	}
}

// Who is given up must be told apart from all others.
func TestFinishWithoutWhom(t *testing.T) {
	t.Parallel()
	for name, w := range map[string]string{"two": "m", "nobody": "x", "nothing": ""} {
		t.Run(name, func(t *testing.T) {
			r := &returning{held: registry.Restored{Machines: map[machine.ID]string{"m1": "n1", "m2": "n2"}}, view: record.NewView()}
			err := Finish(t.Context(), FinishOptions{Registry: r, Without: []string{"m1", w}, Pause: time.Millisecond, Say: func(string) {}})
			if err == nil || !strings.Contains(err.Error(), "--without "+w+":") || r.finished != nil {
				t.Errorf("finished: %v, %v", r.finished, err)
			}
		})
	}
}
