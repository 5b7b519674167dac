package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// DuplicateMachineError says that another live host has this host's machine-id.
type DuplicateMachineError struct {
	ID    machine.ID
	Other machine.Machine
}

func (e *DuplicateMachineError) Error() string {
	return fmt.Sprintf("machine-id %s is held by another live host, %s at %s (boot %s): "+
		"this host was probably cloned from it; give it its own: rm /etc/machine-id && systemd-machine-id-setup, then restart fleet",
		e.ID, e.Other.Hostname, e.Other.IP, e.Other.BootID)
}

// joinSayAgain is how soon another reason for not joining is said.
const joinSayAgain = 5 * time.Second

// Join makes the machine present, on a lease of ttl. It takes over the lease
// of an earlier fleetd of the same boot that has not left, and the place of an earlier boot once
// that is seen to be dead: the cluster never takes a host for lost that was
// rebooted in time. It returns a *DuplicateMachineError when another live host
// has the same machine-id. While etcd is away it waits.
func (r *Registry) Join(ctx context.Context, m machine.Machine, ttl time.Duration) (*Presence, error) {
	m.Schema = r.speaks().String()
	p := &Presence{r: r, ttl: ttl, machine: m, states: map[unit.Name]record.State{}, dirty: map[unit.Name]bool{}, lost: make(chan struct{}, 1)}
	var said string
	var at time.Time
	for {
		err := p.join(patient(ctx, ttl/6))
		if err == nil {
			r.presence.Store(p)
			return p, nil
		}
		var duplicate *DuplicateMachineError
		if errors.As(err, &duplicate) || ctx.Err() != nil {
			return nil, err
		}
		if err.Error() != said && r.clock.Now().Sub(at) > joinSayAgain {
			r.log.WithError(err).Warn("cannot join the cluster yet: trying again")
			said, at = err.Error(), r.clock.Now()
		}
		if err := r.clock.Sleep(ctx, retryPause); err != nil {
			return nil, err
		}
	}
}

// join makes one attempt; nil means that the presence key is ours.
func (p *Presence) join(ctx context.Context) error {
	p.states, p.dirty, p.inherits = map[unit.Name]record.State{}, map[unit.Name]bool{}, false
	key := p.r.keys.machine(p.machine.ID)
	resp, err := p.r.txn(ctx, nil, []clientv3.Op{
		clientv3.OpGet(key),
		clientv3.OpGet(p.r.keys.statesOf(p.machine.ID), clientv3.WithPrefix()),
	})
	if err != nil {
		return fmt.Errorf("reading this machine's presence: %w", err)
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	said := resp.Responses[1].GetResponseRange().Kvs
	if len(kvs) == 0 {
		// If somebody deleted the presence key, the states are still there, on a
		// lease that nobody renews any more.
		p.takeOver(said)
		return p.claim(ctx, 0)
	}
	var holder machine.Machine
	lease := clientv3.LeaseID(kvs[0].Lease)
	if err := json.Unmarshal(kvs[0].Value, &holder); err != nil && lease != clientv3.NoLease {
		return &UnreadableError{Key: key, Err: err, Remedy: "delete it"}
	}
	switch {
	case holder.BootID == p.machine.BootID && holder.Leaving: // it has given its lease back, or that is on its way
		p.takeOver(said)
		return p.claim(ctx, kvs[0].ModRevision)
	case holder.BootID == p.machine.BootID:
		return p.resume(ctx, lease, kvs[0].ModRevision, p.takeOver(said))
	case lease == clientv3.NoLease: // written by hand: it would never go
		return p.claim(ctx, kvs[0].ModRevision)
	}
	gone, err := p.outwait(ctx, holder, lease, resp.Header.Revision)
	switch {
	case err != nil:
		return err
	case gone:
		return p.claim(ctx, 0)
	}
	if err := p.claim(ctx, kvs[0].ModRevision); err != nil {
		return err
	}
	// What the earlier boot said of its units goes with its lease: all are down.
	return p.r.revoke(ctx, lease)
}

// takeOver makes the states that etcd holds be this presence's. What isn't true any
// more, the agent will say. It gives the leases that they are on.
func (p *Presence) takeOver(said []*mvccpb.KeyValue) map[unit.Name]clientv3.LeaseID {
	p.inherits = true
	leases := map[unit.Name]clientv3.LeaseID{}
	for _, kv := range said {
		var s record.State
		name, err := unit.ParseName(string(kv.Key[len(p.r.keys.statesOf(p.machine.ID)):]))
		if err == nil && json.Unmarshal(kv.Value, &s) == nil {
			p.states[name], leases[name] = s, clientv3.LeaseID(kv.Lease)
		}
	}
	return leases
}

// resume takes over the lease of an earlier fleetd of this boot: the machine
// was never away. States that are on another lease, for that fleetd died before it
// could put them on its new one, are put on this.
func (p *Presence) resume(ctx context.Context, lease clientv3.LeaseID, modified int64, states map[unit.Name]clientv3.LeaseID) error {
	sent := p.r.clock.Now()
	ttl, err := p.r.keepAliveOnce(ctx, lease)
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return p.claim(ctx, modified) // the key is on no lease, or on one that ends now
	case err != nil:
		return err
	}
	if ttl != seconds(p.ttl) {
		// agent_ttl was reconfigured; or etcd allows no shorter one.
		fresh, err := p.r.grant(ctx, p.ttl)
		if err != nil {
			return fmt.Errorf("a lease for this machine: %w", err)
		}
		if fresh.TTL != ttl {
			return p.take(ctx, fresh.ID, sent, modified)
		}
		if err := p.r.revoke(ctx, fresh.ID); err != nil {
			return fmt.Errorf("giving back a lease: %w", err)
		}
	}
	// The lease may be this very Join's, of an attempt whose success was never
	// told: then no earlier fleetd held it.
	ours := lease == p.lease
	if err := p.take(ctx, lease, sent, modified); err != nil {
		return err
	}
	p.resumed = !ours
	maps.DeleteFunc(p.dirty, func(name unit.Name, _ bool) bool { return states[name] == lease })
	return nil
}

