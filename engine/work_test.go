package engine

import (
	"context"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/prometheus/client_golang/prometheus"
)

// told counts what a machine's agent is told of its schedule.
type told struct {
	mu      sync.Mutex
	updates int // with changes
	changes map[unit.Name]int
	heard   chan struct{} // one slot
}

// listen follows a machine's schedule as its agent does.
func (b *bench) listen(id machine.ID) *told {
	b.t.Helper()
	l := &told{changes: map[unit.Name]int{}, heard: make(chan struct{}, 1)}
	ready := make(chan struct{})
	ctx, cancel := context.WithCancel(b.t.Context())
	var following sync.WaitGroup
	r := b.registry()
	following.Go(func() {
		_ = r.FollowMachine(ctx, id, func(u registry.Update) error {
			if u.Reset {
				close(ready)
				return nil
			}
			l.note(u.Changes)
			return nil
		})
	})
	b.t.Cleanup(func() { cancel(); following.Wait() })
	<-ready
	return l
}

func (l *told) note(changes []record.Change) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(changes) > 0 {
		l.updates++
	}
	for _, c := range changes {
		if p, ok := c.(record.PlacementChange); ok {
			l.changes[p.Unit]++
		}
	}
	select {
	case l.heard <- struct{}{}:
	default:
	}
}

// await waits until the machine was told of so many units.
func (l *told) await(t *testing.T, n int) {
	t.Helper()
	patience := time.After(time.Minute)
	for {
		l.mu.Lock()
		have := len(l.changes)
		l.mu.Unlock()
		if have >= n {
			return
		}
		select {
		case <-l.heard:
		case <-patience:
			t.Fatalf("a machine was told of %d units of %d", have, n)
		}
	}
}

// A placement wakes the one agent that it is for: nobody else is told anything, of
// it nor of what that agent says of it.
func TestAPlacementWakesOneAgent(t *testing.T) {
	b := newBench(t)
	ids := []machine.ID{"a", "b", "c", "d", "e"}
	presences, agents := map[machine.ID]*registry.Presence{}, map[machine.ID]*told{}
	for _, id := range ids {
		presences[id], _ = b.machine(id)
	}
	b.engine("a", "")
	b.await("the cluster's key", func(v *record.View) bool { return v.Cluster != nil })
	for _, id := range ids {
		agents[id] = b.listen(id)
	}
	for n := range 25 {
		name := unit.Name(fmt.Sprintf("u%02d.service", n))
		b.submit(name, unit.TargetLaunched)
		var on machine.ID
		b.await("a place for "+string(name), func(v *record.View) bool {
			for key := range v.Schedule {
				if key.Unit == name {
					on = key.Machine
				}
			}
			return on != ""
		})
		spec := record.Spec{File: unit.HashOf(plain), Target: unit.TargetLaunched}
		if err := presences[on].PutStates(t.Context(), map[unit.Name]*record.State{name: {Spec: spec}}); err != nil {
			t.Fatal(err)
		}
	}
	for id, a := range agents {
		a.await(t, 5) // spread evenly
		a.mu.Lock()
		if a.updates != 5 || len(a.changes) != 5 {
			t.Errorf("%s was woken %d times and told of %d units, want 5 of 25: %v", id, a.updates, len(a.changes), a.changes)
		}
		a.mu.Unlock()
	}
}

// A thousand units that wait when a leader begins are placed in as few
// transactions as etcd's limit on operations allows, and each machine is told of
// each of its units once.
func TestAThousandPlacementsTakeFewTransactions(t *testing.T) {
	const units, machines, perTxn = 1000, 10, 128
	b := newBench(t)
	agents := map[machine.ID]*told{}
	for i := range machines {
		id := machine.ID(fmt.Sprintf("m%d", i))
		b.machine(id)
		agents[id] = b.listen(id)
	}
	r := b.registry()
	for i := range units {
		if _, _, err := r.SubmitUnit(t.Context(), unit.Name(fmt.Sprintf("u%04d.service", i)), plain, unit.TargetLaunched); err != nil {
			t.Fatal(err)
		}
	}
	before := b.etcd.Revision(t)
	b.engine("e", "")
	b.await("all placements", func(v *record.View) bool { return len(v.Schedule) == units })
	for id, a := range agents {
		a.await(t, units/machines)
		a.mu.Lock()
		for name, n := range a.changes {
			if n != 1 {
				t.Errorf("%s was told %d times of %s", id, n, name)
			}
		}
		// One message for each transaction that has something for it, and one for
		// the cluster's key.
		if most := (units+perTxn-1)/perTxn + 1; a.updates > most {
			t.Errorf("%s was woken %d times by %d placements, want at most %d times", id, a.updates, len(a.changes), most)
		}
		a.mu.Unlock()
	}
	// Beside the placements, the engine's candidacy and the cluster's key.
	if n, want := b.etcd.Revision(t)-before, int64((units+perTxn-1)/perTxn+2); n != want {
		t.Errorf("%d placements took %d transactions, want %d", units, n, want)
	}
}

// What the leader handles grows with what changes, not with what there is: to
// start one more unit among many, it is told of the unit, its text, its placement
// and its state, of each once.
func TestTheLeaderIsToldOfEachChangeOnce(t *testing.T) {
	b := newBench(t)
	p, _ := b.machine("m")
	reg := prometheus.NewRegistry()
	opts := b.options("e", "")
	var err error
	opts.Registry, err = registry.Dial(registry.Config{Endpoints: b.etcd.Endpoints(), Prefix: b.prefix, Log: quiet(), Metrics: reg})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { opts.Registry.Close() })
	b.run(New(opts))
	r := b.registry()
	for i := range 200 {
		if _, _, err := r.SubmitUnit(t.Context(), unit.Name(fmt.Sprintf("u%04d.service", i)), plain, unit.TargetLaunched); err != nil {
			t.Fatal(err)
		}
	}
	b.await("all placements", func(v *record.View) bool { return len(v.Schedule) == 200 })
	const events = "fleet_registry_events_total "
	awaitMetrics(t, reg, map[string]float64{events + "placement": 200})
	before := gathered(t, reg)
	b.submit("new.service", unit.TargetLaunched)
	b.await("its placement", placed("new.service", "m", unit.TargetLaunched))
	spec := record.Spec{File: unit.HashOf(plain), Target: unit.TargetLaunched}
	if err := p.PutStates(t.Context(), map[unit.Name]*record.State{"new.service": {Spec: spec}}); err != nil {
		t.Fatal(err)
	}
	awaitMetrics(t, reg, map[string]float64{events + "state": before[events+"state"] + 1})
	after := gathered(t, reg)
	for kind, want := range map[string]float64{"unit": 1, "file": 1, "placement": 1, "state": 1, "machine": 0, "overrides": 0, "cluster": 0} {
		if n := after[events+kind] - before[events+kind]; n != want {
			t.Errorf("one start is %v changes of kind %s to the leader, want %v", n, kind, want)
		}
	}
}
