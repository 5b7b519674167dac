package engine

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
)

const (
	// retryPause is how long the engine waits after a failed turn.
	retryPause = 500 * time.Millisecond
	// otherSchemaPause is how often an engine that is older than the cluster, or of
	// another major version, looks whether it still is: that ends by an upgrade, which
	// restarts it, or by hand.
	otherSchemaPause = 10 * time.Second
	// minSafetyNet is the least time between two comparisons with a fresh
	// snapshot: all work is driven by events, and the comparison must find
	// nothing (a metric counts what it does find).
	minSafetyNet = 2 * time.Minute
)

// Options say what an engine works with.
type Options struct {
	Registry *registry.Registry
	Machine  machine.ID
	// AgentTTL is how long an agent may be silent: what a machine that is
	// missing at the start of a turn is given to come back.
	AgentTTL time.Duration
	// SafetyNet is the time between comparisons with a fresh snapshot; raised
	// to two minutes, or twice AgentTTL, if it is less.
	SafetyNet time.Duration
	// KnownCluster gives the id by which this host knows its cluster, "" if it
	// has joined none yet.
	KnownCluster func() record.ClusterID
	Log          *logrus.Entry
	Metrics      prometheus.Registerer
	World        World // nil: the real one
}

// Engine takes part in the election and leads when elected.
type Engine struct {
	opts    Options
	world   World
	log     *logrus.Entry
	metrics *metrics

	mu sync.Mutex
	// safetyNet is the time between comparisons. Each gives machines that are
	// missing their time anew: it must come after that has passed.
	safetyNet time.Duration
	trouble   error     // why the leader changes nothing, nil when all is well
	leads     time.Time // since when; zero if it doesn't
	planning  time.Time // since when the planner thinks; zero if it doesn't
}

// New makes an engine; Run starts it.
func New(opts Options) *Engine {
	e := &Engine{opts: opts, world: opts.World, log: opts.Log, metrics: newMetrics(opts.Metrics)}
	if e.world == nil {
		e.world = realWorld{opts.Registry}
	}
	e.SetSafetyNet(opts.SafetyNet)
	return e
}

// SetSafetyNet changes the time between comparisons, from the next one on.
func (e *Engine) SetSafetyNet(d time.Duration) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.safetyNet = max(d, minSafetyNet, 2*e.opts.AgentTTL)
}

// leaderTTL is well below the agents' TTL: when a leader's host dies, the next
// leader must be there to see the host's presence run out, else it would have
// to give the host another chance.
func leaderTTL(agentTTL time.Duration) time.Duration {
	return min(5*time.Second, max(2*time.Second, agentTTL/3))
}

// Run campaigns and leads until ctx ends, and then hands the lead over.
func (e *Engine) Run(ctx context.Context) error {
	said := "" // as long as a trouble lasts, every attempt ends in it
	for ctx.Err() == nil {
		led := false
		err := e.turn(ctx, &led)
		var schema *registry.ClusterError
		switch {
		case ctx.Err() != nil:
		case errors.As(err, &schema):
			e.setTrouble(err)
			e.world.Pause(ctx, otherSchemaPause)
		case errors.Is(err, registry.ErrDeposed):
			e.log.Info("another engine leads now")
		case err != nil:
			if led || err.Error() != said {
				e.log.WithError(err).Warn("this engine does not lead: campaigning again")
			}
			said = err.Error()
			e.world.Pause(ctx, retryPause)
		}
	}
	return ctx.Err()
}

// turn is one campaign and, once elected, one lead.
func (e *Engine) turn(ctx context.Context, led *bool) error {
	// One that must not lead must not keep others from it either.
	if err := e.opts.Registry.AskWriter(ctx); err != nil {
		return err
	}
	e.setTrouble(nil)
	lead, err := e.world.Campaign(ctx, e.opts.Machine, leaderTTL(e.opts.AgentTTL))
	if err != nil {
		return err
	}
	defer func() {
		if err := lead.Resign(ctx); err != nil {
			e.log.WithError(err).Debug("the lead is left to expire")
		}
	}()
	e.log.Info("this engine leads the cluster")
	*led = true
	census, end := e.metrics.leading()
	e.mu.Lock()
	e.leads = e.world.Now()
	e.mu.Unlock()
	defer func() {
		end()
		e.mu.Lock()
		defer e.mu.Unlock()
		e.leads = time.Time{}
		e.trouble = nil // the next leader's, if it lasts
	}()
	return e.lead(ctx, lead, census)
}

// setTrouble logs a trouble once, and its end.
func (e *Engine) setTrouble(err error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	switch {
	case err != nil && (e.trouble == nil || e.trouble.Error() != err.Error()):
		e.log.Error(err)
	case err == nil && e.trouble != nil:
		e.log.Info("the cluster's key is well again")
	}
	e.trouble = err
	suspended := 0.0
	if err != nil {
		suspended = 1
	}
	e.metrics.suspended.Set(suspended)
}
