package agent

import (
	"context"
	"time"

	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// follower is one following of the schedule; a later one replaces it.
type follower struct {
	cancel context.CancelFunc
	// then is run after the first snapshot has been taken over.
	then func()
}

// followAnew starts to follow the schedule, from a snapshot that is taken after
// the call; then is run when that is here.
func (a *Agent) followAnew(then func()) {
	if a.follower != nil {
		a.follower.cancel()
	}
	ctx, cancel := context.WithCancel(a.life)
	f := &follower{cancel: cancel, then: then}
	a.follower = f
	a.waits.Go(func() {
		defer cancel()
		for {
			err := a.opts.Registry.FollowMachine(ctx, a.id, func(u registry.Update) error {
				a.updated(ctx, f, u)
				return ctx.Err()
			})
			if ctx.Err() != nil {
				return
			}
			a.log.WithError(err).Error("following the schedule ended; starting over")
			select {
			case <-ctx.Done():
				return
			case <-a.clock.After(retryAfter):
			}
		}
	})
}

// updated passes a part of the schedule on to the loop. The view is the
// caller's, so what is needed of it is copied.
func (a *Agent) updated(ctx context.Context, f *follower, u registry.Update) {
	if !u.Reset && len(u.Changes) == 0 {
		return
	}
	changes := map[unit.Name]*record.Spec{}
	reported := map[unit.Name]record.State{}
	if u.Reset {
		for key, spec := range u.View.Schedule {
			if key.Machine == a.id {
				changes[key.Unit] = &spec
			}
		}
		for key, s := range u.View.States {
			if key.Machine == a.id {
				reported[key.Unit] = s
			}
		}
	}
	cluster := u.View.Cluster
	relevant := u.Reset
	for _, c := range u.Changes {
		switch c := c.(type) {
		case record.ClusterChange:
			relevant = true
		case record.PlacementChange:
			if c.Machine == a.id {
				changes[c.Unit], relevant = c.New, true
			}
		}
	}
	if !relevant {
		return // our own states, mostly
	}
	if cluster != nil {
		own := *cluster
		cluster = &own
	}
	select {
	case <-ctx.Done():
	case a.events <- func(time.Time) {
		if a.follower != f {
			return
		}
		a.core.follow(u.Reset, cluster, changes)
		if u.Reset {
			a.core.reported(reported)
			if f.then != nil {
				f.then()
				f.then = nil
			}
		}
	}:
	}
}
