package planner

import (
	"hash/maphash"

	"github.com/fleet-project/fleet/unit"
)

// roster finds units by their names, of which there may be a million. In a map of
// Go's, each would cost two pointers that the garbage collector follows to two
// random places, again and again. Here the table that is searched has none.
type roster struct {
	seed  maphash.Seed
	jobs  []*job // by job.number; nil where one is gone
	free  []int32
	table []entry // a power of two; a unit is at its hash, or after it
	used  int     // entries that are not empty
}

// entry is a unit's in the table.
type entry struct {
	tag    uint32 // of its hash
	number int32  // job.number and one; 0: empty, vacated: somebody was here
}

const vacated = -1

func newRoster(expected int) roster {
	r := roster{seed: maphash.MakeSeed(), jobs: make([]*job, 0, expected)}
	r.resize(expected)
	return r
}

// len is how many units there are.
func (r *roster) len() int { return len(r.jobs) - len(r.free) }

// get gives the unit of a name, or nil.
func (r *roster) get(name unit.Name) *job {
	hash := maphash.String(r.seed, string(name))
	for at := hash; ; at++ {
		e := r.table[at&uint64(len(r.table)-1)]
		if e.number == 0 {
			return nil
		}
		if e.tag == uint32(hash>>32) && e.number != vacated {
			if j := r.jobs[e.number-1]; j.name == name {
				return j
			}
		}
	}
}

// add takes a unit in whose name isn't here yet.
func (r *roster) add(j *job) {
	if last := len(r.free) - 1; last >= 0 {
		j.number = r.free[last]
		r.free = r.free[:last]
		r.jobs[j.number] = j
	} else {
		j.number = int32(len(r.jobs))
		r.jobs = append(r.jobs, j)
	}
	if 3*(r.used+1) > 2*len(r.table) {
		r.resize(2 * r.len()) // the new one with it
		return
	}
	r.enter(j)
}

func (r *roster) enter(j *job) {
	hash := maphash.String(r.seed, string(j.name))
	for at := hash; ; at++ {
		e := &r.table[at&uint64(len(r.table)-1)]
		if e.number > 0 {
			continue
		}
		if e.number == 0 {
			r.used++
		}
		*e = entry{tag: uint32(hash >> 32), number: j.number + 1}
		return
	}
}

// drop takes a unit out.
func (r *roster) drop(j *job) {
	hash := maphash.String(r.seed, string(j.name))
	for at := hash; ; at++ {
		if e := &r.table[at&uint64(len(r.table)-1)]; e.number == j.number+1 {
			e.number = vacated
			break
		}
	}
	r.jobs[j.number] = nil
	r.free = append(r.free, j.number)
}

// resize makes the table anew, with room for that many.
func (r *roster) resize(n int) {
	size := 16
	for 2*size < 3*n+3 {
		size *= 2
	}
	r.table, r.used = make([]entry, size), 0
	for _, j := range r.jobs {
		if j != nil {
			r.enter(j)
		}
	}
}
