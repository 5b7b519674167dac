package agent

import (
	"time"

	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// follower is one following of the schedule; a later one replaces it.
type follower struct {
	cancel func()
	// then is run after the first snapshot has been taken over.
	then func()
}

// followAnew starts to follow the schedule, from a snapshot that is taken after
// the call; then is run when that is here.
func (a *Agent) followAnew(then func()) {
	if a.follower != nil {
		a.follower.cancel()
	}
	a.follower = &follower{then: then}
	a.follower.cancel = a.driver.follow(a.follower)
}

// updated gives what the loop is to do about a part of the schedule; nil if
// nothing. The view is the caller's, so what is needed of it is copied.
func (a *Agent) updated(f *follower, u registry.Update) func(now time.Time) {
	if !u.Reset && len(u.Changes) == 0 {
		return nil
	}
	changes := map[unit.Name]*record.Spec{}
	var anew []unit.Name // what vanished, and is there again
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
			if c.Machine != a.id {
				continue
			}
			if before, told := changes[c.Unit]; told && before == nil && c.New != nil {
				anew = append(anew, c.Unit)
			}
			changes[c.Unit], relevant = c.New, true
		}
	}
	if !relevant {
		return nil // our own states, mostly
	}
	if cluster != nil {
		own := *cluster
		cluster = &own
	}
	return func(time.Time) {
		if a.follower != f {
			return
		}
		a.core.forgotten(anew)
		a.core.follow(u.Reset, cluster, changes)
		if u.Reset {
			a.core.reported(reported)
			if f.then != nil {
				f.then()
				f.then = nil
			}
		}
	}
}
