package planner

import (
	"fmt"
	"slices"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// consider decides what is to become of a unit, everywhere.
func (p *Planner) consider(j *job) {
	full, opened := j.full, j.opened
	if j.full = false; opened != nil {
		j.opened = nil
	}
	delete(p.postponed, j)
	if len(p.postponed) == 0 {
		p.nextDue = time.Time{}
	}
	if j.vanished {
		j.vanished = false
		p.out.add(rankRestore, Restore{Unit: j.name, Record: *j.rec, Reason: "its key vanished without having been destroyed"})
	}
	if j.rec == nil {
		p.considerUnknown(j)
		return
	}
	switch {
	case !j.wanted():
		p.rest(j)
		p.considerUnwanted(j)
	case j.reqErr != nil:
		p.rest(j)
		p.considerUnreadable(j)
	case j.req.Global:
		p.wait(j)
		p.considerGlobal(j)
	default:
		if full {
			opened = nil
		}
		p.considerSingle(j, full || !j.waiting, opened)
	}
}

// considerAt decides what is to become of a global unit on one machine.
func (p *Planner) considerAt(j *job, h *host) {
	if j.global() {
		p.globalOn(j, h)
	} else { // it was when it was marked
		p.consider(j)
	}
}

// restoreUnits gives units back that the cluster doesn't have although machines
// are told to run them. Others may depend on them, so that comes before all
// else.
func (p *Planner) restoreUnits(queue []*job) {
	for _, j := range queue {
		if j.rec != nil || j.gone {
			continue
		}
		i := slices.IndexFunc(j.seats, func(s *seat) bool { return s.counted == held })
		if i < 0 {
			continue
		}
		s := j.seats[i]
		rec := j.asTold(s)
		p.setRecord(j, &rec)
		p.out.add(rankRestore, Restore{Unit: j.name, Record: rec,
			Reason: fmt.Sprintf("its key is gone, but %s is told to run it", s.host.id.Short())})
	}
	p.settle()
}

// asTold makes a unit of what machines are told, s before others: each is to be
// told the same again, so that none takes it as a restart.
func (j *job) asTold(s *seat) record.Unit {
	rec := record.Unit{Target: s.spec.Target, File: s.spec.File, Restart: s.spec.Restart}
	for _, x := range j.seats {
		if x.counted == held {
			rec.Restart = min(rec.Restart, x.spec.Restart)
		}
	}
	for _, x := range j.seats {
		if x.counted == held && x.spec.Restart > rec.Restart {
			if rec.RestartOn == nil {
				rec.RestartOn = map[machine.ID]uint64{}
			}
			rec.RestartOn[x.host.id] = x.spec.Restart
		}
	}
	return rec
}

// considerUnknown deals with what is left of a unit that the cluster doesn't
// have (any more).
func (p *Planner) considerUnknown(j *job) {
	p.rest(j)
	for _, s := range slices.Clone(j.seats) {
		switch {
		case s.host.live() && s.acknowledged():
			p.forget(s)
		case s.withdrawn() && s.lost:
			p.clearSpec(s)
		case s.host.live() && s.stray() && !j.warned:
			j.warned = true
			p.out.warn("%s runs on machine %s, but the cluster has no such unit: it is left alone", j.name, s.host.id.Short())
		}
	}
	p.dropJob(j)
}

// considerUnwanted takes a unit away from everywhere.
func (p *Planner) considerUnwanted(j *job) {
	reason := "it is to be inactive"
	if j.rec.Target == unit.TargetDestroyed {
		reason = "it is destroyed"
	}
	done := true
	for _, s := range slices.Clone(j.seats) {
		live := s.host.live()
		switch {
		case live && s.acknowledged() && s.counted != held:
			p.forget(s)
		case s.counted == held, s.withdrawn() && s.lost, live && s.stray():
			p.withdraw(s, reason)
			done = done && !live
		case live && s.counted == leaving:
			done = false
		}
	}
	if done && j.rec.Target == unit.TargetDestroyed {
		p.out.add(rankRelease, Release{Unit: j.name})
		p.setRecord(j, nil)
		p.settle()
	}
}

// considerUnreadable keeps a unit where it is: nobody can say where else it
// could be.
func (p *Planner) considerUnreadable(j *job) {
	for _, s := range slices.Clone(j.seats) {
		for c := range s.host.claims {
			p.mark(c) // this one won't make way
		}
		switch {
		case s.host.live() && s.acknowledged() && s.counted != held:
			p.forget(s)
		case s.lost:
			p.rewrite(s)
		}
	}
}

// considerGlobal decides about every machine on its own.
func (p *Planner) considerGlobal(j *job) {
	for _, s := range slices.Clone(j.seats) {
		p.globalOn(j, s.host)
	}
	for _, h := range p.hosts {
		if h.live() {
			p.pairs = append(p.pairs, pair{job: j, host: h})
		}
	}
}

func (p *Planner) globalOn(j *job, h *host) {
	s := j.on(h)
	if !h.live() {
		if s != nil && s.lost {
			p.rewrite(s) // it will be wanted when the machine is back
		}
		return
	}
	if s != nil && !s.placed && s.acknowledged() || s != nil && s.withdrawn() && s.acknowledged() {
		p.forget(s)
	}
	switch {
	case s != nil && s.withdrawn():
		if s.lost {
			p.rewrite(s)
		}
	case s != nil && (s.counted == held || s.stray()):
		if why := (&refusals{}); !p.fits(j, h, stay, nil) {
			p.fits(j, h, stay, why)
			p.withdraw(s, why.String())
			return
		}
		p.put(s, "")
		p.disturb(j, h)
	case p.fits(j, h, enter, nil):
		p.put(p.seat(j, h), "a global unit that fits here")
	}
}

// situation is what considerSingle finds out about a unit's seats.
type situation struct {
	held   []*seat // on live machines, and may stay
	strays []*seat // likewise, but nobody told them
	absent []*seat // placed on absent machines, withdrawn or not
	// blocked: on some live machine the unit has to go, and hasn't yet.
	blocked bool
	until   time.Time // when the last of the absent machines is given up; zero if all are
}

// considerSingle sees to it that the unit is placed once. all: any machine may
// be chosen; else only those that opened since it found none.
func (p *Planner) considerSingle(j *job, all bool, opened []*host) {
	sit := p.situation(j)
	keep := sit.pick()
	for _, s := range sit.held {
		if s != keep {
			p.withdraw(s, "it is placed on "+keep.host.id.Short()+" as well")
			sit.blocked = true
		}
	}
	for _, s := range sit.strays {
		if s != keep {
			p.withdraw(s, "it belongs on "+keep.host.id.Short())
			sit.blocked = true
		}
	}
	for _, s := range sit.absent {
		switch {
		case s.withdrawn() && s.lost:
			p.rewrite(s)
		case keep != nil && !s.withdrawn():
			p.withdraw(s, "it is placed on "+keep.host.id.Short()+" now")
		}
	}
	if keep != nil {
		p.rest(j)
		switch {
		case !sit.blocked:
			p.put(keep, "")
		case keep.lost:
			p.rewrite(keep) // that starts nothing
		}
		p.disturb(j, keep.host)
		return
	}
	for _, s := range sit.absent {
		if s.lost {
			p.rewrite(s)
		}
	}
	switch {
	case sit.blocked: // the acknowledgement wakes it
		p.rest(j)
		return
	case p.now.Before(sit.until):
		p.rest(j)
		p.postpone(j, sit.until)
		return
	}
	p.find(j, sit, all, opened)
}

// find places a unit that is on no live machine.
func (p *Planner) find(j *job, sit situation, all bool, opened []*host) {
	if len(j.takes) > 0 {
		h, pending := p.replace(j)
		if pending {
			p.wait(j)
			return
		}
		if h != nil {
			p.unclaim(j)
			p.settleOn(j, h, sit, "it takes the place of a unit that it replaces")
			return
		}
		all = true
	}
	var h *host
	if all {
		h = p.choose(j)
	} else {
		h = j.best(opened, func(h *host) bool { return p.fits(j, h, enter, nil) })
	}
	if h == nil {
		p.wait(j)
		return
	}
	p.settleOn(j, h, sit, "")
}

func (p *Planner) settleOn(j *job, h *host, sit situation, reason string) {
	for _, s := range sit.absent {
		if !s.withdrawn() {
			p.withdraw(s, "the machine is lost")
			if reason == "" {
				reason = "its machine " + s.host.id.Short() + " is lost"
			}
		}
	}
	if reason == "" {
		reason = "it fits here"
	}
	p.rest(j)
	p.put(p.seat(j, h), reason)
}

// situation looks at the unit's seats, and does on each what has to be done in
// any case.
func (p *Planner) situation(j *job) situation {
	var sit situation
	var buf [4]*seat // seats may go meanwhile
	for _, s := range append(buf[:0], j.seats...) {
		h := s.host
		switch {
		case !h.live():
			// What it says ends with its lease: until then it may be there, and run
			// what nobody tells it to any more.
			if !s.placed && !s.stray() {
				continue
			}
			if s.placed {
				sit.absent = append(sit.absent, s)
			}
			if h.missing.After(sit.until) {
				sit.until = h.missing
			}
		case s.counted != held && s.acknowledged():
			p.forget(s)
		case s.withdrawn():
			if s.lost {
				p.rewrite(s)
			}
			sit.blocked = true
		case s.counted == held || s.stray():
			if !p.fits(j, h, stay, nil) {
				why := &refusals{}
				p.fits(j, h, stay, why)
				p.withdraw(s, why.String())
				sit.blocked = true
			} else if s.counted == held {
				sit.held = append(sit.held, s)
			} else {
				sit.strays = append(sit.strays, s)
			}
		}
	}
	return sit
}

// pick chooses the one seat that a unit keeps: one whose key is there before
// one whose key vanished, one that runs before one that doesn't; then one that
// was told before one that wasn't.
func (sit situation) pick() *seat {
	var best *seat
	worth := func(s *seat) int {
		n := 0
		if !s.lost {
			n += 2
		}
		if s.runs() {
			n++
		}
		return n
	}
	for _, s := range sit.held {
		if best == nil || worth(s) > worth(best) {
			best = s
		}
	}
	if best == nil && len(sit.strays) > 0 {
		best = sit.strays[0]
	}
	return best
}
