package planner

import (
	"cmp"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/fleet-project/fleet/unit"
)

// class is a bucket of open machines that no unit's MachineMetadata can tell
// apart: their metadata is the same in every key that any unit asks for.
type class struct {
	meta   map[string]string // of one of them; only the keys asked for count
	levels []*level          // by load, ascending; none is empty
}

// level is the machines of a class that have the same load, in the order of
// the ring.
type level struct {
	load  int
	hosts []*host
}

// classes sorts the open machines into buckets.
type classes struct {
	all  map[string]*class // by signature
	keys []string          // metadata keys that units ask for, sorted; only ever grows
	open int               // machines in all of them
}

// ask makes a metadata key part of the signatures; true if it wasn't, and
// all machines must be sorted anew.
func (cs *classes) ask(key string) bool {
	i, ok := slices.BinarySearch(cs.keys, key)
	if !ok {
		cs.keys = slices.Insert(cs.keys, i, key)
	}
	return !ok
}

// signature of a machine's metadata. No rule tells a missing key from an empty
// one.
func (cs *classes) signature(meta map[string]string) string {
	if len(cs.keys) == 0 {
		return ""
	}
	var b strings.Builder
	for _, k := range cs.keys {
		b.WriteString(strconv.Itoa(len(meta[k])))
		b.WriteByte(':')
		b.WriteString(meta[k])
	}
	return b.String()
}

func (cs *classes) put(h *host) {
	sig := cs.signature(h.meta)
	c := cs.all[sig]
	if c == nil {
		c = &class{meta: h.meta}
		cs.all[sig] = c
	}
	h.class = c
	cs.open++
	c.insert(h)
}

func (cs *classes) take(h *host) {
	h.class.remove(h)
	if len(h.class.levels) == 0 {
		delete(cs.all, cs.signature(h.class.meta))
	}
	h.class = nil
	cs.open--
}

// resort builds all buckets anew, after a key was asked for.
func (cs *classes) resort() {
	was := cs.all
	cs.all, cs.open = map[string]*class{}, 0
	for _, c := range was {
		for _, l := range c.levels {
			for _, h := range l.hosts {
				cs.put(h)
			}
		}
	}
}

func (c *class) search(load int) (int, bool) {
	return slices.BinarySearchFunc(c.levels, load, func(l *level, load int) int { return cmp.Compare(l.load, load) })
}

func (c *class) insert(h *host) {
	i, ok := c.search(h.load)
	if !ok {
		c.levels = slices.Insert(c.levels, i, &level{load: h.load})
	}
	l := c.levels[i]
	at, _ := slices.BinarySearchFunc(l.hosts, h, byRing)
	l.hosts = slices.Insert(l.hosts, at, h)
}

func (c *class) remove(h *host) {
	i, _ := c.search(h.load)
	l := c.levels[i]
	if len(l.hosts) == 1 {
		c.levels = slices.Delete(c.levels, i, i+1)
		return
	}
	at, _ := slices.BinarySearchFunc(l.hosts, h, byRing)
	l.hosts = slices.Delete(l.hosts, at, at+1)
}

func byRing(a, b *host) int {
	if c := cmp.Compare(a.ring, b.ring); c != 0 {
		return c
	}
	return cmp.Compare(a.id, b.id)
}

// allows reports whether the metadata of a class meets the rules.
func (c *class) allows(rules []unit.MetadataRule) bool { return firstBroken(rules, c.meta) < 0 }

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

// template counts the instances of one template on the open machines, so that
// they can be spread.
type template struct {
	on      map[*host]int // no zero values
	perHost []int         // how many machines have so many instances; index 0 is not used
}

func (p *Planner) template(name unit.Name) *template {
	t := p.templates[name]
	if t == nil {
		t = &template{on: map[*host]int{}, perHost: make([]int, 2)}
		p.templates[name] = t
	}
	return t
}

func (t *template) add(h *host, by int) {
	was := t.on[h]
	is := was + by
	for len(t.perHost) <= is {
		t.perHost = append(t.perHost, 0)
	}
	if was > 0 {
		t.perHost[was]--
	}
	if is > 0 {
		t.perHost[is]++
		t.on[h] = is
	} else {
		delete(t.on, h)
	}
}

// least is how few instances any open machine has: a search that finds a
// machine with so few need not go on.
func (t *template) least(open int) int {
	if len(t.on) < open {
		return 0
	}
	for n := 1; n < len(t.perHost); n++ {
		if t.perHost[n] > 0 {
			return n
		}
	}
	return 0
}

// reload keeps the loads when a unit takes or leaves a seat.
func (p *Planner) reload(s *seat, is bool) {
	by := -1
	if is {
		by = 1
	}
	h := s.host
	if h.class == nil {
		h.load += by
		return
	}
	h.class.remove(h)
	h.load += by
	h.class.insert(h)
	if t := s.job.template; t != nil {
		t.add(h, by)
	}
}

// reopen puts a machine into its bucket, or takes it out, after its presence,
// its metadata or the operator's words on it changed.
func (p *Planner) reopen(h *host) {
	if h.class != nil {
		p.classes.take(h)
		h.instances(-1)
	}
	h.meta = nil
	if h.live() {
		h.meta = h.over.Apply(h.rec.Metadata)
	}
	if h.open() {
		p.classes.put(h)
		h.instances(+1)
	}
}

// instances adds what the machine holds to the templates, or takes it out.
func (h *host) instances(by int) {
	for j, s := range h.seats {
		if j.template != nil && s.counted == held {
			j.template.add(h, by)
		}
	}
}

// sameHost reports whether nothing changed that a decision could depend on.
func sameHost(was, is *host) bool {
	if was.live() != is.live() || was.over.Cordoned != is.over.Cordoned || !maps.Equal(was.meta, is.meta) {
		return false
	}
	return was.rec == nil || was.rec.Leaving == is.rec.Leaving && was.rec.BootID == is.rec.BootID
}
