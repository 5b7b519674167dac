package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Presence is one machine's part of the cluster's state: its own key and the
// states of its units, all on one lease. Join gives it; Run keeps it. It is
// safe for concurrent use.
type Presence struct {
	r   *Registry
	ttl time.Duration

	// lost has room for one: somebody saw that the lease is gone, look now.
	lost chan struct{}

	// writing orders writes to etcd, so that an older value never overtakes a
	// newer one. It is taken before mu, and held across requests.
	writing sync.Mutex
	// Guarded by writing: the presence key's revision, which every write compares;
	// and whether the outcome of one isn't known.
	modified int64
	unsure   bool

	mu      sync.Mutex
	machine machine.Machine
	lease   clientv3.LeaseID
	renewed time.Time
	resumed bool
	// inherits: the states are those that an earlier fleetd of this boot has said.
	inherits bool
	states   map[unit.Name]record.State // what etcd holds, or will once dirty is flushed
	dirty    map[unit.Name]bool         // names whose state (or absence) etcd may not hold yet
	left     bool                       // Leave was called: nothing is put back any more
	// settling counts the settles that ask etcd just now, anewSaid is what was said since
	// the first of them began.
	settling int
	anewSaid map[unit.Name]bool
}

// RenewedAt is when the last successful renewal was sent: etcd keeps the lease
// at least until then plus the TTL.
func (p *Presence) RenewedAt() time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.renewed
}

// Resumed reports whether Join took over the lease of an earlier fleetd of
// this boot.
func (p *Presence) Resumed() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.resumed
}

// Run renews the lease until ctx ends, and puts the machine's keys back when
// the lease ran out in an outage or when somebody deleted them. It ends
// earlier only with a *DuplicateMachineError. It leaves the lease alive: the
// next fleetd of this boot takes it over.
func (p *Presence) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	var guarding sync.WaitGroup
	defer guarding.Wait()
	defer cancel()
	guarding.Go(func() { p.guard(ctx) })

	pause := time.Duration(0)
	for {
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return ctx.Err()
		case <-p.lost:
			timer.Stop()
		case <-timer.C:
		}
		var err error
		if pause, err = p.turn(ctx); err != nil {
			return err
		}
	}
}

// turn renews the lease, and gives how long the next turn can wait.
func (p *Presence) turn(ctx context.Context) (pause time.Duration, err error) {
	err = p.renew(patient(ctx, p.ttl/6)) // so that there is time for another, should this one fail
	var duplicate *DuplicateMachineError
	switch {
	case errors.As(err, &duplicate):
		return 0, err
	case err != nil && ctx.Err() == nil:
		p.r.log.WithError(err).Debug("lease not renewed: trying again")
		return retryPause, nil
	}
	return p.ttl / 3, nil
}

// renew keeps the lease alive, or joins anew when it is gone, and writes what
// an outage left unwritten.
func (p *Presence) renew(ctx context.Context) error {
	sent := p.r.clock.Now()
	p.mu.Lock()
	lease, left := p.lease, p.left
	p.mu.Unlock()
	if left {
		return nil
	}
	_, err := p.r.keepAliveOnce(ctx, lease)
	p.r.metrics.renewed(ctx, err)
	switch {
	case errors.Is(err, rpctypes.ErrLeaseNotFound):
		if err := p.rejoin(ctx); err != nil {
			return err
		}
		p.r.metrics.losses.Inc()
	case err != nil:
		return err
	default:
		p.mu.Lock()
		p.renewed = sent
		if p.r.outOfRoom() {
			p.presenceDirty() // for something to write, which tells when there is room again
		}
		p.mu.Unlock()
	}
	return p.flush(ctx)
}

// rejoin follows an outage that outlived the lease.
func (p *Presence) rejoin(ctx context.Context) error {
	p.r.clock.Lock(&p.writing)
	defer p.writing.Unlock()
	// A fresh one, so that nothing is locked while etcd is asked.
	p.mu.Lock()
	left := p.left
	next := &Presence{r: p.r, ttl: p.ttl, machine: p.machine}
	p.mu.Unlock()
	if left { // meanwhile: that is why the lease is gone
		return nil
	}
	p.r.log.Warn("this machine's lease is gone: joining anew")
	if err := next.join(ctx); err != nil {
		return err
	}
	p.r.doubt() // an etcd that lost its data lost the lease too
	if err := p.settle(ctx, p.acknowledged()); err != nil {
		return err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.lease, p.renewed = next.lease, next.renewed
	p.modified, p.unsure = next.modified, false
	for name := range p.states {
		p.dirty[name] = true
	}
	return nil
}

// guard watches the machine's own keys and has them put back when they vanish
// though this host lives.
func (p *Presence) guard(ctx context.Context) {
	_ = p.r.follow(ctx, p.r.own(p.machine.ID), func(u Update) error { // ends with ctx only: the callback never fails
		p.guarded(ctx, u)
		return nil
	})
}

// own are a machine's keys. What is put into the states, it has put itself.
func (r *Registry) own(id machine.ID) []keyRange {
	return []keyRange{single(r.keys.machine(id)), prefixed(r.keys.statesOf(id)).told(ofDeletions)}
}

// guarded has what became of the machine's keys put right.
func (p *Presence) guarded(ctx context.Context, u Update) {
	found, acknowledged := p.missing(u)
	err := p.settle(ctx, acknowledged)
	if found || len(acknowledged) > 0 {
		err = errors.Join(err, p.flush(ctx))
	}
	if err != nil && ctx.Err() == nil {
		p.r.log.WithError(err).Debug("own keys not put back yet")
	}
}

// missing marks as dirty what this machine said and etcd no longer holds, but
// for acknowledged withdrawals: see settle.
func (p *Presence) missing(u Update) (found bool, acknowledged []unit.Name) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.left {
		return false, nil
	}
	lacks := func(name unit.Name, s record.State) {
		if s.Target == unit.TargetNone {
			acknowledged = append(acknowledged, name)
		} else {
			p.dirty[name], found = true, true
		}
	}
	if u.Reset {
		for name, s := range p.states {
			held, ok := u.View.States[record.Key{Machine: p.machine.ID, Unit: name}]
			switch {
			case !ok:
				lacks(name, s)
			case held != s: // by hand, or etcd was restored from a backup
				p.dirty[name], found = true, true
			}
		}
		if _, ok := u.View.Machines[p.machine.ID]; !ok {
			p.seekLease()
		}
	}
	if p.r.leaseOf(p.machine.ID) != p.lease || p.r.rubbish(p.r.keys.machine(p.machine.ID)) != 0 {
		// Overwritten by hand, which took the key off its lease, most often: it
		// would outlive this host. Or just a lease that was replaced: no harm.
		p.presenceDirty()
		found = true
	}
	for _, c := range u.Changes {
		switch c := c.(type) {
		case record.StateChange:
			if s, ours := p.states[c.Unit]; ours && c.New == nil {
				lacks(c.Unit, s)
			}
		case record.MachineChange:
			if c.New == nil {
				p.r.log.Warn("this machine's presence key vanished from etcd: putting it back")
				p.seekLease()
				found = true
			}
		}
	}
	return found, acknowledged
}

