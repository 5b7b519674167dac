package planner

import (
	"slices"

	"github.com/fleet-project/fleet/unit"
)

// spoil has a unit's requirements read anew before the next decision.
func (p *Planner) spoil(j *job) {
	if !j.stale {
		j.stale = true
		p.spoiled = append(p.spoiled, j)
	}
}

// settle reads what was spoiled. All changes are known by then, so that the
// order in which they came makes no difference.
func (p *Planner) settle() {
	resort := false
	for _, j := range p.spoiled {
		if !j.stale {
			continue
		}
		j.stale = false
		if p.reread(j) {
			resort = true
		}
	}
	p.spoiled = p.spoiled[:0]
	if resort {
		p.classes.resort()
	}
}

// reread reads a unit's requirements and ties it to what they name. It reports
// whether the machines must be sorted into classes anew.
func (p *Planner) reread(j *job) (resort bool) {
	p.rest(j)
	p.mark(j)
	j.fresh = true
	wakeAll(p, j.wants)
	wakeAll(p, j.takes)
	p.patterns.untie(j, j.wants)
	p.patterns.untie(j, j.takes)
	for _, leader := range j.req.MachineOf {
		delete(p.followers[leader], j)
		if len(p.followers[leader]) == 0 {
			delete(p.followers, leader)
		}
	}
	j.wants, j.takes, j.req, j.reqErr = nil, nil, unit.Requirements{}, nil
	if j.file == nil {
		return false
	}
	if j.req, j.reqErr = j.file.read(j.name); j.reqErr != nil {
		return false
	}
	j.wants = p.patterns.tie(j, conflicts, j.req.Conflicts)
	j.takes = p.patterns.tie(j, replaces, j.req.Replaces)
	for _, leader := range j.req.MachineOf {
		if p.followers[leader] == nil {
			p.followers[leader] = map[*job]struct{}{}
		}
		p.followers[leader][j] = struct{}{}
	}
	for _, r := range j.req.Metadata {
		if p.classes.ask(r.Key) {
			resort = true
		}
	}
	return resort
}

// wakeAll has everybody look again whom these patterns may have kept away from
// somewhere.
func wakeAll(p *Planner, list []*pattern) {
	for _, g := range list {
		for w := range g.waiters {
			p.mark(w)
		}
	}
}

// wait registers a unit that found no place, to be woken by machines that open
// and by others that leave. Global units are always registered.
func (p *Planner) wait(j *job) {
	if j.waiting {
		return
	}
	j.waiting = true
	p.waiting[j] = struct{}{}
	for _, g := range slices.Concat(j.wants, j.takes, j.known) {
		g.waiters[j] = struct{}{}
	}
}

// rest undoes wait, and gives up what the unit has claimed.
func (p *Planner) rest(j *job) {
	p.unclaim(j)
	if !j.waiting {
		return
	}
	j.waiting = false
	delete(p.waiting, j)
	for _, g := range slices.Concat(j.wants, j.takes, j.known) {
		delete(g.waiters, j)
	}
}
