package planner

import (
	"fmt"
	"slices"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// Every decision about a schedule key goes through here: it is drafted, and
// the seat is from then on what it will be once the decision is committed.

// put tells a machine to run the unit as it is wanted, if it isn't told so.
func (p *Planner) put(s *seat, reason string) {
	spec := s.job.spec(s.host)
	if s.placed && !s.lost && *s.spec == spec {
		return
	}
	switch {
	case reason != "":
	case s.lost:
		reason = "its schedule key vanished"
	case !s.placed:
		reason = "it runs here without having been told"
	default:
		reason = changed(*s.spec, spec)
	}
	p.out.seat(s, rankPlace, Place{Key: s.key(), Spec: spec, Reason: reason})
	p.write(s, p.shared(s.job, spec))
}

// changed says what differs, for the log.
func changed(was, is record.Spec) string {
	switch {
	case was.Target != is.Target:
		return fmt.Sprintf("it was %s", was.Target)
	case was.File != is.File:
		return fmt.Sprintf("its file is now %s", is.File.Short())
	case was.Restart > is.Restart:
		return "its count of restarts was another" // which restarts nothing
	}
	return "it is to be restarted"
}

// rewrite writes a schedule key anew, as it was.
func (p *Planner) rewrite(s *seat) {
	const reason = "its schedule key vanished"
	if s.withdrawn() {
		p.withdraw(s, reason)
		return
	}
	p.out.seat(s, rankPlace, Place{Key: s.key(), Spec: *s.spec, Reason: reason})
	p.write(s, s.spec)
}

// withdraw tells a machine to stop a unit and to forget it.
func (p *Planner) withdraw(s *seat, reason string) {
	if slot := p.out.of(s); slot != nil && slot.rank == rankPlace && !slot.placed && !s.said {
		p.undo(s)
		return
	}
	if s.counted == held && s.host.live() && s.job.wanted() {
		p.out.displaced = append(p.out.displaced, s)
	}
	p.out.seat(s, rankWithdraw, Withdraw{Key: s.key(), Reason: reason})
	p.write(s, p.none)
}

// relent takes withdrawals back that this very Step decided and that nothing asks
// for any more: who was to come in the unit's place has gone elsewhere since, or
// the unit that it follows may stay after all. It gives whether there were any; they
// are to be looked at again. A seat is given back once in a Step, so that units in
// a circle come to an end.
func (p *Planner) relent() bool {
	relented := false
	for _, s := range p.out.displaced {
		j, slot := s.job, p.out.of(s)
		if slot == nil || slot.rank != rankWithdraw || !slot.placed || slot.spec.Target == unit.TargetNone || p.out.relented[s] {
			continue
		}
		if !j.wanted() || j.reqErr != nil || !j.req.Global && len(j.held()) > 0 || !p.fits(j, s.host, stay, nil) {
			continue
		}
		if p.out.relented == nil {
			p.out.relented = map[*seat]bool{}
		}
		p.out.relented[s], relented = true, true
		p.restore(s, *slot)
		p.markSeat(s)
	}
	return relented
}

// restore takes all back that this Step decided on a seat.
func (p *Planner) restore(s *seat, was draftSlot) {
	p.out.cancel(s)
	if s.sent = was.sent; s.more != nil {
		s.more.before = s.more.before[:was.before]
	}
	p.setSpec(s, was.spec)
	s.lost = was.lost
}

// undo takes a placement back that this very Step decided and another unit's
// has made impossible: nobody has been told yet. What the unit was placed on
// before is given back to it, and it is looked at again.
func (p *Planner) undo(s *seat) {
	j := s.job
	p.mark(j)
	for _, old := range slices.Clone(j.seats) {
		slot := p.out.of(old)
		if slot != nil && !old.host.live() && slot.rank == rankWithdraw {
			p.restore(old, *slot)
		}
	}
	p.out.cancel(s)
	p.clearSpec(s)
}

func (p *Planner) write(s *seat, spec *record.Spec) {
	if s.sent != nil {
		more := s.remarks()
		more.before = append(more.before, s.sent)
	}
	s.sent = spec
	p.setSpec(s, spec)
}

// cameBack takes note of what a machine is told now according to etcd. It gives
// whether that is old news.
func (s *seat) cameBack(spec record.Spec) bool {
	if s.sent == nil {
		return false
	}
	if s.more != nil {
		for i, old := range s.more.before {
			if *old == spec {
				s.more.before = s.more.before[i+1:]
				return true // superseded by what we wrote since
			}
		}
	}
	if *s.sent != spec {
		return false
	}
	if s.sent = nil; s.more != nil {
		s.more.before = nil
	}
	return s.placed && !s.lost && *s.spec == spec
}

// forget ends a withdrawal.
func (p *Planner) forget(s *seat) {
	p.out.seat(s, rankForget, Forget{s.key()})
	s.forgotten = true
	p.clearSpec(s)
}
