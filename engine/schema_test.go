package engine

import (
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// engineOf runs an engine that speaks a schema.
func (b *bench) engineOf(schema string, id string) (e *Engine, stop func()) {
	b.t.Helper()
	opts := b.options(machine.ID(id), "")
	opts.Registry = b.speaking(schema, b.etcd.Endpoints())
	return b.run(New(opts))
}

func clusterIs(schema string) func(*record.View) bool {
	return func(v *record.View) bool { return v.Cluster != nil && v.Cluster.Schema == schema }
}

// The leader raises the cluster's schema once every fleetd that is present speaks
// it, and no sooner, whoever came first.
func TestSchemaIsRaisedOnceNoOlderFleetdIsPresent(t *testing.T) {
	b := newBench(t)
	_, oldLeaves := b.machineOf(b.speaking("1.0.0", b.etcd.Endpoints()), "a")
	b.machineOf(b.speaking("1.2.0", b.etcd.Endpoints()), "b")
	_, stop := b.engineOf("1.0.0", "a")
	b.await("the cluster", clusterIs("1.0.0"))
	b.engineOf("1.2.0", "b")
	stop()
	// The later one leads: it places.
	b.submit("u.service", unit.TargetLaunched)
	b.await("a place", func(v *record.View) bool { return len(v.Schedule) == 1 })
	b.await("the schema still to be the old one's", clusterIs("1.0.0"))
	oldLeaves()
	b.await("the schema to be raised", clusterIs("1.2.0"))
}

// An engine that is older than the cluster does not stand in the way of one that
// isn't, whether it meets the cluster so or led it when it became so.
func TestOlderEngineDoesNotLead(t *testing.T) {
	for name, before := range map[string]string{"met so": "1.1.0", "became so": "1.0.0"} {
		t.Run(name, func(t *testing.T) {
			b := newBench(t)
			b.etcd.Put(t, b.prefix+"cluster", `{"id":"c","schema":"`+before+`"}`)
			b.machine("m")
			old, stop := b.engineOf("1.0.0", "old")
			if before == "1.0.0" {
				eventually(t, "it leads", func() bool { return old.Report().Leads != nil })
				b.etcd.Put(t, b.prefix+"cluster", `{"id":"c","schema":"1.1.0"}`)
			}
			eventually(t, "it says why it doesn't lead", func() bool {
				r := old.Report()
				return r.Leads == nil && strings.Contains(r.Trouble, "neither leads nor takes changes: upgrade fleet on this host")
			})
			b.etcd.Put(t, b.prefix+"units/u.service", `{"file":"`+string(unit.HashOf(plain))+`","target":"launched"}`)
			b.etcd.Put(t, b.prefix+"files/"+string(unit.HashOf(plain)), string(plain))
			b.engineOf("1.1.0", "new")
			b.await("the later engine to place a unit", placed("u.service", "m", unit.TargetLaunched))
			stop()
		})
	}
}

// eventually waits for what no revision of etcd's tells.
func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !holds(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
	}
}
