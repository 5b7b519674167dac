package planner

import (
	"slices"
)

// group gives the units that must be on one machine with this one because
// MachineOf ties them together, itself included, sorted by name.
func (p *Planner) group(j *job) []*job {
	if len(j.req.MachineOf) == 0 && len(j.followers) == 0 {
		return nil
	}
	seen := map[*job]struct{}{j: {}}
	out := []*job{j}
	add := func(x *job) {
		if _, ok := seen[x]; !ok && x.wanted() && x.reqErr == nil && !x.req.Global {
			seen[x] = struct{}{}
			out = append(out, x)
		}
	}
	for i := 0; i < len(out); i++ {
		for _, name := range out[i].req.MachineOf {
			if l := p.jobs.get(name); l != nil {
				add(l)
			}
		}
		for f := range out[i].followers {
			add(f)
		}
	}
	slices.SortFunc(out, byName)
	return out
}

// chooseForGroup finds a machine where every member fits, for the first of them
// to be placed: beside those that are placed already, if there are any.
func (p *Planner) chooseForGroup(j *job, group []*job) *host {
	in := make(map[*job]struct{}, len(group))
	var anchors []*host
	var members []*job // not placed: they have to fit as well
	for _, m := range group {
		in[m] = struct{}{}
		seats := m.held()
		for _, s := range seats {
			anchors = append(anchors, s.host)
		}
		if len(seats) == 0 {
			members = append(members, m)
		}
	}
	fits := func(h *host) bool {
		if !p.fits(j, h, enter, nil) {
			return false
		}
		for _, m := range members {
			if m != j && !p.fitsAmong(m, h, in) {
				return false
			}
		}
		return true
	}
	if len(anchors) > 0 {
		return j.best(anchors, fits)
	}
	return p.search(j, members, fits)
}

// fitsAmong reports whether a member of a group could be on a machine if the
// others of the group are there as well.
func (p *Planner) fitsAmong(m *job, h *host, group map[*job]struct{}) bool {
	if !p.suits(m, h) {
		return false
	}
	if p.fitsConflicts(m, h, enter, nil) && p.fitsReplaced(m, h, enter, nil) {
		return true
	}
	// Something keeps it away: see whether that is one of the group.
	for _, s := range h.seats {
		o := s.job
		if _, ok := group[o]; ok || s.counted == away {
			continue
		}
		if m.conflictsWith(o) || o.replacesUnit(m) {
			return false
		}
	}
	for c := range h.claims {
		if _, ok := group[c]; !ok && (c.replacesUnit(m) || m.conflictsWith(c)) {
			return false
		}
	}
	return true
}

// conflictsWith reports whether one of two units has a Conflicts for the other.
func (j *job) conflictsWith(o *job) bool {
	return j != o && (matchedBy(j.wants, o) || matchedBy(o.wants, j))
}

// inCircle reports whether a unit follows itself, through whomever. Submit
// refuses that; should it be stored all the same, nobody of them is placed.
func (p *Planner) inCircle(j *job) bool {
	seen := map[*job]struct{}{}
	next := []*job{j}
	for len(next) > 0 {
		x := next[len(next)-1]
		next = next[:len(next)-1]
		for _, name := range x.req.MachineOf {
			l := p.jobs.get(name)
			if l == j {
				return true
			}
			if _, ok := seen[l]; !ok && l != nil {
				seen[l] = struct{}{}
				next = append(next, l)
			}
		}
	}
	return false
}
