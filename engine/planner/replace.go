package planner

import (
	"cmp"
	"slices"
)

// replacesUnit reports whether the unit's Replaces matches the other's name.
func (j *job) replacesUnit(v *job) bool {
	return j != v && matchedBy(j.takes, v)
}

// replacesBack reports whether moving v can make j move in turn: because v
// replaces j, or j follows v, or through others that are moved on the way.
// Units in such a circle would chase each other for ever: they only keep off
// each other's machines.
func (p *Planner) replacesBack(v, j *job) bool {
	seen := map[*job]struct{}{}
	next := []*job{v}
	push := func(y *job) {
		if _, ok := seen[y]; !ok && y.wanted() && (len(y.takes) > 0 || len(y.followers) > 0) {
			seen[y] = struct{}{}
			next = append(next, y)
		}
	}
	for len(next) > 0 {
		x := next[len(next)-1]
		next = next[:len(next)-1]
		if _, follows := x.followers[j]; follows || x.replacesUnit(j) {
			return true
		}
		for _, g := range x.takes {
			for y := range g.covered {
				push(y)
			}
		}
		for f := range x.followers {
			push(f)
		}
	}
	return false
}

// prey gives the seats on a machine whose units this one replaces, unless one
// of them can't be replaced by it.
func (p *Planner) prey(j *job, h *host) (seats []*seat, ok bool) {
	for _, s := range h.seats {
		v := s.job
		if s.counted == away || !j.replacesUnit(v) {
			continue
		}
		stuck := v.wanted() && v.reqErr != nil || v.rec == nil && s.stray()
		if stuck || p.replacesBack(v, j) {
			return nil, false // it won't leave
		}
		seats = append(seats, s)
	}
	return seats, true
}

// replace finds a machine for a unit with Replaces where a unit that it
// replaces is placed. It gives the machine once the others have left it. With
// pending, they have yet to; without either there is nothing to replace.
func (p *Planner) replace(j *job) (to *host, pending bool) {
	if h := j.claim; h != nil {
		if p.fits(j, h, enter, nil) {
			return h, false
		}
		if _, ok := p.prey(j, h); ok && p.fits(j, h, oust, nil) {
			p.evict(j, h)
			return nil, true
		}
		p.unclaim(j)
	}
	h := p.hunt(j)
	if h == nil {
		return nil, false
	}
	j.own().claim = h
	if h.claims == nil {
		h.claims = map[*job]struct{}{}
	}
	h.claims[j] = struct{}{}
	p.evict(j, h)
	return nil, true
}

// hunt chooses among the machines that units are placed on which this one
// replaces: one that they are leaving already (so that another leader goes on
// where this one stopped), else as for any unit.
func (p *Planner) hunt(j *job) *host {
	type candidate struct {
		host  *host
		stays int // units that would have to leave
	}
	var best *candidate
	seen := map[*host]struct{}{}
	for _, g := range j.takes {
		for h := range g.at {
			if _, ok := seen[h]; ok {
				continue
			}
			seen[h] = struct{}{}
			if !p.fits(j, h, oust, nil) {
				continue
			}
			prey, ok := p.prey(j, h)
			c := candidate{host: h}
			wanted := false
			for _, s := range prey {
				wanted = wanted || s.job.wanted()
				if s.counted == held {
					c.stays++
				}
			}
			if !ok || !wanted {
				continue
			}
			if best == nil || cmp.Or(cmp.Compare(c.stays, best.stays), cmp.Compare(h.load, best.host.load), j.byDistance(h, best.host)) < 0 {
				best = &c
			}
		}
	}
	if best == nil {
		return nil
	}
	return best.host
}

// evict has the units looked at that must leave a machine because of this one.
func (p *Planner) evict(j *job, h *host) {
	for _, g := range j.takes {
		if g.at[h].covered[held] == 0 {
			continue
		}
		for _, s := range h.seats {
			v := s.job
			if v != j && s.counted == held && slices.Contains(v.known, g) {
				p.markAt(v, h)
			}
		}
	}
}

// unclaim gives up what the unit has claimed: others may go there again.
func (p *Planner) unclaim(j *job) {
	h := j.claim
	if h == nil {
		return
	}
	j.claim = nil
	delete(h.claims, j)
	for _, g := range slices.Concat(j.takes, j.wants, j.known) {
		for w := range g.waiters {
			p.markAt(w, h)
		}
	}
	p.dropHost(h)
}

// stir has the units look again that wait for something to replace, after a
// unit changed that can be replaced or move others: whether it would make way,
// and whether that would go round in a circle, can be another matter now.
func (p *Planner) stir(j *job) {
	if len(p.hunters) == 0 {
		return
	}
	if len(j.takes) > 0 || len(j.req.MachineOf) > 0 ||
		slices.ContainsFunc(j.known, func(g *pattern) bool { return g.relation == replaces }) {
		for w := range p.hunters {
			p.mark(w)
		}
	}
}
