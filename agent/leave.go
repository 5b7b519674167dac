package agent

import (
	"context"
	"errors"
	"fmt"
	"time"
)

const (
	// leaveStop bounds how long units may take to stop when nobody else sees to
	// it: a little more than systemd gives them by default.
	leaveStop = 100 * time.Second
	// leaveRevoke bounds giving the lease back.
	leaveRevoke = 5 * time.Second
)

var errNotRunning = errors.New("the agent doesn't run")

// Leave hands the host's units over: the cluster is told, and takes them away
// one by one, so that each is started elsewhere as soon as it has stopped here.
// When ctx ends, or if the cluster can't be told, what still runs is stopped
// all at once. Last the lease is given back.
//
// Run must be running; cancel its context when Leave has returned. After ctx's
// end Leave takes as long as the units' stop, at most leaveStop (100 s).
func (a *Agent) Leave(ctx context.Context) error {
	m := a.opts.Machine()
	m.Leaving = true
	err := a.opts.Presence.Update(ctx, m)
	switch {
	case err != nil:
		a.log.WithError(err).Warn("can't tell the cluster that this host leaves: stopping its units")
	case a.Health() != nil:
		a.log.WithError(a.Health()).Warn("nobody will take this host's units away: stopping them")
	default:
		a.log.Info("leaving: handing this host's units over")
		if err := a.waitEmpty(ctx); err == nil || errors.Is(err, errNotRunning) {
			return errors.Join(err, a.revoke(ctx))
		}
		a.log.Warn("not all units were taken away in time: stopping the rest")
	}
	stopping, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveStop)
	defer cancel()
	a.post(func(time.Time) { a.core.leave() })
	if err = a.waitEmpty(stopping); err != nil {
		err = fmt.Errorf("units still run on this host: %w", err)
	}
	return errors.Join(err, a.revoke(ctx))
}

// waitEmpty waits until nothing of fleet's is left on this host, and others
// have been told.
func (a *Agent) waitEmpty(ctx context.Context) error {
	empty := make(chan struct{})
	a.post(func(time.Time) { a.emptied = append(a.emptied, empty) })
	select {
	case <-empty:
		return nil
	case <-a.stopped:
		return errNotRunning
	case <-ctx.Done():
		return ctx.Err()
	}
}

func (a *Agent) revoke(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), leaveRevoke)
	defer cancel()
	return a.opts.Presence.Leave(ctx)
}
