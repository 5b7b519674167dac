package engine

import (
	"time"

	"github.com/fleet-project/fleet/machine"
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
	on    machine.ID // it is only this machine that is to restart it; else empty
}

// begin has a unit wait, unless it does already. One that loses its machine, or
// is to be restarted everywhere, waits no more for what it was to do there alone.
func (c *census) begin(name unit.Name, w wait) {
	if was, waits := c.waits[name]; !waits || was.on != "" {
		c.waits[name] = w
	}
}

// wished begins or ends a wait when something else is wanted of a unit.
func (c *census) wished(now time.Time, name unit.Name, u *counted, old *record.Unit) {
	switch {
	case u.desired() != unit.TargetLaunched:
		delete(c.waits, name)
	case c.loading:
	case old == nil, old.Target != unit.TargetLaunched:
		c.waits[name] = wait{since: now, cause: causeStart}
	case old.Restart != u.rec.Restart, old.File != u.rec.File:
		c.begin(name, wait{since: now, cause: causeRestart})
	default:
		before, _ := old.LastRestart()
		if last, on := u.rec.LastRestart(); last > before {
			c.begin(name, wait{now, causeRestart, on})
		}
	}
}

// displaced begins a wait when a unit has lost the last machine that it was
// placed on.
func (c *census) displaced(now time.Time, name unit.Name, u *counted, had int) {
	if c.loading || had == 0 || u.placed > 0 || u.desired() != unit.TargetLaunched {
		return
	}
	c.begin(name, wait{since: now, cause: causeMove})
}

// arrived ends a wait when a machine that is to run the unit says that it does;
// a global unit's ends with the first, unless one alone was to restart it. One that came to rest otherwise, failed
// or done, was started all the same, but never active: it isn't timed.
func (c *census) arrived(now time.Time, name unit.Name, u *counted, id machine.ID, h *host, s *seat) {
	w, waits := c.waits[name]
	if !waits || w.on != "" && w.on != id {
		return
	}
	if w.on != "" && (h.rec == nil || s.told != unit.TargetLaunched) {
		delete(c.waits, name) // it isn't there to be restarted any more
		return
	}
	if u.rec == nil || h.rec == nil || s.told != unit.TargetLaunched || s.state == nil {
		return
	}
	said := s.state
	if said.Target != unit.TargetLaunched || said.File != u.rec.File || said.Restart < u.rec.RestartCount(id) || said.Error != "" {
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
