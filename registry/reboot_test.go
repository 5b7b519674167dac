package registry

import (
	"context"
	"testing"
	"time"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// A host that is back before its lease ran out was never lost: what is placed
// on it stays.
func TestJoinTakesTheDeadBootsPlaceInTime(t *testing.T) {
	t.Parallel()
	r, s := fresh(t)
	const ttl = 15 * time.Second // it takes over with a third left, in which a busy test machine must do it
	began := time.Now()
	old := joined(t, r, host("m", "old"), ttl)
	put(t, old, "a.service", state(unit.TargetLaunched))
	var vanished []record.Change
	f := follow(t, func(ctx context.Context, fn func(Update) error) error {
		return r.Follow(ctx, func(u Update) error {
			for _, c := range u.Changes {
				if m, ok := c.(record.MachineChange); ok && m.New == nil {
					vanished = append(vanished, c)
				}
			}
			return fn(u)
		})
	})
	f.wait(t, "the snapshot", func(v *record.View) bool { return len(v.Machines) == 1 })
	p := joined(t, r, host("m", "new"), ttl)
	if took := time.Since(began); took < ttl/3 {
		t.Errorf("took over after %s: a live holder may not have renewed by then", took)
	}
	f.wait(t, "the new boot", func(v *record.View) bool { return v.Machines["m"].BootID == "new" })
	f.wait(t, "the old boot's states to go", func(v *record.View) bool { return len(v.States) == 0 })
	if len(vanished) > 0 {
		t.Errorf("the machine vanished: %+v", vanished)
	}
	if p.Resumed() || p.lease == old.lease {
		t.Error("it resumed a dead boot's lease")
	}
	if e, _ := s.Get(t, r.keys.machine("m")); e.Lease != p.lease {
		t.Errorf("the presence is on lease %x, not %x", e.Lease, p.lease)
	}
}
