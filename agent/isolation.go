package agent

import (
	"errors"
	"time"

	"github.com/fleet-project/fleet/unit"
)

// Units that say Isolation=stop are stopped before the host's lease can end,
// because the engine may start them elsewhere from then on.
//
//	renewed        1/3          2/3      7/10           9/10       TTL
//	   |------------|------------|---------|--------------|---------|
//	             renewed?      stop   dead man's        kill     started
//	                                   switch                   elsewhere
//
// The lease is renewed every third of its TTL, so one renewal may fail. What is
// left of it at the end covers the drift of clocks, and the time that SIGKILL
// takes. All of it is reckoned from when the renewal was sent, by the clock of
// the host's uptime: nobody sets that one, and it goes on while the host is
// suspended. docs/reliability.md tells operators what that comes to.

// stopMargin is how long before the lease's end its units are told to stop.
func stopMargin(ttl time.Duration) time.Duration { return ttl / 3 }

// switchMargin is how long before the lease's end systemd acts, if fleetd has not:
// later than fleetd, and early enough to have a process started.
func switchMargin(ttl time.Duration) time.Duration { return 3 * ttl / 10 }

// killMargin is how long before the lease's end what still runs is killed.
func killMargin(ttl time.Duration) time.Duration { return ttl / 10 }

// watchEvery is how often the lease is looked at (in memory): a renewal is written
// down for the next fleetd, and a host that was suspended finds that its lease ended.
func watchEvery(ttl time.Duration) time.Duration {
	return min(max(ttl/20, 20*time.Millisecond), time.Second)
}

// errLeaseEnds keeps a unit from being started on a lease that is about to end.
var errLeaseEnds = errors.New("not started: the host's lease may be about to end, and the unit says Isolation=stop")

// updateReach tells the core how near the lease's end is. It gives the time at
// which to look again.
func (a *Agent) updateReach(now time.Time) (next time.Time) {
	if a.opts.TTL <= 0 || !a.core.anyStopsCutOff() {
		if a.core.reach != reachable {
			a.core.connect(reachable)
		}
		a.lease.seen = time.Time{} // nobody looks meanwhile: no renewal is missed by that
		return a.disarm(now)
	}
	ttl := a.opts.TTL
	up := a.lease.look(now)
	left := a.lease.renewed + ttl - up
	stopBy := a.lease.renewed + ttl - stopMargin(ttl)
	if a.lease.asleep {
		stopBy = 1 // until the next renewal, which tells
	}
	a.stopBy.Store(int64(stopBy))
	end := now.Add(left)
	switch {
	case left > stopMargin(ttl):
		if a.core.reach == reachable && !a.lease.missed {
			a.arm(now)
			return earlier(end.Add(-stopMargin(ttl)), now.Add(watchEvery(ttl)))
		}
		a.comeBack(now)
		return now.Add(watchEvery(ttl))
	case left > killMargin(ttl):
		a.returning = false
		if a.core.reach == reachable {
			a.log.Warnf("the lease ends in %s and can't be renewed: stopping the units that say Isolation=stop", left.Round(time.Millisecond))
			a.core.connect(cutOff)
		}
		return earlier(end.Add(-killMargin(ttl)), now.Add(watchEvery(ttl)))
	default:
		a.returning = false
		a.core.connect(nearlyDead)
		if !now.Before(a.killAt) {
			a.killAt = now.Add(watchEvery(ttl))
			a.slay(a.core.killAgain())
		}
		return a.killAt
	}
}

// comeBack follows a time in which the lease may have ended. Meanwhile the units
// may have been given to others: only a schedule read from now on says. And they
// may have been stopped by the dead man's switch, which must not go on with that.
func (a *Agent) comeBack(now time.Time) {
	if a.opts.Registry == nil { // guarding: whoever has renewed the lease sees to the rest
		a.core.connect(reachable)
		a.lease.missed = false
		return
	}
	if a.core.reach == reachable {
		a.log.Warn("the lease was not renewed in time, and nobody looked: the units that say Isolation=stop may have been stopped")
		a.core.connect(cutOff)
	}
	if a.returning || now.Before(a.armAt) {
		return
	}
	a.returning = true
	a.log.Info("the lease is renewed again: reading the schedule before starting what was stopped")
	a.endSwitch(now, func() {
		a.followAnew(func() {
			if a.returning {
				a.returning, a.lease.missed = false, false
				a.core.connect(reachable)
			}
		})
	})
}

