package planner

import "github.com/fleet-project/fleet/unit"

// template counts the instances of one template on the machines, so that they
// can be spread.
type template struct {
	name  unit.Name
	users int // units that have it
	ring  *ring
	on    map[*host]int32 // no zero values

	// Once they are many and a search has asked for them, the machines by how
	// many instances they have; index 0 is those that have any.
	sets       []set
	generation int // of the ring, for sets
}

// useTemplate counts one more instance of the template.
func (p *Planner) useTemplate(name unit.Name) *template {
	t := p.templates[name]
	if t == nil {
		t = &template{name: name, ring: &p.classes.ring, on: map[*host]int32{}}
		p.templates[name] = t
	}
	t.users++
	return t
}

// leaveTemplate counts one less.
func (p *Planner) leaveTemplate(t *template) {
	if t.users--; t.users == 0 {
		delete(p.templates, t.name)
	}
}

func (t *template) add(h *host, by int) {
	was := t.on[h]
	is := was + int32(by)
	if is > 0 {
		t.on[h] = is
	} else {
		delete(t.on, h)
	}
	if t.sets != nil && t.generation == t.ring.generation && h.at >= 0 {
		t.file(h.at, was, false)
		t.file(h.at, is, true)
	}
}

// move files a machine that had another position, or none.
func (t *template) move(h *host, was int32) {
	if t.sets == nil || t.generation != t.ring.generation {
		return
	}
	n := t.on[h]
	if was >= 0 {
		t.file(was, n, false)
	}
	t.file(h.at, n, true)
}

// file puts a machine's position into the sets of its count, or takes it out.
func (t *template) file(at, n int32, in bool) {
	if n == 0 {
		return
	}
	for len(t.sets) <= int(n) {
		t.sets = append(t.sets, t.ring.newSet())
	}
	t.sets[0].put(at, in)
	t.sets[n].put(at, in)
}

// refresh gives the sets; nil if the machines are few.
func (t *template) refresh() []set {
	if len(t.on) <= t.ring.few {
		t.sets = nil
		return nil
	}
	if t.sets == nil || t.generation != t.ring.generation {
		t.generation = t.ring.generation
		t.sets = []set{t.ring.newSet()}
		for h, n := range t.on {
			if h.at >= 0 {
				t.file(h.at, n, true)
			}
		}
	}
	return t.sets
}
