package agent

import (
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// What the core is told to do: by the records of an earlier agent, and by the
// schedule.

// restore takes over what an earlier agent has left. Units stay untouched until
// their state is known too.
func (c *core) restore(records []Record) {
	for _, r := range records {
		h := c.get(r.Name)
		h.rec = &r
		h.examine = r.Intent != nil && r.Intent.Target == unit.TargetLaunched
		c.touch(r.Name)
	}
}

// follow takes a part of the schedule over, or with reset the whole of it.
// A nil Spec is a key that vanished.
func (c *core) follow(reset bool, cluster *record.Cluster, changes map[unit.Name]*record.Spec) {
	was := c.suspended()
	wasLost := c.lost(was)
	if !c.following {
		c.following = true
		c.touchAll() // nothing is published before
	}
	c.cluster = cluster
	if cluster != nil && c.known.ID == "" {
		c.known = *cluster
		c.out.cluster = cluster
	}
	if reset {
		for name := range c.schedule {
			if _, ok := changes[name]; !ok {
				changes[name] = nil
			}
		}
		// Units known from records alone may lack a key as well.
		for name := range c.units {
			if _, ok := changes[name]; !ok {
				changes[name] = nil
			}
		}
	}
	for name, spec := range changes {
		if spec == nil {
			delete(c.schedule, name)
			if h := c.units[name]; h != nil && h.acked {
				c.vanished(name) // over and done with, in any case
			}
		} else {
			c.schedule[name] = *spec
		}
	}
	now := c.suspended()
	switch {
	case now != nil:
		if c.lost(now) && (was == nil || was.Error() != now.Error()) {
			c.logf("error", "%v", now)
		}
		return // the schedule is remembered, and followed when this is over
	case was != nil:
		if wasLost {
			c.logf("info", "the cluster's key is back: following the schedule again")
		}
		changes = map[unit.Name]*record.Spec{}
		for name := range c.units {
			changes[name] = nil
		}
		for name, spec := range c.schedule {
			changes[name] = &spec
		}
		c.touchAll()
	}
	for name, spec := range changes {
		c.instruct(name, spec)
	}
}

// forgotten has withdrawals acknowledged anew, if they are to be carried out still:
// what was said is forgotten, together with the instruction that it was said of.
func (c *core) forgotten(names []unit.Name) {
	for _, name := range names {
		if h := c.units[name]; h != nil && h.acked {
			h.want, h.acked, h.published = nil, false, nil
			c.touch(name)
		}
	}
}

// reported takes over what etcd holds of this host's words, said by an earlier
// fleetd: it needn't be said again, and isn't true of units that nobody knows. An
// acknowledgement that etcd doesn't hold was said of an earlier instruction.
func (c *core) reported(states map[unit.Name]record.State) {
	for name, h := range c.units {
		if _, said := states[name]; h.acked && !said {
			h.published = nil
			c.touch(name)
		}
	}
	for name, s := range states {
		h := c.units[name]
		if h == nil {
			c.out.states[name] = nil
		} else if h.published == nil {
			h.published = &s
			c.touch(name)
		}
	}
}

// instruct takes one instruction over.
func (c *core) instruct(name unit.Name, spec *record.Spec) {
	if spec == nil {
		c.vanished(name)
		return
	}
	h := c.get(name)
	if h.want != nil && *h.want == *spec {
		return
	}
	w := *spec
	h.want = &w
	h.acked = false
	h.words.readings = 0 // somebody wants to know
	c.resetError(h)
	c.touch(name)
}

// vanished: a key of the schedule isn't there any more, or isn't there yet. If
// that is the answer to an acknowledgement, the unit is over and done with.
// Otherwise nobody said that it should stop.
func (c *core) vanished(name unit.Name) {
	h := c.units[name]
	if h == nil {
		return
	}
	had := h.want
	h.want = nil
	c.touch(name)
	if h.acked || h.rec == nil && h.op == "" {
		return // settle forgets it
	}
	if (had != nil || h.published == nil) && !(h.rec != nil && h.rec.withdrawing()) {
		c.logf("warning", "%s: the instruction for it vanished from etcd; it stays as it is", name)
	}
}
