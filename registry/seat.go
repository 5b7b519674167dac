package registry

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Seat is a machine's place in the cluster as one attempt of Join found or made
// it.
type Seat struct {
	Lease   uint64
	Renewed time.Time
	Resumed bool                       // it is an earlier fleetd's of this boot
	States  map[unit.Name]record.State // that etcd holds of it then
}

// Each of the following is one request of a presence, for who keeps one step by
// step. Those on a lease fail with rpctypes.ErrLeaseNotFound when it has ended.

// Sit is one attempt of Join.
func (r *Registry) Sit(ctx context.Context, m machine.Machine, ttl time.Duration) (Seat, error) {
	p := &Presence{r: r, ttl: ttl, machine: m, lost: make(chan struct{}, 1)}
	if err := p.join(ctx); err != nil {
		return Seat{}, err
	}
	return Seat{Lease: uint64(p.lease), Renewed: p.renewed, Resumed: p.resumed, States: p.states}, nil
}

// Renew renews a lease.
func (r *Registry) Renew(ctx context.Context, lease uint64) error {
	_, err := r.keepAliveOnce(ctx, clientv3.LeaseID(lease))
	return err
}

// Rise ends a lease.
func (r *Registry) Rise(ctx context.Context, lease uint64) error {
	return r.revoke(ctx, clientv3.LeaseID(lease))
}

// Say writes what a machine says of itself, unless that is nil, and of its units
// (nil deletes) on its lease.
func (r *Registry) Say(ctx context.Context, id machine.ID, lease uint64, self *machine.Machine, states map[unit.Name]*record.State) error {
	p := &Presence{r: r, machine: machine.Machine{ID: id}, lease: clientv3.LeaseID(lease), states: map[unit.Name]record.State{}}
	var ops []clientv3.Op
	if self != nil {
		p.machine = *self
		ops = append(ops, p.op(""))
	}
	for _, name := range slices.Sorted(maps.Keys(states)) {
		if s := states[name]; s != nil {
			p.states[name] = *s
		}
		ops = append(ops, p.op(name))
	}
	for batch := range batches(ops, maxOps, alone) {
		if _, err := r.txn(ctx, nil, batch); err != nil {
			return fmt.Errorf("publishing states: %w", err)
		}
	}
	return nil
}

// Told tells for which units the machine's schedule has a key.
func (r *Registry) Told(ctx context.Context, id machine.ID, units []unit.Name) (map[unit.Name]bool, error) {
	out := map[unit.Name]bool{}
	for batch := range slices.Chunk(units, maxOps) {
		resp, err := r.txn(ctx, nil, r.toldOps(id, batch))
		if err != nil {
			return nil, err
		}
		for i, name := range batch {
			out[name] = resp.Responses[i].GetResponseRange().Count > 0
		}
	}
	return out, nil
}

// toldOps count the keys of a machine's schedule for units.
func (r *Registry) toldOps(id machine.ID, units []unit.Name) []clientv3.Op {
	ops := make([]clientv3.Op, len(units))
	for i, name := range units {
		ops[i] = clientv3.OpGet(r.keys.placement(record.Key{Machine: id, Unit: name}), clientv3.WithCountOnly())
	}
	return ops
}
