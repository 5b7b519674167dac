package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
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

// Join makes the machine present, on a lease of ttl. It takes over the lease
// of an earlier fleetd of the same boot, waits for the lease of an earlier
// boot to run out, and returns a *DuplicateMachineError when another live host
// has the same machine-id. While etcd is away it waits.
func (r *Registry) Join(ctx context.Context, m machine.Machine, ttl time.Duration) (*Presence, error) {
	p := &Presence{r: r, ttl: ttl, machine: m, states: map[unit.Name]record.State{}, dirty: map[unit.Name]bool{}, lost: make(chan struct{}, 1)}
	said := false
	for {
		err := p.join(ctx)
		if err == nil {
			return p, nil
		}
		var duplicate *DuplicateMachineError
		if errors.As(err, &duplicate) || ctx.Err() != nil {
			return nil, err
		}
		if !said {
			r.log.WithError(err).Warn("cannot join the cluster yet: trying again")
			said = true
		}
		if err := sleep(ctx, retryPause); err != nil {
			return nil, err
		}
	}
}

// join makes one attempt; nil means that the presence key is ours.
func (p *Presence) join(ctx context.Context) error {
	key := p.r.keys.machine(p.machine.ID)
	resp, err := p.r.txn(ctx, nil, []clientv3.Op{
		clientv3.OpGet(key),
		clientv3.OpGet(p.r.keys.statesOf(p.machine.ID), clientv3.WithPrefix()),
	})
	if err != nil {
		return fmt.Errorf("reading this machine's presence: %w", err)
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return p.claim(ctx, 0)
	}
	var holder machine.Machine
	if err := json.Unmarshal(kvs[0].Value, &holder); err != nil {
		return fmt.Errorf("etcd key %s holds what fleet cannot read (%w): delete it", key, err)
	}
	lease := clientv3.LeaseID(kvs[0].Lease)
	if holder.BootID != p.machine.BootID {
		if err := p.outwait(ctx, holder, lease); err != nil {
			return err
		}
		return p.claim(ctx, 0)
	}
	for _, kv := range resp.Responses[1].GetResponseRange().Kvs {
		var s record.State
		if err := json.Unmarshal(kv.Value, &s); err == nil {
			p.states[unitOnMachine(string(kv.Key[len(p.r.keys.states()):])).Unit] = s
		}
	}
	return p.resume(ctx, lease, kvs[0].ModRevision)
}

// resume takes over the lease of an earlier fleetd of this boot: the machine
// was never away.
func (p *Presence) resume(ctx context.Context, lease clientv3.LeaseID, modified int64) error {
	sent := time.Now()
	alive, err := p.keepAliveOnce(ctx, lease)
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		return p.claim(ctx, modified) // a key on no lease, or a lease that ends now
	case err != nil:
		return err
	case alive.TTL != seconds(p.ttl):
		return p.claim(ctx, modified) // agent_ttl was reconfigured
	}
	key := p.r.keys.machine(p.machine.ID)
	resp, err := p.r.txn(ctx,
		[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", modified)},
		[]clientv3.Op{clientv3.OpPut(key, encode(p.machine), clientv3.WithLease(lease))})
	if err != nil {
		return fmt.Errorf("renewing this machine's presence: %w", err)
	}
	if !resp.Succeeded {
		return errors.New("this machine's presence changed while joining")
	}
	p.lease, p.renewed, p.resumed = lease, sent, true
	return nil
}

// claim puts the presence key on a lease of its own, if the key is still as
// last seen (modified; 0: absent), and moves the known states onto it.
func (p *Presence) claim(ctx context.Context, modified int64) error {
	sent := time.Now()
	grantCtx, cancel := context.WithTimeout(ctx, p.r.timeout)
	defer cancel()
	lease, err := p.r.etcd.Grant(grantCtx, seconds(p.ttl))
	if p.r.noted(ctx, err) != nil {
		return fmt.Errorf("a lease for this machine: %w", err)
	}
	key := p.r.keys.machine(p.machine.ID)
	resp, err := p.r.txn(ctx,
		[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", modified)},
		[]clientv3.Op{clientv3.OpPut(key, encode(p.machine), clientv3.WithLease(lease.ID))})
	if err != nil {
		return fmt.Errorf("writing this machine's presence: %w", err)
	}
	if !resp.Succeeded {
		return errors.New("this machine's presence changed while joining")
	}
	p.lease, p.renewed = lease.ID, sent
	for name := range p.states {
		p.dirty[name] = true
	}
	return nil
}

// outwait returns nil once the other boot's lease has run out, and a
// *DuplicateMachineError when it is seen to be renewed: then that host lives.
func (p *Presence) outwait(ctx context.Context, holder machine.Machine, lease clientv3.LeaseID) error {
	p.r.log.Infof("this machine's presence belongs to boot %s of %s: waiting for its lease to run out", holder.BootID, holder.Hostname)
	left, err := p.timeToLive(ctx, lease)
	if err != nil {
		return err
	}
	key := p.r.keys.machine(p.machine.ID)
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	defer cancel()
	gone := p.r.etcd.Watch(ctx, key, clientv3.WithFilterPut())
	for left > 0 {
		// A live holder renews every third of its time: within half of it the
		// lease must have grown. No event tells of a renewal, so look.
		pause := min(left, max(p.ttl/2, time.Second))
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-gone:
			timer.Stop()
			return nil
		case <-timer.C:
		}
		before := left
		if left, err = p.timeToLive(ctx, lease); err != nil {
			return err
		}
		if left > before-pause+time.Second {
			return &DuplicateMachineError{ID: p.machine.ID, Other: holder}
		}
	}
	return nil
}

func (p *Presence) timeToLive(ctx context.Context, lease clientv3.LeaseID) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, p.r.timeout)
	defer cancel()
	resp, err := p.r.etcd.TimeToLive(ctx, lease)
	if p.r.noted(ctx, err) != nil {
		return 0, fmt.Errorf("asking for a lease's time: %w", err)
	}
	return time.Duration(resp.TTL) * time.Second, nil
}

func (p *Presence) keepAliveOnce(ctx context.Context, lease clientv3.LeaseID) (*clientv3.LeaseKeepAliveResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, p.r.timeout)
	defer cancel()
	resp, err := p.r.etcd.KeepAliveOnce(ctx, lease)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		_ = p.r.noted(ctx, nil) // etcd answered well
		return nil, err
	}
	if p.r.noted(ctx, err) != nil {
		return nil, fmt.Errorf("renewing this machine's lease: %w", err)
	}
	return resp, nil
}

// seconds gives a TTL as etcd counts it: whole seconds, 2 at the least (its
// floor with the default election time).
func seconds(ttl time.Duration) int64 { return max(2, int64(ttl.Seconds())) }