// leaseClock knows when the lease was renewed, on the clock of the host's uptime.
// The loop's own clock stands still while the host is suspended.
type leaseClock struct {
	agent   *Agent
	renewed time.Duration // since boot, at the latest
	seen    time.Time     // the renewal that this comes from, on the loop's clock
	offset  time.Duration // from the loop's clock to the uptime, at the last look
	looked  bool
	// asleep: the host was suspended before anybody looked at this renewal, or it was
	// renewed since; nobody knows. A unit that was started on it might have to be
	// stopped at once.
	asleep bool
	// missed: it was renewed later than the dead man's switch waits.
	missed bool
}

// clocksDiffer is by how much the uptime is ahead only after a suspension: it is told
// in hundredths of a second.
const clocksDiffer = 100 * time.Millisecond

// begin takes the first look: a host that is suspended before the next may have been
// since the renewal.
func (c *leaseClock) begin() {
	if up, err := c.agent.opts.Uptime(); err == nil {
		c.offset, c.looked = up, true
	}
}

// look takes note of a renewal, and gives the uptime.
func (c *leaseClock) look(now time.Time) (up time.Duration) {
	a := c.agent
	up, err := a.opts.Uptime()
	if err != nil { // as long as the host isn't suspended, the loop's clock tells as much
		up = now.Sub(a.started) + c.offset
	}
	before := c.offset
	c.offset = up - now.Sub(a.started)
	if !c.looked {
		before, c.looked = c.offset, true
	}
	if a.opts.Registry == nil { // the renewals are an earlier fleetd's, or another's
		renewed, known := a.records.Renewal()
		if !known {
			renewed = -a.opts.TTL // it may have ended long ago
		}
		c.renewed = renewed
		return up
	}
	renewed := a.opts.Presence.RenewedAt()
	if renewed.IsZero() {
		renewed = a.started // nobody knows
	}
	if renewed.Equal(c.seen) {
		return up
	}
	// If the host was asleep since the last look, it may have been since the
	// renewal.
	at := renewed.Sub(a.started) + min(before, c.offset)
	c.asleep = c.seen.IsZero() && c.offset-before > clocksDiffer
	c.missed = c.missed || a.opts.Switch != nil && !c.seen.IsZero() && at-c.renewed > a.opts.TTL-switchMargin(a.opts.TTL)
	c.seen, c.renewed = renewed, at
	err = a.records.SaveRenewal(at)
	if err != nil && !a.unnoted {
		a.log.WithError(err).Error("can't write down when the lease was renewed: a fleetd that starts while the host is cut off will not know")
	}
	a.unnoted = err != nil
	return up
}

// mayStart tells whether a unit may be started now. It is asked last thing before
// systemd is, for between the decision and that this process may have been stopped
// for any length of time.
func (a *Agent) mayStart(r *Record) error {
	stopBy := time.Duration(a.stopBy.Load())
	if r == nil || !r.StopsCutOff || stopBy == 0 { // 0: nobody has looked, as there is no lease
		return nil
	}
	up, err := a.opts.Uptime()
	if err == nil && up >= stopBy {
		err = errLeaseEnds
	}
	return err
}

// killAgain gives the units that must be dead by now and aren't, as far as systemd
// says; all of them at first.
func (c *core) killAgain() (names []unit.Name) {
	for name, h := range c.units {
		if h.rec == nil || !h.rec.StopsCutOff || h.slain && h.seen && down(h.state) {
			continue
		}
		h.slain, h.killed = true, false
		names = append(names, name)
		c.touch(name)
	}
	return names
}

// slayer kills units without systemd, which may hang.
type slayer interface {
	Slay(names []unit.Name) error
}

// slay kills the processes of units right now, whatever else is under way for
// them.
func (a *Agent) slay(names []unit.Name) {
	s, can := a.sys.(slayer)
	if !can || len(names) == 0 || a.slaying {
		return
	}
	a.slaying = true
	a.operate(func() {
		if err := s.Slay(names); err != nil {
			a.log.WithError(err).Error("can't kill units that must not outlive the lease")
		}
		a.post(func(time.Time) { a.slaying = false })
	})
}
