package planner

import (
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// apply makes one change known. Nothing is decided here: changes that belong
// together may come in any order.
func (p *Planner) apply(c record.Change) {
	switch c := c.(type) {
	case record.ClusterChange:
		p.cluster = c.New
	case record.FileChange:
		p.applyFile(c)
	case record.UnitChange:
		p.applyUnit(c)
	case record.PlacementChange:
		p.applyPlacement(c)
	case record.StateChange:
		p.applyState(c)
	case record.MachineChange:
		p.applyMachine(c)
	case record.OverridesChange:
		p.applyOverrides(c)
	}
}

func (p *Planner) applyUnit(c record.UnitChange) {
	if c.New != nil {
		j := p.job(c.Name)
		j.vanished = false
		if j.rec == nil || !j.rec.Equal(*c.New) {
			p.setRecord(j, c.New)
		}
		return
	}
	j := p.jobs.get(c.Name)
	if j == nil || j.rec == nil {
		return // our own Release, come back
	}
	if j.rec.Target == unit.TargetDestroyed {
		p.setRecord(j, nil)
		return
	}
	j.vanished = true
	p.mark(j)
}

// setRecord makes a unit's record known; nil: the cluster has it no more.
func (p *Planner) setRecord(j *job, rec *record.Unit) {
	old := j.file
	j.rec, j.file = nil, nil
	if rec != nil {
		j.file = p.refer(rec.File)
		j.rec = j.file.record(*rec)
	}
	if old != j.file {
		if old != nil {
			old.remove(j)
		}
		if j.file != nil {
			j.file.add(j)
		}
		p.spoil(j)
	}
	if old != nil {
		p.unrefer(old)
	}
	p.stir(j)
	p.mark(j)
}

func (p *Planner) applyPlacement(c record.PlacementChange) {
	if c.New == nil {
		j := p.jobs.get(c.Unit)
		if j == nil {
			return
		}
		if i, ok := j.search(c.Machine); ok && j.seats[i].placed {
			j.seats[i].lost = true // nobody but us takes keys away, and we know of it
			p.markSeat(j.seats[i])
		}
		return
	}
	s := p.seat(p.job(c.Unit), p.host(c.Machine))
	if s.cameBack(*c.New) || s.sent == nil && s.placed && !s.lost && *s.spec == *c.New {
		return
	}
	p.setSpec(s, p.shared(s.job, *c.New))
	p.markSeat(s)
}

// setSpec records what a machine is told.
func (p *Planner) setSpec(s *seat, spec *record.Spec) {
	p.swapFile(s.job, s.spec.File, spec.File)
	s.placed, s.lost, s.spec = true, false, spec
	p.touched(s)
}

// clearSpec records that a machine is told nothing any more.
func (p *Planner) clearSpec(s *seat) {
	p.swapFile(s.job, s.spec.File, "")
	s.placed, s.lost, s.spec, s.sent = false, false, p.blank, nil
	if s.more != nil {
		s.more.before = nil
	}
	p.touched(s)
}

func (p *Planner) applyState(c record.StateChange) {
	if c.New == nil {
		j := p.jobs.get(c.Unit)
		if j == nil {
			return
		}
		i, ok := j.search(c.Machine)
		if !ok || !j.seats[i].said {
			return
		}
		s := j.seats[i]
		p.swapFile(s.job, s.says.File, "")
		s.said, s.forgotten, s.says = false, false, p.blank
		s.setTrouble("")
		p.markSeat(s)
		p.touched(s)
		return
	}
	s := p.seat(p.job(c.Unit), p.host(c.Machine))
	same := s.said && !s.forgotten && *s.says == c.New.Spec
	if !same {
		p.swapFile(s.job, s.says.File, c.New.File)
		s.said, s.forgotten, s.says = true, false, p.shared(s.job, c.New.Spec)
	}
	s.setTrouble(c.New.Error)
	if !same { // else only systemd's account of it changed
		p.touched(s)
		p.markSeat(s)
	}
}

func (p *Planner) applyMachine(c record.MachineChange) {
	if c.New == nil && p.hosts[c.ID] == nil {
		return
	}
	h := p.host(c.ID)
	was := *h
	h.rec, h.missing = c.New, time.Time{} // who reports it gone has made sure
	switch {
	case h.live() && !was.live():
		p.live++
	case !h.live() && was.live():
		if p.live--; p.live == 0 {
			p.deserted = true
		}
	}
	p.hostChanged(h, &was)
}

func (p *Planner) applyOverrides(c record.OverridesChange) {
	h := p.host(c.ID)
	was := *h
	h.over = record.Overrides{}
	if c.New != nil {
		h.over = *c.New
	}
	p.hostChanged(h, &was)
}

// hostChanged wakes those whom a changed machine concerns.
func (p *Planner) hostChanged(h, was *host) {
	p.reopen(h)
	if sameHost(was, h) && was.missing.Equal(h.missing) {
		p.dropHost(h)
		return
	}
	for _, s := range h.seats {
		p.markSeat(s)
	}
	for j := range h.claims {
		p.mark(j)
	}
	if h.live() {
		p.openedHosts[h] = struct{}{}
	}
	p.dropHost(h)
}

// mark has a unit looked at, wherever it is or could be.
func (p *Planner) mark(j *job) {
	j.full = true
	p.enqueue(j)
}

// markAt has a unit looked at because something changed on one machine.
func (p *Planner) markAt(j *job, h *host) {
	switch {
	case j.global():
		p.pairs = append(p.pairs, pair{job: j, host: h})
	case !j.waiting:
		p.mark(j)
	case !j.full:
		own := j.own()
		own.opened = append(own.opened, h)
		p.enqueue(j)
	}
}

func (p *Planner) markSeat(s *seat) {
	if s.job.global() && !s.job.stale && !s.job.vanished {
		p.pairs = append(p.pairs, pair{job: s.job, host: s.host})
		return
	}
	p.mark(s.job)
}

func (p *Planner) enqueue(j *job) {
	if !j.queued {
		j.queued = true
		p.queue = append(p.queue, j)
	}
}

// pair is a global unit on one machine, or, without one, a unit everywhere.
type pair struct {
	job  *job
	host *host
	rank int // of job, once it is known
}

func (x pair) hostID() machine.ID {
	if x.host == nil {
		return ""
	}
	return x.host.id
}
