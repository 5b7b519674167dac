package agent

import (
	"maps"
	"time"
)

// What is summed up over all units is kept up to date instead, unit by unit: a turn
// of the loop costs what has happened, and not what is on the host.

// tally is what there is on the host.
type tally struct {
	active      map[string]int // units by systemd's active state; empty if systemd has not told
	stopsCutOff int            // units that must not outlive the lease
	changed     bool           // since somebody asked
}

// share is what one unit adds to the tally; the zero value if nothing.
type share struct {
	there       bool
	active      string
	stopsCutOff bool
}

func shareOf(h *held) share {
	switch {
	case h.rec == nil:
		return share{}
	case h.seen:
		return share{true, h.state.Active, h.rec.StopsCutOff}
	}
	return share{true, "", h.rec.StopsCutOff}
}

// recount brings the tally up to date with the units that something happened to.
func (c *core) recount() {
	for name := range c.dirty {
		if h := c.units[name]; h != nil {
			c.tally.count(h)
		}
	}
}

func (t *tally) count(h *held) {
	was, is := h.share, shareOf(h)
	if was == is {
		return
	}
	h.share, t.changed = is, true
	t.add(was, -1)
	t.add(is, +1)
}

func (t *tally) add(s share, n int) {
	if !s.there {
		return
	}
	if t.active[s.active] += n; t.active[s.active] == 0 {
		delete(t.active, s.active)
	}
	if s.stopsCutOff {
		t.stopsCutOff += n
	}
}

// counted gives how many units are on this host, by systemd's active state;
// empty if systemd has not told. Without a change since the last call, it gives
// nothing.
func (c *core) counted() (active map[string]int, changed bool) {
	c.recount()
	if !c.tally.changed {
		return nil, false
	}
	c.tally.changed = false
	return maps.Clone(c.tally.active), true
}

// anyStopsCutOff reports whether there is a unit that must not outlive the lease.
func (c *core) anyStopsCutOff() bool {
	c.recount()
	return c.tally.stopsCutOff > 0
}

// noneOutlives reports whether all such units are stopped, as far as systemd says, and
// were killed: with KillMode=process one that is stopped may have left processes behind.
func (c *core) noneOutlives() bool {
	for _, h := range c.units {
		if h.rec != nil && h.rec.StopsCutOff && (!h.slain || !h.seen || !down(h.state)) {
			return false
		}
	}
	return true
}

// time keeps which units wait for their time, and gives when a unit's is.
func (c *core) time(h *held) time.Time {
	wake := earlier(earlier(h.retry, h.proof), h.words.wake())
	if wake.IsZero() || c.units[h.name] != h {
		delete(c.timed, h)
	} else {
		c.timed[h] = struct{}{}
	}
	return wake
}
