package planner

import (
	"cmp"
	"maps"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/unit"
)

// class is the machines that meet the same MachineMetadata, by load. All units
// that demand that share it. It is brought up to date when it is searched: what
// nobody asks for costs nothing.
type class struct {
	ring  *ring
	key   string
	rules []unit.MetadataRule
	users int // units that have it

	generation int     // of the ring, for all that follows
	read       int     // of the ring's changes
	allowed    set     // machines whose metadata meets the rules, open or not
	load       []int32 // by position, as in levels; -1 for those that aren't in them
	levels     []level // by load, ascending; none is empty
	spare      []set   // empty ones, to be used again
}

// level is the machines of a class that have the same load.
type level struct {
	load  int32
	size  int
	hosts set
}

// classes finds the class of a list of rules.
type classes struct {
	ring ring
	all  map[string]*class
}

// class counts one more user of the class.
func (cs *classes) use(rules []unit.MetadataRule) *class {
	words := make([]string, len(rules))
	for i := range rules {
		words[i] = rules[i].String()
	}
	slices.Sort(words)
	key := strings.Join(words, "\n")
	c := cs.all[key]
	if c == nil {
		c = &class{ring: &cs.ring, key: key, rules: rules, generation: -1}
		cs.all[key] = c
	}
	c.users++
	return c
}

func (cs *classes) leave(c *class) {
	if c == nil {
		return
	}
	if c.users--; c.users == 0 {
		delete(cs.all, c.key)
	}
}

// relabel has the classes know that a machine's metadata changed.
func (cs *classes) relabel(h *host) {
	if h.at < 0 {
		return
	}
	for _, c := range cs.all {
		if c.generation == cs.ring.generation {
			c.allowed.put(h.at, c.allows(h))
		}
	}
}

// allows reports whether the metadata of a machine meets the rules.
func (c *class) allows(h *host) bool { return h != nil && firstBroken(c.rules, h.meta) < 0 }

// refresh brings the class up to date.
func (c *class) refresh() {
	c.ring.tidy()
	if c.generation != c.ring.generation {
		c.generation = c.ring.generation
		c.allowed, c.spare = c.ring.newSet(), nil
		for i, h := range c.ring.hosts {
			c.allowed.put(int32(i), c.allows(h))
		}
		c.rebuild()
		return
	}
	changed, known := c.ring.since(c.read)
	if !known {
		c.rebuild()
		return
	}
	for _, at := range changed {
		c.update(at)
	}
	c.read = c.ring.end()
}

func (c *class) rebuild() {
	c.levels = nil
	c.load = slices.Repeat([]int32{-1}, len(c.ring.hosts))
	for i := range c.ring.hosts {
		c.update(int32(i))
	}
	c.read = c.ring.end()
}

// update moves a machine to where it belongs now.
func (c *class) update(at int32) {
	c.ring.updates++
	is := int32(-1)
	if h := c.ring.hosts[at]; h != nil && h.open && c.allowed.has(at) {
		is = int32(h.load)
	}
	was := c.load[at]
	if was == is {
		return
	}
	c.load[at] = is
	if was >= 0 {
		i, _ := c.search(was)
		l := &c.levels[i]
		l.hosts.put(at, false)
		if l.size--; l.size == 0 {
			c.spare = append(c.spare, l.hosts)
			c.levels = slices.Delete(c.levels, i, i+1)
		}
	}
	if is >= 0 {
		i, ok := c.search(is)
		if !ok {
			c.levels = slices.Insert(c.levels, i, level{load: is, hosts: c.emptySet()})
		}
		c.levels[i].hosts.put(at, true)
		c.levels[i].size++
	}
}

func (c *class) emptySet() set {
	if n := len(c.spare); n > 0 {
		s := c.spare[n-1]
		c.spare = c.spare[:n-1]
		return s
	}
	return c.ring.newSet()
}

func (c *class) search(load int32) (int, bool) {
	return slices.BinarySearchFunc(c.levels, load, func(l level, load int32) int { return cmp.Compare(l.load, load) })
}

func byRing(a, b *host) int {
	if c := cmp.Compare(a.ring, b.ring); c != 0 {
		return c
	}
	return cmp.Compare(a.id, b.id)
}

// firstBroken gives the index of the first rule that the metadata doesn't
// meet, or -1.
func firstBroken(rules []unit.MetadataRule, meta map[string]string) int {
	for i := range rules {
		v, ok := meta[rules[i].Key]
		if !rules[i].Match(v, ok) {
			return i
		}
	}
	return -1
}

// reload keeps the loads when a unit takes or leaves a seat.
func (p *Planner) reload(s *seat, is bool) {
	by := -1
	if is {
		by = 1
	}
	s.host.load += by
	p.classes.ring.note(s.host.at)
	if t := s.job.template; t != nil {
		t.add(s.host, by)
	}
}

// reopen keeps the classes when a machine's presence, its metadata or the
// operator's words on it changed.
func (p *Planner) reopen(h *host) {
	was := h.meta
	h.meta = nil
	if h.live() {
		h.meta = h.over.Apply(h.rec.Metadata)
	}
	if h.open = h.live() && !h.rec.Leaving && !h.over.Cordoned; h.open {
		p.classes.ring.join(h)
	}
	if !maps.Equal(was, h.meta) {
		p.classes.relabel(h)
	}
	p.classes.ring.note(h.at)
}

// sameHost reports whether nothing changed that a decision could depend on.
func sameHost(was, is *host) bool {
	if was.live() != is.live() || was.over.Cordoned != is.over.Cordoned || !maps.Equal(was.meta, is.meta) {
		return false
	}
	return was.rec == nil || was.rec.Leaving == is.rec.Leaving && was.rec.BootID == is.rec.BootID
}
