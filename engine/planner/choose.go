package planner

import (
	"cmp"
	"slices"

	"github.com/fleet-project/fleet/machine"
)

// Choosing: the least loaded machine that the unit fits on; among those the
// one with the fewest instances of its template; among those the next one on
// the ring, where both the unit and the machines have a place by their hash.
// So equal inputs give equal plans everywhere, and ties don't all fall on one
// machine.

// byDistance orders machines by how far they are from the unit on the ring.
func (j *job) byDistance(a, b *host) int {
	if c := cmp.Compare(a.ring-j.ring, b.ring-j.ring); c != 0 {
		return c
	}
	return cmp.Compare(a.id, b.id)
}

func (j *job) instancesOn(h *host) int {
	if j.template == nil {
		return 0
	}
	return j.template.on[h]
}

// better reports whether a is a better machine for the unit than b.
func (j *job) better(a, b *host) bool {
	return cmp.Or(
		cmp.Compare(a.load, b.load),
		cmp.Compare(j.instancesOn(a), j.instancesOn(b)),
		j.byDistance(a, b),
	) < 0
}

// best chooses among few machines.
func (j *job) best(hosts []*host, fits func(*host) bool) *host {
	var best *host
	for _, h := range hosts {
		if h != best && (best == nil || j.better(h, best)) && fits(h) {
			best = h
		}
	}
	return best
}

// choose finds a machine for a unit that may come to any, or nil. Machines
// where the whole group fits come first.
func (p *Planner) choose(j *job) *host {
	if group := p.group(j); len(group) > 1 {
		if h := p.chooseForGroup(j, group); h != nil {
			return h
		}
	}
	return p.search(j, []*job{j}, func(h *host) bool { return p.fits(j, h, enter, nil) })
}

// search finds the best machine for the unit that fits, among those that the
// MachineID and MachineMetadata of all members allow.
func (p *Planner) search(j *job, members []*job, fits func(*host) bool) *host {
	for _, m := range members {
		if m.req.MachineID != "" {
			return j.best(p.byID(m.req.MachineID), fits)
		}
	}
	if hosts, ok := p.leaders(j); ok {
		return j.best(hosts, fits)
	}
	least := 0
	if j.template != nil {
		least = j.template.least(p.classes.open)
	}
	var best *host
	for _, c := range p.classes.all {
		if !slices.ContainsFunc(members, func(m *job) bool { return !c.allows(m.req.Metadata) }) {
			best = c.scan(j, best, least, fits)
		}
	}
	return best
}

// scan finds a machine in the class that is better than best. It goes through
// each level in the order in which ties are broken, so it can stop at the
// first machine that has the least possible number of instances.
func (c *class) scan(j *job, best *host, least int, fits func(*host) bool) *host {
	for _, l := range c.levels {
		if best != nil && l.load > best.load {
			return best
		}
		found := false
		from, _ := slices.BinarySearchFunc(l.hosts, j.ring, func(h *host, ring uint64) int { return cmp.Compare(h.ring, ring) })
		for i := range l.hosts {
			h := l.hosts[(from+i)%len(l.hosts)]
			if best != nil && !j.better(h, best) {
				if l.load == best.load && j.instancesOn(best) <= least && j.byDistance(h, best) > 0 {
					break // so is the rest of the level, by its distance alone
				}
				continue
			}
			if fits(h) {
				best, found = h, true
				if j.instancesOn(h) <= least {
					break
				}
			}
		}
		if found {
			return best
		}
	}
	return best
}

// byID gives the machines that a MachineID means: a whole one, or its first 8
// characters.
func (p *Planner) byID(id string) []*host {
	if len(id) == 8 {
		return p.short[id]
	}
	if h := p.hosts[machine.ID(id)]; h != nil {
		return []*host{h}
	}
	return nil
}

// leaders gives the machines of the unit's MachineOf that is placed on the
// fewest; false if it has none.
func (p *Planner) leaders(j *job) (hosts []*host, ok bool) {
	for _, name := range j.req.MachineOf {
		leader := p.jobs[name]
		if leader == nil {
			return nil, true
		}
		seats := leader.held()
		if ok && len(seats) >= len(hosts) {
			continue
		}
		hosts, ok = hosts[:0], true
		for _, s := range seats {
			hosts = append(hosts, s.host)
		}
	}
	return hosts, ok
}
