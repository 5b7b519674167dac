package simulation

import (
	"context"
	"time"

	"github.com/fleet-project/fleet/agent"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

const (
	// handOver and abandon bound what fleetd does when it is stopped; they are
	// fleetd's own.
	handOver = 90 * time.Second
	stopAll  = 100 * time.Second
)

// fleetd is one run of it, as far as one host is concerned: what fleetd's node and
// the agent's Run do with goroutines, tasks do here.
type fleetd struct {
	host    *Host
	process Process

	presence *registry.Presence // nil: not joined yet
	stepper  *agent.Stepper     // the agent, or what guards while the host joins
	ready    chan struct{}      // something for the stepper has happened
	renew    chan struct{}      // the lease is to be looked at
	empty    chan struct{}      // nothing is left on the host
	leaving  bool
	active   int // operations under way
	followed uint64
	unfollow func()
}

func startFleetd(h *Host) *fleetd {
	slot := func() chan struct{} { return make(chan struct{}, 1) }
	f := &fleetd{host: h, ready: slot(), renew: slot(), empty: slot(), unfollow: func() {}}
	f.process = h.opts.Spawn(h)
	f.process.Go(f.run)
	return f
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

func (f *fleetd) poke() { signal(f.ready) }

func (f *fleetd) options() agent.Options {
	h := f.host
	return agent.Options{
		Systemd: h.sys, Records: h.records, TTL: h.opts.TTL, Log: h.opts.Log,
		Machine: func() machine.Machine { return h.opts.Machine },
		Uptime:  h.uptime, Switch: h.deadMan,
	}
}

// run joins the cluster and then is the agent.
func (f *fleetd) run(ctx context.Context) {
	opts := f.options()
	if !f.begin(opts) {
		return
	}
	f.process.Go(f.join)
	for f.presence == nil || f.active > 0 { // an operation of the guard's is finished first
		f.step(ctx)
	}
	f.process.Go(f.keep)
	f.process.Follow(f.presence.Guarding(), func(ctx context.Context, u registry.Update) {
		f.presence.Guard(ctx, u)
		f.sought()
	})
	opts.Registry, opts.Presence, opts.Machine = f.process.Registry(), present{f.presence, f}, f.presence.Machine
	if !f.begin(opts) {
		return
	}
	for {
		f.step(ctx)
	}
}

// begin takes over what an earlier agent has left.
func (f *fleetd) begin(opts agent.Options) bool {
	stepper, err := agent.NewStepper(opts, f.process.Now(), f.operate)
	if err != nil {
		f.host.opts.Log.WithError(err).Error("the agent can't begin")
		return false
	}
	f.stepper = stepper
	return true
}

// step has the agent take one turn, and waits for the next.
func (f *fleetd) step(ctx context.Context) {
	wake := f.stepper.Step(f.process.Now())
	if n := f.stepper.Following(); n != f.followed {
		f.followed = n
		f.unfollow()
		f.unfollow = f.process.Follow(f.process.Registry().FeedOfMachine(f.host.opts.Machine.ID), func(_ context.Context, u registry.Update) {
			f.stepper.Follow(n, u)
			f.poke()
		})
	}
	if f.stepper.Empty() {
		signal(f.empty)
	}
	f.process.Await(ctx, f.ready, wake)
}

// operate does one of the agent's operations in a task of its own, in which
// fleetd may be killed.
func (f *fleetd) operate(op func()) {
	f.active++
	f.process.Go(func(context.Context) {
		defer func() {
			switch r := recover(); r {
			case nil:
			case killed{}:
				f.host.Kill()
			default:
				panic(r)
			}
		}()
		op()
		f.active--
		f.poke()
	})
}

// join waits until the host is present in the cluster.
func (f *fleetd) join(ctx context.Context) {
	presence, err := f.process.Registry().Join(ctx, f.host.opts.Machine, f.host.opts.TTL)
	if err != nil {
		f.host.opts.Log.WithError(err).Error("fleetd ends, and is started again")
		f.host.Kill()
		f.host.Start()
		return
	}
	if f.leaving {
		_ = presence.Leave(ctx) // too late; the lease ends by itself
		return
	}
	f.presence = presence
	f.poke()
}

// keep is Presence.Run.
func (f *fleetd) keep(ctx context.Context) {
	for {
		pause, err := f.presence.Renew(ctx)
		if err != nil {
			f.host.opts.Log.WithError(err).Error("fleetd ends, and is started again")
			f.host.Kill()
			f.host.Start()
			return
		}
		f.poke() // the agent looks when it was renewed
		f.process.Await(ctx, f.renew, f.process.Now().Add(pause))
	}
}

// sought has the lease be looked at if somebody missed it.
func (f *fleetd) sought() {
	if f.presence.Sought() {
		signal(f.renew)
	}
}

// present is the presence that the agent has.
type present struct {
	*registry.Presence
	fleetd *fleetd
}

func (p present) PutStates(ctx context.Context, states map[unit.Name]*record.State) error {
	err := p.Presence.PutStates(ctx, states)
	p.fleetd.sought()
	return err
}

func (p present) Update(ctx context.Context, m machine.Machine) error {
	err := p.Presence.Update(ctx, m)
	p.fleetd.sought()
	return err
}

// leave begins to hand over.
func (f *fleetd) leave() {
	if f.leaving {
		return
	}
	f.leaving = true
	if f.presence == nil {
		f.process.Go(f.abandon)
	} else {
		f.process.Go(f.handOver)
	}
}

// handOver is what Agent.Leave does.
func (f *fleetd) handOver(ctx context.Context) {
	m := f.presence.Machine()
	m.Leaving = true
	err := present{f.presence, f}.Update(ctx, m)
	if err != nil || f.stepper.Health() != nil || !f.emptied(ctx, handOver) {
		f.stepper.StopAll()
		f.poke()
		f.emptied(ctx, stopAll)
	}
	_ = f.presence.Leave(ctx) // the lease ends by itself
	f.host.Kill()
}

// abandon is leaving before the host has joined.
func (f *fleetd) abandon(ctx context.Context) {
	f.stepper.StopAll()
	f.poke()
	f.emptied(ctx, stopAll)
	f.host.Kill()
}

// emptied waits until nothing is left on the host, at most as long as that.
func (f *fleetd) emptied(ctx context.Context, atMost time.Duration) bool {
	end := f.process.Now().Add(atMost)
	for !f.stepper.Empty() {
		if !f.process.Now().Before(end) {
			return false
		}
		f.process.Await(ctx, f.empty, end)
	}
	return true
}
