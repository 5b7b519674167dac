package engine

import (
	"time"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// cause is why a unit is to become active.
type cause string

const (
	causeStart   cause = "start"   // it is to be launched
	causeRestart cause = "restart" // a restart was asked for, or its file was replaced
	causeMove    cause = "move"    // it has lost its machine
)

// wait is a unit's time from the wish until systemd says active. It is the
// leader's own time, from when it saw the one until it sees the other.
type wait struct {
	since time.Time
	cause cause
}

// wished begins or ends a wait when something else is wanted of a unit.
func (c *census) wished(now time.Time, name unit.Name, u *counted, old *record.Unit) {
	switch {
	case u.desired() != unit.TargetLaunched:
		delete(c.waits, name)
	case c.loading:
	case old == nil, old.Target != unit.TargetLaunched:
		c.waits[name] = wait{now, causeStart}
	case old.Restart != u.rec.Restart, old.File != u.rec.File:
		if _, waits := c.waits[name]; !waits {
			c.waits[name] = wait{now, causeRestart}
		}
	}
}

// displaced begins a wait when a unit has lost the last machine that it was
// placed on.
func (c *census) displaced(now time.Time, name unit.Name, u *counted, had int) {
	if c.loading || had == 0 || u.placed > 0 || u.desired() != unit.TargetLaunched {
		return
	}
	if _, waits := c.waits[name]; !waits {
		c.waits[name] = wait{now, causeMove}
	}
}

// arrived ends a wait when a machine that is to run the unit says that it does;
// a global unit's ends with the first. One that came to rest otherwise, failed
// or done, was started all the same, but never active: it isn't timed.
func (c *census) arrived(now time.Time, name unit.Name, u *counted, h *host, s *seat) {
	w, waits := c.waits[name]
	if !waits || u.rec == nil || h.rec == nil || s.told != unit.TargetLaunched || s.state == nil {
		return
	}
	said := s.state
	if said.Target != unit.TargetLaunched || said.File != u.rec.File || said.Restart < u.rec.Restart || said.Error != "" {
		return
	}
	switch said.Active {
	case "active":
		c.ended(w.cause, now.Sub(w.since))
		delete(c.waits, name)
	case "failed", "inactive":
		delete(c.waits, name)
	}
}
