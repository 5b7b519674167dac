package simulation

import (
	"context"
	"time"

	"github.com/fleet-project/fleet/engine"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/prometheus/client_golang/prometheus"
)

// engineWorld is what a process's engine has of the world.
type engineWorld struct{ *process }

// startEngine has an engine run in a host's process.
func (p *process) startEngine(h *Host) {
	w := p.world
	metrics := prometheus.NewRegistry()
	e := engine.New(engine.Options{
		Registry: p.registry, Machine: h.Machine().ID, AgentTTL: w.ttl, KnownCluster: h.KnownCluster,
		Log: w.log(p.name + " engine"), Metrics: metrics, World: engineWorld{p},
	})
	w.engines = append(w.engines, metrics)
	p.Go(func(ctx context.Context) { _ = e.Run(ctx) })
}

// Pause is engine.World's, as are the next.
func (e engineWorld) Pause(_ context.Context, d time.Duration) { e.sleep(d) }

// Await waits for an update, for the lead's end, or for a time.
func (e engineWorld) Await(ctx context.Context, ready, lost <-chan struct{}, until time.Time) {
	e.await(ctx, ready, lost, until)
}

// Follow follows the whole cluster.
func (e engineWorld) Follow(_ context.Context, fn func(registry.Update) error) (stop func()) {
	return e.process.Follow(e.registry.Feed(), func(_ context.Context, u registry.Update) { _ = fn(u) })
}

// Campaign waits until the engine is elected.
func (e engineWorld) Campaign(ctx context.Context, id machine.ID, ttl time.Duration) (*registry.Leadership, error) {
	e.leads = false
	c, err := e.registry.Stand(ctx, id, ttl)
	if err != nil {
		return nil, err
	}
	keeping, end := context.WithCancel(ctx)
	lost := make(chan struct{})
	e.Go(func(context.Context) {
		c.Keep(keeping)
		close(lost)
	})
	w := e.world
	w.rivals = c.Rivals()
	f := &following{process: e.process, keys: []string{c.Rivals()}, more: make(chan struct{}, 1),
		wants: func(_ string, deleted bool) bool { return deleted }}
	w.watch(f)
	defer w.unwatch(f)
	for {
		lead, err := c.Elected(ctx, lost, end)
		if err == nil && lead != nil {
			e.leads = true
			w.crown(e.process)
			return lead, nil
		}
		if err != nil || closed(lost) {
			end()
			_ = c.Withdraw(ctx)
			if err == nil {
				err = context.DeadlineExceeded
			}
			return nil, err
		}
		e.await(ctx, f.more, lost, e.Now().Add(10*time.Second))
	}
}

// h gives the machine that a process is on.
func h(p *process) machine.ID {
	if p.host == nil {
		return ""
	}
	return p.host.Machine().ID
}
