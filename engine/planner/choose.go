package planner

import (
	"cmp"

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
	return int(j.template.on[h])
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
	c := j.class
	c.refresh()
	return p.scan(j, c, fits)
}

// scan finds the best machine of a class that fits. Level by level it goes
// through the machines in the order in which ties are broken, those with the
// fewest instances first, and stops at the first that fits. Machines where others
// keep the unit away are passed over unseen.
func (p *Planner) scan(j *job, c *class, fits func(*host) bool) *host {
	from := c.ring.from(j.ring)
	banned := p.banned(j)
	var best *host
	look := func(at int) bool {
		if h := c.ring.hosts[at]; fits(h) {
			best = h
		}
		return best != nil
	}
	if j.template == nil {
		for _, l := range c.levels {
			if l.hosts.walk(from, nil, nil, banned, look) {
				return best
			}
		}
		return nil
	}
	sets := j.template.refresh()
	if sets == nil {
		return p.scanFew(j, c, banned, fits)
	}
	for _, l := range c.levels {
		if l.hosts.walk(from, nil, sets[0], banned, look) {
			return best
		}
		for _, some := range sets[1:] {
			if l.hosts.walk(from, some, nil, banned, look) {
				return best
			}
		}
	}
	return nil
}

// scanFew is scan where few machines have instances of the unit's template.
func (p *Planner) scanFew(j *job, c *class, banned set, fits func(*host) bool) *host {
	from := c.ring.from(j.ring)
	var best *host
	for _, l := range c.levels {
		if l.hosts.walk(from, nil, nil, banned, func(at int) bool {
			h := c.ring.hosts[at]
			if j.instancesOn(h) == 0 && fits(h) {
				best = h
			}
			return best != nil
		}) {
			return best
		}
		for h := range j.template.on {
			if h.at >= 0 && c.load[h.at] == l.load && (best == nil || j.better(h, best)) && fits(h) {
				best = h
			}
		}
		if best != nil {
			return best
		}
	}
	return nil
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
		leader := p.jobs.get(name)
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
