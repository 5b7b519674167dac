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
	for _, j := range p.spoiled {
		if !j.stale {
			continue
		}
		j.stale = false
		p.reread(j)
	}
	p.spoiled = nil
}

// reread reads a unit's requirements and ties it to what they name.
func (p *Planner) reread(j *job) {
	p.stir(j)
	p.untie(j)
	defer p.stir(j)
	p.mark(j)
	if j.file == nil {
		return
	}
	req, err := j.file.read(j.name)
	if err != nil {
		j.own().reqErr = err
		return
	}
	p.tie(j, req)
}

// tie makes requirements the unit's own, in all indexes.
func (p *Planner) tie(j *job, req unit.Requirements) {
	if !req.Empty() {
		own := req // a copy only where it is kept
		j.req = &own
	}
	j.class = p.classes.use(req.Metadata)
	if len(req.Conflicts) > 0 || len(req.Replaces) > 0 {
		wants := p.patterns.tie(j, conflicts, req.Conflicts)
		takes := p.patterns.tie(j, replaces, req.Replaces)
		own := j.own()
		own.wants, own.takes = wants, takes
	}
	for _, leader := range req.MachineOf {
		if p.followers[leader] == nil {
			p.setFollowers(leader, map[*job]struct{}{})
		}
		p.followers[leader][j] = struct{}{}
	}
}

// setFollowers sets who follows the unit of a name, which need not exist.
func (p *Planner) setFollowers(leader unit.Name, followers map[*job]struct{}) {
	if followers == nil {
		delete(p.followers, leader)
	} else {
		p.followers[leader] = followers
	}
	if l := p.jobs.get(leader); l != nil {
		l.own().followers = followers
	}
}

// untie undoes tie, and wakes those whom the unit may have kept away from
// somewhere.
func (p *Planner) untie(j *job) {
	p.rest(j)
	wakeAll(p, j.wants)
	wakeAll(p, j.takes)
	p.patterns.untie(j, j.wants)
	p.patterns.untie(j, j.takes)
	for _, leader := range j.req.MachineOf {
		delete(p.followers[leader], j)
		if len(p.followers[leader]) == 0 {
			p.setFollowers(leader, nil)
		}
	}
	p.classes.leave(j.class)
	j.class = nil
	j.req = p.nothing
	if !j.unbound {
		j.wants, j.takes, j.reqErr = nil, nil, nil
	}
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
	if len(j.takes) > 0 {
		p.hunters[j] = struct{}{}
	}
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
	delete(p.hunters, j)
	for _, g := range slices.Concat(j.wants, j.takes, j.known) {
		delete(g.waiters, j)
	}
}
