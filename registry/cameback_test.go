package registry

import (
	"errors"
	"fmt"
	"testing"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
)

// The units of machines that are away are given to others only if none of them
// has come back meanwhile: it may have read that it is to run them.
func TestUnitsOfAMachineThatCameBackAreNotGivenAway(t *testing.T) {
	for _, lost := range []int{1, maxAway, maxAway + 1, 3 * manyOps} {
		t.Run(fmt.Sprint(lost, " machines away"), func(t *testing.T) {
			r, s := fresh(t)
			l := leading(t, r)
			away := func(i int) machine.ID { return machine.ID(fmt.Sprintf("%032d", i)) }
			key, spec := place("other.service")
			commit := func(at int64) error {
				writes := []Write{l.PutPlacement(key, spec)}
				for i := range lost {
					writes = append(writes, l.TakeFromAway(record.Key{Machine: away(i), Unit: "a.service"}, at))
				}
				return l.Commit(t.Context(), writes)
			}
			seen := s.Revision(t)
			back := r.keys.machine(away(lost - 1))
			s.Put(t, back, encode(machine.Machine{ID: away(lost - 1)}))
			if err := commit(seen); !errors.Is(err, ErrCameBack) {
				t.Fatalf("got %v, want ErrCameBack", err)
			}
			if _, told := s.Get(t, r.keys.placement(key)); told {
				t.Error("another was told to run a unit of a machine that came back")
			}
			s.Delete(t, back)
			ok(t, l.Anew(t.Context()))
			ok(t, commit(s.Revision(t)))
			for _, k := range []record.Key{key, {Machine: away(0), Unit: "a.service"}, {Machine: away(lost - 1), Unit: "a.service"}} {
				if _, told := s.Get(t, r.keys.placement(k)); !told {
					t.Errorf("%v isn't written", k)
				}
			}
			ok(t, l.Resign(t.Context()))
			if err := commit(s.Revision(t)); !errors.Is(err, ErrDeposed) {
				t.Errorf("got %v of a leader that has resigned, want ErrDeposed", err)
			}
		})
	}
}

// What nobody can read is no machine, as long as it stays that: it would keep the units
// of one that is gone from all others.
func TestUnitsOfAnUnreadableMachineAreGivenAway(t *testing.T) {
	r, s := fresh(t)
	l := leading(t, r)
	key := record.Key{Machine: "m", Unit: "a.service"}
	s.Put(t, r.keys.machine("m"), "{")
	f := follow(t, r.Follow)
	f.wait(t, "the snapshot", func(*record.View) bool { return true })
	ok(t, l.Commit(t.Context(), []Write{l.TakeFromAway(key, s.Revision(t))}))
	s.Put(t, r.keys.machine("m"), encode(machine.Machine{ID: "m"}))
	if err := l.Commit(t.Context(), []Write{l.TakeFromAway(key, s.Revision(t))}); !errors.Is(err, ErrCameBack) {
		t.Errorf("got %v, want ErrCameBack", err)
	}
}