// claim puts the presence key on a lease of its own, if the key is still as
// last seen (modified; 0: absent).
func (p *Presence) claim(ctx context.Context, modified int64) error {
	sent := p.r.clock.Now()
	fresh, err := p.r.grant(ctx, p.ttl)
	if err != nil {
		return fmt.Errorf("a lease for this machine: %w", err)
	}
	return p.take(ctx, fresh.ID, sent, modified)
}

// take puts the presence key on a lease, renewed at sent, and marks the known
// states to follow it there.
func (p *Presence) take(ctx context.Context, lease clientv3.LeaseID, sent time.Time, modified int64) error {
	p.lease, p.renewed = lease, sent
	key := p.r.keys.machine(p.machine.ID)
	resp, err := p.r.txn(ctx,
		[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", modified)},
		[]clientv3.Op{clientv3.OpPut(key, encode(p.machine), clientv3.WithLease(lease)), clientv3.OpGet(p.r.keys.statesOf(p.machine.ID), clientv3.WithPrefix())})
	if err != nil {
		return fmt.Errorf("writing this machine's presence: %w", err)
	}
	if !resp.Succeeded {
		return errors.New("this machine's presence changed while joining")
	}
	p.modified, p.unsure = resp.Header.Revision, false
	if p.inherits {
		// What an earlier fleetd had on its way may have come since they were read; from
		// now on nothing does.
		clear(p.states)
		p.takeOver(resp.Responses[1].GetResponseRange().Kvs)
	}
	for name := range p.states {
		p.dirty[name] = true
	}
	return nil
}

// outwait returns once the other boot is dead: its lease is gone, or was not
// renewed for two thirds of its time, in which a live holder does so twice. It
// returns a *DuplicateMachineError when it sees a renewal.
func (p *Presence) outwait(ctx context.Context, holder machine.Machine, lease clientv3.LeaseID, rev int64) (gone bool, err error) {
	p.r.log.Infof("this machine's presence belongs to boot %s of %s: waiting to see that it isn't renewed", holder.BootID, holder.Hostname)
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	changed := p.r.etcd.Watch(ctx, p.r.keys.machine(p.machine.ID), clientv3.WithRev(rev+1))
	var end time.Time // when the lease will have ended, unless it is renewed
	var term uint64
	for {
		asked := p.r.clock.Now()
		now, err := p.r.timeToLive(ctx, lease)
		switch {
		case err != nil:
			return false, err
		case now.left < 0:
			return true, nil
		case now.term == term && now.left > 0 && asked.Add(now.left).After(end): // 0 may also be a moment past its end
			return false, &DuplicateMachineError{ID: p.machine.ID, Other: holder}
		case now.left+time.Second <= now.granted/3: // etcd rounds down
			return false, nil
		}
		latest := p.r.clock.Now().Add(now.left + time.Second)
		if now.term != term || latest.Before(end) {
			// A new term began with a leader that extended every lease.
			end, term = latest, now.term
		}
		// No event tells of a renewal, so look.
		pause := min(max(now.left-now.granted/3, retryPause), max(now.granted/2, time.Second))
		resp, told, err := p.r.await(ctx, changed, pause)
		switch {
		case err != nil:
			return false, err
		case !told:
		case len(resp.Events) == 0 || resp.Events[0].IsCreate() || resp.Events[0].IsModify():
			return false, errors.New("this machine's presence changed while joining")
		default:
			return true, nil
		}
	}
}
