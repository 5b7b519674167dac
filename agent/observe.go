package agent

import (
	"time"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// The loop's dealings with systemd's states: asking for them, and passing them
// on. Of each kind at most one request is under way; what comes up meanwhile
// goes with the next.

// retryAfter is the pause after a request that failed.
const retryAfter = time.Second

// jobEnd is a stop that ended: how, is to be asked.
type jobEnd struct {
	name   unit.Name
	job    uint64
	result string
}

// publish hands states over when they have waited long enough for others.
func (a *Agent) publish(now time.Time) (next time.Time) {
	if len(a.pending) == 0 || a.putting {
		return time.Time{}
	}
	if now.Before(a.publishAt) {
		return a.publishAt
	}
	states := a.pending
	a.pending, a.publishAt, a.putting = map[unit.Name]*record.State{}, time.Time{}, true
	// Troubles are put without regard to pace, however many there are: what comes
	// after them waits no longer for that.
	a.putsUntil = earlier(later(a.putsUntil, now).Add(pace), now.Add(atOnce*pace))
	a.operate(func() {
		// Presence writes them when it can.
		if err := a.opts.Presence.PutStates(a.life, states); err != nil && a.life.Err() == nil {
			a.log.WithError(err).Debug("states not published yet")
		}
		a.post(func(time.Time) { a.putting = false })
	})
	return time.Time{}
}

// nextPut is when states may be put, as for their pace.
func (a *Agent) nextPut() time.Time { return a.putsUntil.Add(-(atOnce - 1) * pace) }

// tellAt is when a state is to be put: with the last job's end at once, for nothing
// comes after it. A trouble waits for no pace: whoever started the unit was told a
// moment ago that it runs.
func (a *Agent) tellAt(s *record.State, now time.Time) time.Time {
	switch {
	case s != nil && (s.Error != "" || s.Result != ""):
		return now.Add(coalesce)
	case a.ended && a.active == 0 && a.awaited == 0:
		return later(now, a.nextPut())
	}
	return later(now.Add(coalesce), a.nextPut())
}

// askEnds asks how units are whose stop has ended. The signals have told, but
// not that systemd has nothing else queued for them.
func (a *Agent) askEnds() {
	if len(a.ends) == 0 || a.asking {
		return
	}
	ends := a.ends
	a.ends, a.asking = nil, true
	names := make([]unit.Name, len(ends))
	for i, e := range ends {
		names[i] = e.name
	}
	a.operate(func() {
		states, err := a.sys.States(a.opLife, names)
		a.post(func(now time.Time) {
			a.asking, a.ended = false, true
			if err != nil {
				a.unseen(now, err)
			}
			a.core.observe(states)
			for _, e := range ends {
				a.core.ended(now, e.name, e.job, e.result)
			}
		})
	})
}

// unseen notes that systemd couldn't be asked: all it said is old.
func (a *Agent) unseen(now time.Time, err error) {
	a.core.blind()
	a.resync = true
	a.syncAt = now.Add(retryAfter)
	if !a.blind {
		a.log.WithError(err).Warn("can't ask systemd how units are; trying again")
	}
	a.blind = true
}

// askAll asks for all units' states, if signals may have been missed.
func (a *Agent) askAll(now time.Time) (next time.Time) {
	if !a.resync || a.syncing {
		return time.Time{}
	}
	if now.Before(a.syncAt) {
		return a.syncAt
	}
	a.resync, a.syncing = false, true
	names := a.core.names()
	a.operate(func() {
		states, err := a.sys.States(a.opLife, names)
		a.post(func(now time.Time) {
			a.syncing = false
			if err != nil {
				a.unseen(now, err)
				return
			}
			a.blind = false
			a.core.observe(states)
		})
	})
	return time.Time{}
}

// reload makes systemd read new links, when nothing has happened for a while.
func (a *Agent) reload(now time.Time) (next time.Time) {
	if a.reloadAt.IsZero() {
		return time.Time{}
	}
	if a.active > 0 {
		a.reloadAt = now.Add(reloadAfter)
	}
	if now.Before(a.reloadAt) {
		return a.reloadAt
	}
	a.reloadAt = time.Time{}
	a.operate(func() {
		if err := a.sys.Reload(a.opLife); err != nil && a.opLife.Err() == nil {
			a.log.WithError(err).Warn("systemd can't read the links of [Install] sections anew")
		}
	})
	return time.Time{}
}

// compare is the safety net: it compares what is believed with what is. A
// difference may be a signal still on its way; one that is the same a little
// later was missed, which is repaired and counted.
func (a *Agent) compare(now time.Time) (next time.Time) {
	if now.Before(a.compareAt) {
		return a.compareAt
	}
	a.compareAt = now.Add(compareEvery)
	suspects := a.suspects
	a.suspects = nil
	names := a.core.names()
	a.operate(func() {
		states, err := a.sys.States(a.opLife, names)
		if err != nil {
			return // askAll is on it
		}
		a.post(func(now time.Time) { a.differences(now, suspects, states) })
	})
	return a.compareAt
}

func (a *Agent) differences(now time.Time, suspects, states map[unit.Name]systemd.State) {
	found := map[unit.Name]systemd.State{}
	for name, s := range states {
		h := a.core.units[name]
		if h == nil || !h.seen || h.op != "" || !s.Newer(h.state) || s.Same(h.state) {
			continue
		}
		if !s.Same(suspects[name]) {
			found[name] = s
			continue
		}
		a.metrics.repaired()
		a.log.WithField("unit", name).Warnf("the safety net found it %s (%s); nothing had told", s.Active, s.Sub)
		a.core.observe(map[unit.Name]systemd.State{name: s})
	}
	if len(found) > 0 {
		a.suspects, a.compareAt = found, now.Add(retryAfter)
	}
}
