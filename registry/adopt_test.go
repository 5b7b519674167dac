package registry

import (
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What an earlier fleetd said on a lease that nobody keeps any more would vanish
// with that, and the agent, which has read it, would not say it again. A fleetd that
// joins leaves none: it takes them to its own lease.
func TestNoWordsAreLeftOnALeaseThatNobodyKeeps(t *testing.T) {
	const ttl = 10 * time.Second
	ctx, host := t.Context(), machine.Machine{ID: "m", BootID: "b"}
	for name, tt := range map[string]struct {
		before  func(t *testing.T, s *slowEtcd, r *Registry, p *Presence)
		resumes bool
	}{
		"its presence was deleted by hand": {func(_ *testing.T, s *slowEtcd, r *Registry, _ *Presence) { s.store.Delete(r.keys.machine("m")) }, false},
		"it died when only its presence was on its new lease": {func(t *testing.T, _ *slowEtcd, r *Registry, _ *Presence) {
			fresh, err := r.grant(ctx, ttl)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := r.txn(ctx, nil, []clientv3.Op{clientv3.OpPut(r.keys.machine("m"), encode(host), clientv3.WithLease(fresh.ID))}); err != nil {
				t.Fatal(err)
			}
		}, true},
	} {
		t.Run(name, func(t *testing.T) {
			s, r := overSlowEtcd(t)
			p, err := r.Join(ctx, host, ttl)
			if err != nil {
				t.Fatal(err)
			}
			if err := p.PutStates(ctx, map[unit.Name]*record.State{"a.service": {}}); err != nil {
				t.Fatal(err)
			}
			tt.before(t, s, r, p)
			next, err := r.Join(ctx, host, ttl)
			if err != nil {
				t.Fatal(err)
			}
			if next.Resumed() != tt.resumes {
				t.Errorf("resumed: %v", next.Resumed())
			}
			if _, err := next.turn(ctx); err != nil {
				t.Fatal(err)
			}
			state := s.store.Get(r.keys.state(record.Key{Machine: "m", Unit: "a.service"}))
			if state == nil || state.Lease != int64(next.lease) {
				t.Errorf("it isn't on the lease that is kept, %d: %v", next.lease, state)
			}
		})
	}
}