// acknowledged names the units whose withdrawal this machine has acknowledged.
func (p *Presence) acknowledged() []unit.Name {
	p.mu.Lock()
	defer p.mu.Unlock()
	var names []unit.Name
	for name, s := range p.states {
		if s.Target == unit.TargetNone {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// settle forgets the acknowledgements that the engine took note of: it deletes
// them together with the instruction. All others are to be written again.
func (p *Presence) settle(ctx context.Context, names []unit.Name) error {
	for batch := range slices.Chunk(names, maxOps) {
		ops := make([]clientv3.Op, len(batch))
		p.mu.Lock()
		p.settling++
		p.mu.Unlock()
		for i, name := range batch {
			ops[i] = clientv3.OpGet(p.r.keys.placement(record.Key{Machine: p.machine.ID, Unit: name}), clientv3.WithCountOnly())
		}
		resp, err := p.r.txn(ctx, nil, ops)
		p.mu.Lock()
		for i, name := range batch {
			if p.states[name].Target != unit.TargetNone || p.anewSaid[name] {
				continue // it has another instruction by now, maybe to withdraw once more
			}
			if err == nil && resp.Responses[i].GetResponseRange().Count == 0 {
				delete(p.states, name)
			} else {
				p.dirty[name] = true
			}
		}
		if p.settling--; p.settling == 0 {
			p.anewSaid = nil
		}
		p.mu.Unlock()
		if err != nil {
			return fmt.Errorf("looking for withdrawals: %w", err)
		}
	}
	return nil
}

// seekLease has Run look at once whether the lease still lives.
func (p *Presence) seekLease() {
	p.presenceDirty()
	select {
	case p.lost <- struct{}{}:
	default:
	}
}

func (p *Presence) presenceDirty() { p.dirty[""] = true } // no unit has the empty name: it stands for the machine's own key

// Machine gives what the machine says of itself.
func (p *Presence) Machine() machine.Machine {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.machine
}

// Update changes what the machine says of itself. That it leaves it can't take
// back: a reload of the configuration may come while it does.
func (p *Presence) Update(ctx context.Context, m machine.Machine) error {
	p.mu.Lock()
	m.Leaving = m.Leaving || p.machine.Leaving
	m.Schema = p.machine.Schema
	p.machine = m
	p.presenceDirty()
	p.mu.Unlock()
	return p.flush(ctx)
}

// PutStates publishes states; a nil one deletes. They are remembered: what
// could not be written now is written when etcd is back, and all of them again
// when the lease had to be replaced. The error is for the log.
func (p *Presence) PutStates(ctx context.Context, states map[unit.Name]*record.State) error {
	p.mu.Lock()
	for name, s := range states {
		if s == nil {
			delete(p.states, name)
		} else {
			p.states[name] = *s
		}
		p.dirty[name] = true
		if p.settling > 0 {
			if p.anewSaid == nil {
				p.anewSaid = map[unit.Name]bool{}
			}
			p.anewSaid[name] = true
		}
	}
	p.mu.Unlock()
	return p.flush(ctx)
}

// Leave ends the lease: the machine and its states vanish at once. But first its key
// says that it leaves, so that no later fleetd of this boot takes the lease over: its
// end may be carried out long after it was given up. If that can't be said, the lease
// is left to run out.
func (p *Presence) Leave(ctx context.Context) error {
	var err error
	for anew := true; anew; {
		p.mu.Lock()
		if !p.machine.Leaving {
			p.machine.Leaving = true
			p.presenceDirty()
		}
		lease := p.lease
		p.mu.Unlock()
		err = p.flush(ctx)
		p.r.clock.Lock(&p.writing)
		p.mu.Lock()
		// It may just have joined anew, on another lease than the one that is gone.
		anew = errors.Is(err, rpctypes.ErrLeaseNotFound) && p.lease != lease
		p.left = !anew
		p.mu.Unlock()
		if !anew && err == nil {
			err = p.r.revoke(ctx, p.lease) // nobody else changes it any more
		}
		p.writing.Unlock()
	}
	if err != nil && !errors.Is(err, rpctypes.ErrLeaseNotFound) {
		return fmt.Errorf("ending this machine's lease (it runs out by itself in %s): %w", p.ttl, err)
	}
	return nil
}
