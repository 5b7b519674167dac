package planner

import (
	"math/bits"
	"slices"
)

// ring holds the machines in the order in which ties are broken, and says which
// of them changed. A machine has a position once it was open; it keeps it while
// it is away. So sets of machines are bits by position, and what is derived from
// the machines needs to look only at those that changed since.
type ring struct {
	hosts []*host  // by position; nil where there is none: see slack
	keys  []uint64 // their place on the ring of hashes; where there is nobody, between those beside it
	free  int      // positions that hold nobody
	// begins has for every part of the ring of hashes, of which there are
	// 1<<(64-shift), about as many as machines, a position near its first one.
	begins []int32
	shift  int
	// generation changes with all positions: what is kept by position is void.
	generation int
	joined     []*host // to be given a position
	classes    map[string]*class

	// few is how many machines are gone through one by one; more are kept as
	// sets, by whom it concerns.
	few int

	// changes are the positions whose load or openness changed, oldest first,
	// without the first dropped ones.
	changes []int32
	dropped int
	updates int // machines that classes looked at again, ever
}

// join gives a machine a position before the next search.
func (r *ring) join(h *host) {
	if h.at == nowhere {
		h.at = joining
		r.joined = append(r.joined, h)
	}
}

// forget takes a machine out.
func (r *ring) forget(h *host) {
	switch {
	case h.at == joining:
		r.joined = slices.DeleteFunc(r.joined, func(x *host) bool { return x == h })
	case h.at >= 0:
		r.note(h.at)
		r.hosts[h.at] = nil
		r.free++
	}
	h.at = nowhere
}

// slack is how many machines stand together before a position is left free for
// one that joins: it moves few of the others then, and a set of machines is not much
// larger.
const slack = 8

// tidy gives new machines their positions.
func (r *ring) tidy() {
	switch {
	case len(r.joined) == 0 && r.free <= len(r.hosts)/2+1:
		return
	case len(r.joined) <= r.free && r.free <= len(r.hosts)/2+1:
		for len(r.joined) > 0 && r.insert(r.joined[0]) {
			r.joined = r.joined[1:]
		}
		if len(r.joined) == 0 {
			return
		}
	}
	r.rebuild()
}

// rebuild gives all machines new positions.
func (r *ring) rebuild() {
	all := slices.DeleteFunc(r.hosts, func(h *host) bool { return h == nil })
	all = append(all, r.joined...)
	slices.SortFunc(all, byRing)
	n := len(all) + len(all)/slack + 1
	r.hosts, r.keys, r.joined = make([]*host, 0, n), make([]uint64, 0, n), nil
	put := func(h *host, key uint64) {
		r.hosts, r.keys = append(r.hosts, h), append(r.keys, key)
	}
	for i, h := range all {
		h.at = int32(len(r.hosts))
		put(h, h.ring)
		if i%slack == slack-1 || i == len(all)-1 {
			put(nil, h.ring)
		}
	}
	r.free = len(r.hosts) - len(all)
	r.index()
	r.generation++
	r.drop()
}

// index makes begins.
func (r *ring) index() {
	r.shift = 64 - bits.Len(uint(len(r.keys)))
	r.begins = make([]int32, 1<<(64-r.shift))
	at := 0
	for i := range r.begins {
		for at < len(r.keys) && r.keys[at]>>r.shift < uint64(i) {
			at++
		}
		r.begins[i] = int32(at)
	}
}

// insert gives one machine a position, and moves those that are in its way to the
// nearest one that is free; false if that is far.
func (r *ring) insert(h *host) bool {
	at := r.from(h.ring) // where the first one stands that comes after it
	for at < len(r.hosts) && r.keys[at] == h.ring && (r.hosts[at] == nil || byRing(r.hosts[at], h) < 0) {
		at++
	}
	for far := range 8 * slack {
		if right := at + far; right < len(r.hosts) && r.hosts[right] == nil {
			for ; right > at; right-- {
				r.move(r.hosts[right-1], right)
			}
			r.move(h, at)
			return true
		}
		if left := at - 1 - far; left >= 0 && left < len(r.hosts) && r.hosts[left] == nil {
			for ; left < at-1; left++ {
				r.move(r.hosts[left+1], left)
			}
			r.move(h, at-1)
			return true
		}
	}
	return false
}

// move puts a machine in a position that is free, and keeps all that is kept by
// position.
func (r *ring) move(h *host, to int) {
	was := h.at
	r.hosts[to], r.keys[to], h.at = h, h.ring, int32(to)
	if was >= 0 {
		r.hosts[was] = nil
		r.note(was)
	} else {
		r.free--
	}
	r.note(h.at)
	for _, c := range r.classes {
		if c.generation == r.generation {
			c.allowed.put(h.at, c.allows(h))
		}
	}
	for _, s := range h.seats {
		if t := s.job.template; t != nil {
			t.move(h, was)
		}
		for _, list := range [...][]*pattern{s.job.wants, s.job.takes, s.job.known} {
			for _, g := range list {
				g.move(h, was)
			}
		}
	}
}

// note says that the load or openness of the machine in a position changed, or
// which one that is.
func (r *ring) note(at int32) {
	if at < 0 {
		return
	}
	// To read more than this costs more than to start over.
	if len(r.changes) > 2*len(r.hosts)+1000 {
		r.drop()
	}
	r.changes = append(r.changes, at)
}

func (r *ring) drop() {
	r.dropped += len(r.changes)
	r.changes = r.changes[:0]
}

// since gives what changed since somebody had read that many changes; false if
// it is not known any more.
func (r *ring) since(read int) ([]int32, bool) {
	if read < r.dropped {
		return nil, false
	}
	return r.changes[read-r.dropped:], true
}

// end is how many changes there ever were.
func (r *ring) end() int { return r.dropped + len(r.changes) }

// from gives the first position at or after a place on the ring of hashes.
func (r *ring) from(place uint64) int {
	if len(r.keys) == 0 {
		return 0
	}
	i := int(r.begins[place>>r.shift])
	for i > 0 && r.keys[i-1] >= place {
		i--
	}
	for i < len(r.keys) && r.keys[i] < place {
		i++
	}
	return i
}

func (r *ring) newSet() set { return make(set, (len(r.hosts)+63)/64) }

// What a machine has for a position while it has none.
const (
	nowhere = -1 - iota
	joining // in ring.joined
)

// fewMachines is ring.few: to go through so many costs what a set costs.
const fewMachines = 32
