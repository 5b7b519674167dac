package agent

import (
	"context"
	"time"
)

// The dead man's switch is systemd's: it has units that say Isolation=stop stopped
// when nothing is heard from fleetd in time, be fleetd killed, stopped, stuck, or
// unable to start again.

// Switch is one; [systemd.Switch] is the real one.
type Switch interface {
	// Arm has systemd start Isolate in so long, unless it is armed anew before.
	Arm(ctx context.Context, in time.Duration) error
	// Disarm ends the switch, and the Isolate that it may have started.
	Disarm(ctx context.Context) error
}

// disarmTime bounds ending the switch: systemd kills a process for it.
const disarmTime = 5 * time.Second

// Isolate is what the dead man's switch starts: a Guard in a process of its own. It
// ends when none of its units runs any more and what they may have left behind is
// killed, for nobody is there to start one; or with ctx, which fleetd sees to as soon
// as it has the lease again. It must end by itself: a host that is shut down would wait
// for it.
func Isolate(ctx context.Context, opts Options) error {
	ctx, end := context.WithCancel(ctx)
	defer end()
	return newIsolation(opts, end).Run(ctx)
}

// newIsolation makes a guard that says when none of its units runs any more, again
// and again.
func newIsolation(opts Options, safe func()) *Agent {
	a := newGuard(opts)
	a.safe = safe
	return a
}

// arm puts the switch off when the lease was renewed.
func (a *Agent) arm(now time.Time) {
	if a.opts.Switch == nil || a.switching || a.armedFor == a.lease.renewed || now.Before(a.armAt) {
		return
	}
	a.switching = true
	renewed := a.lease.renewed
	at := renewed + a.opts.TTL - switchMargin(a.opts.TTL)
	a.operate(func() {
		ctx, cancel := context.WithTimeout(a.opLife, a.opts.TTL/3)
		defer cancel()
		up, err := a.opts.Uptime()
		if err == nil {
			err = a.opts.Switch.Arm(ctx, at-up)
		}
		a.post(func(now time.Time) {
			a.switching = false
			if a.armedFor = renewed; err == nil {
				a.unarmed = false
				return
			}
			a.armedFor, a.armAt = 0, now.Add(retryAfter)
			if !a.unarmed && a.opLife.Err() == nil {
				a.log.WithError(err).Error("systemd can't be made to stop the units that say Isolation=stop when fleetd is dead or stuck: trying on")
			}
			a.unarmed = true
		})
	})
}

// disarm ends the switch when there is nothing to stop any more. It gives the time
// at which to try again.
func (a *Agent) disarm(now time.Time) (next time.Time) {
	if a.opts.Switch == nil || a.armedFor == 0 || a.switching {
		return time.Time{}
	}
	if now.Before(a.armAt) {
		return a.armAt
	}
	a.endSwitch(now, func() {})
	return time.Time{}
}

// endSwitch ends the switch, and then has the loop run then. If it can't be ended
// nothing is run, and a look at the lease tries again, in a while.
func (a *Agent) endSwitch(now time.Time, then func()) {
	if a.opts.Switch == nil {
		then()
		return
	}
	if a.switching || now.Before(a.armAt) {
		a.returning = false
		return
	}
	a.switching = true
	a.operate(func() {
		err := a.takeOver(a.opLife)
		a.post(func(now time.Time) {
			a.switching = false
			if err != nil {
				a.returning, a.armAt = false, now.Add(retryAfter)
				return
			}
			a.armedFor = 0
			then()
		})
	})
}

// takeOver ends the switch of an earlier fleetd, or our own, and with it whatever
// it has started: from here on nobody else stops units.
func (a *Agent) takeOver(ctx context.Context) error {
	if a.opts.Switch == nil {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, disarmTime)
	defer cancel()
	err := a.opts.Switch.Disarm(ctx)
	if err != nil && a.opLife.Err() == nil {
		a.log.WithError(err).Warn("can't end the dead man's switch of units that say Isolation=stop")
	}
	return err
}
