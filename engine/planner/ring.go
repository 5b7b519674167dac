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
	hosts []*host  // by position; nil where one was forgotten
	keys  []uint64 // their place on the ring of hashes
	// begins has the first position at or after every part of the ring of hashes,
	// which are as many as 1<<(64-shift): about one for each machine.
	begins []int32
	shift  int
	// generation changes with the positions: what is kept by position is void.
	generation int
	joined     []*host // to be given a position
	forgotten  int     // positions that hold nobody

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
		r.note(h)
		r.hosts[h.at] = nil
		r.forgotten++
	}
	h.at = nowhere
}

// tidy gives new machines their positions, which moves the others.
func (r *ring) tidy() {
	if len(r.joined) == 0 && r.forgotten <= len(r.hosts)/2 {
		return
	}
	all := slices.DeleteFunc(r.hosts, func(h *host) bool { return h == nil })
	all = append(all, r.joined...)
	slices.SortFunc(all, byRing)
	r.hosts, r.joined, r.forgotten = all, nil, 0
	r.keys = r.keys[:0]
	for i, h := range all {
		h.at = int32(i)
		r.keys = append(r.keys, h.ring)
	}
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

// note says that a machine's load or openness changed.
func (r *ring) note(h *host) {
	if h.at < 0 {
		return
	}
	// To read more than this costs more than to start over.
	if len(r.changes) > 2*len(r.hosts)+1000 {
		r.drop()
	}
	r.changes = append(r.changes, h.at)
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

// set is a set of machines, by position. A nil one is empty.
type set []uint64

func (s set) has(at int32) bool { return s != nil && s[at>>6]>>(at&63)&1 != 0 }

func (s set) put(at int32, in bool) {
	if in {
		s[at>>6] |= 1 << (at & 63)
	} else {
		s[at>>6] &^= 1 << (at & 63)
	}
}

// walk calls do with each position of s that is in only (unless that is nil) and
// in neither of the others, in the ring's order from a position on, until it
// returns true.
func (s set) walk(from int, only, not, nor set, do func(at int) bool) bool {
	n := len(s)
	if n == 0 {
		return false
	}
	if from >= 64*n {
		from = 0
	}
	before := uint64(1)<<(from&63) - 1
	for i := range n + 1 {
		at := from/64 + i
		if at >= n {
			at -= n
		}
		w := s[at]
		if w == 0 {
			continue
		}
		if only != nil {
			w &= only[at]
		}
		if not != nil {
			w &^= not[at]
		}
		if nor != nil {
			w &^= nor[at]
		}
		// The word that it begins in comes twice: its end first.
		switch i {
		case 0:
			w &^= before
		case n:
			w &= before
		}
		for ; w != 0; w &= w - 1 {
			if do(at*64 + bits.TrailingZeros64(w)) {
				return true
			}
		}
	}
	return false
}
