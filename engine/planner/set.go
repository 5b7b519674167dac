package planner

import "math/bits"

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
