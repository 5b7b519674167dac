package agent

import (
	"time"
)

// Units that say Isolation=stop are stopped before the host's lease can end,
// because the engine may start them elsewhere from then on.
//
//	renewed              2/3 TTL              TTL - margin       TTL
//	   |--------------------|----------------------|--------------|
//	                        stop                   kill           started elsewhere
//
// The lease is renewed every third of its TTL, so one renewal may fail.

// killMargin is what SIGKILL has to take effect before the lease ends.
func killMargin(ttl time.Duration) time.Duration { return min(time.Second, ttl/10) }

// watchEvery is how often the lease is looked at (in memory) while it hasn't
// been renewed.
func watchEvery(ttl time.Duration) time.Duration {
	return min(max(ttl/20, 20*time.Millisecond), time.Second)
}

// updateReach tells the core how near the lease's end is. It gives the time at
// which to look again.
func (a *Agent) updateReach(now time.Time) (next time.Time) {
	if a.opts.TTL <= 0 || !a.core.anyStopsCutOff() {
		if a.core.reach != reachable {
			a.core.connect(reachable)
		}
		return time.Time{}
	}
	renewed := a.opts.Presence.RenewedAt()
	a.noteRenewal(now, renewed)
	if renewed.IsZero() {
		renewed = a.started // nobody knows: it may have been just before
	}
	end := renewed.Add(a.opts.TTL)
	stop, kill := end.Add(-a.opts.TTL/3), end.Add(-killMargin(a.opts.TTL))
	switch {
	case now.Before(stop):
		if a.core.reach == reachable {
			return earlier(stop, now.Add(a.opts.TTL/noteEvery))
		}
		// The lease is back. Meanwhile the units may have been given to others:
		// only a schedule read from now on says.
		if !a.returning {
			a.returning = true
			a.log.Info("the lease is renewed again: reading the schedule before starting what was stopped")
			a.followAnew(func() {
				if a.returning {
					a.returning = false
					a.core.connect(reachable)
				}
			})
		}
		return now.Add(watchEvery(a.opts.TTL))
	case now.Before(kill):
		a.returning = false
		if a.core.reach == reachable {
			a.log.Warnf("the lease ends in %s and can't be renewed: stopping the units that say Isolation=stop", end.Sub(now).Round(time.Millisecond))
			a.core.connect(cutOff)
		}
		return earlier(kill, now.Add(watchEvery(a.opts.TTL)))
	default:
		a.returning = false
		a.core.connect(nearlyDead)
		return now.Add(watchEvery(a.opts.TTL))
	}
}
