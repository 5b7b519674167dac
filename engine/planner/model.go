package planner

import (
	"cmp"
	"slices"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// job is a unit: what the user wants of it, and where it is. There may be a
// million: what few have is in bonds.
type job struct {
	name     unit.Name
	ring     uint64    // hashOf(name)
	template *template // nil unless it is an instance

	rec  *record.Unit       // nil: the cluster has no such unit, only traces of it; never changed, for others share it
	file *file              // the text that rec names; nil if and only if rec is nil
	req  *unit.Requirements // of file; never nil, and empty while reqErr is not nil

	class *class // of req.Metadata; nil while file is
	*bonds

	seats []*seat  // sorted by machine; each has a spec or a state
	first [1]*seat // what seats begins in

	number   int32 // in the roster
	fileAt   int32 // index in file.jobs
	vanished bool  // rec is not nil, but its key is gone: to be restored
	stale    bool  // req and the patterns are to be read anew before the next look
	// waiting: wanted and looked at, but not on every machine where it could
	// be. Such units are woken by the machine that opens.
	waiting bool
	queued  bool // in Planner.queue
	full    bool // to be looked at whatever opened
	warned  bool // an unknown unit that runs has been reported
	gone    bool // no longer in Planner.jobs
}

// bonds are what ties a unit to others, and what only those have that are tied or
// wait. All units without any have the same: write through job.own.
type bonds struct {
	unbound bool // these are the ones of all that have none

	wants []*pattern // req.Conflicts
	takes []*pattern // req.Replaces
	known []*pattern // all patterns, of whichever unit, that match the name
	// followers are the units whose MachineOf names this one, as in
	// Planner.followers.
	followers map[*job]struct{}

	reqErr error // why req is not known: nothing new is placed
	// claim is the machine that a unit with Replaces has chosen, while those
	// it replaces are leaving it. Not stored: another leader chooses again.
	claim  *host
	opened []*host // unless job.full: what opened since the unit found no place
}

// own gives the unit's bonds to be written to.
func (j *job) own() *bonds {
	if j.unbound {
		j.bonds = &bonds{}
	}
	return j.bonds
}

func (j *job) wanted() bool { return j.rec != nil && j.rec.Target.Wanted() }

// global reports whether each machine is to be decided on its own.
func (j *job) global() bool { return j.wanted() && j.reqErr == nil && j.req.Global }

// spec is what a machine is to be told.
func (j *job) spec(h *host) record.Spec {
	return record.Spec{Target: j.rec.Target, File: j.rec.File, Restart: j.rec.RestartCount(h.id)}
}

func (j *job) search(id machine.ID) (int, bool) {
	// A global unit gets its seats in order.
	if last := len(j.seats) - 1; last < 0 || j.seats[last].host.id < id {
		return last + 1, false
	}
	return slices.BinarySearchFunc(j.seats, id, func(s *seat, id machine.ID) int {
		return cmp.Compare(s.host.id, id)
	})
}

// on gives the unit's seat on a machine, or nil. Hardly a unit has more than one
// or two.
func (j *job) on(h *host) *seat {
	if len(j.seats) > 4 {
		if i, ok := j.search(h.id); ok {
			return j.seats[i]
		}
		return nil
	}
	for _, s := range j.seats {
		if s.host == h {
			return s
		}
	}
	return nil
}

// held gives the seats on live machines that the unit is placed in.
func (j *job) held() []*seat {
	var out []*seat
	for _, s := range j.seats {
		if s.counted == held && s.host.live() {
			out = append(out, s)
		}
	}
	return out
}

// presence is what a seat means to other units.
type presence uint8

const (
	away    presence = iota
	leaving          // it may still run there, but is not to stay
	held             // placed there
)

// seat is one unit on one machine: what the machine is told, and what it says.
//
// There are as many as units, or more: hence the order of the fields, and that
// specs, which are never changed, are shared.
type seat struct {
	job  *job
	host *host
	spec *record.Spec // as it will be in etcd once all that was decided is committed
	says *record.Spec // what the machine has carried out; of systemd's account nothing depends
	// sent is what was decided last and has not come back yet, or nil.
	sent *record.Spec
	more *remarks // nil for nearly all

	index int32 // in host.seats
	slot  int32 // in the draft that last decided on it

	placed bool // spec is valid
	lost   bool // placed, but the key vanished by hand: to be written anew
	said   bool // says is valid
	// forgotten: said, but the state's key was deleted by us; it counts as
	// nothing, except that the unit can't come back here before the deletion
	// has been seen.
	forgotten bool
	counted   presence // as the tallies, loads and templates have it
}

// remarks are what hardly a seat has.
type remarks struct {
	trouble string // why the machine could not carry out what it says
	// before is what was decided before seat.sent and has not come back either,
	// in order: old news when it comes.
	before []*record.Spec
}

// remarks gives the seat's own, to be written to.
func (s *seat) remarks() *remarks {
	if s.more == nil {
		s.more = &remarks{}
	}
	return s.more
}

// trouble is why the machine could not carry out what it says.
func (s *seat) trouble() string {
	if s.more == nil {
		return ""
	}
	return s.more.trouble
}

func (s *seat) setTrouble(why string) {
	if why != s.trouble() {
		s.remarks().trouble = why
	}
}

// before is how many values come back before s.sent.
func (s *seat) before() int {
	if s.more == nil {
		return 0
	}
	return len(s.more.before)
}

func (s *seat) key() record.Key { return record.Key{Machine: s.host.id, Unit: s.job.name} }

// withdrawn: told to stop, whether or not it has.
func (s *seat) withdrawn() bool { return s.placed && s.spec.Target == unit.TargetNone }

// acknowledged: the machine says that the unit is gone from it.
func (s *seat) acknowledged() bool {
	return s.said && !s.forgotten && s.says.Target == unit.TargetNone
}

// stray: the machine runs it without having been told.
func (s *seat) stray() bool { return !s.placed && s.runs() }

func (s *seat) runs() bool { return s.said && !s.forgotten && s.says.Target.Wanted() }

func (s *seat) presence() presence {
	switch {
	case s.placed && s.spec.Target != unit.TargetNone:
		return held
	case s.placed, s.runs():
		return leaving
	}
	return away
}

// host is a machine, present or not.
type host struct {
	id    machine.ID
	ring  uint64           // hashOf(id)
	rec   *machine.Machine // nil while it is absent
	over  record.Overrides
	meta  map[string]string // rec's metadata with over applied
	seats []*seat           // in no order
	// claims are the units that wait for others to make way for them here.
	claims map[*job]struct{}
	// missing: absent, but not to be given up before that time. Zero for a
	// machine that is live, or known to be lost.
	missing time.Time

	open bool  // new units may be placed here
	at   int32 // its position on the ring, or why it has none
	load int   // seats that are held
}

func (h *host) live() bool { return h.rec != nil }

func (p *Planner) job(name unit.Name) *job {
	j := p.jobs.get(name)
	if j == nil {
		j = &job{name: name, ring: hashOf(string(name)), req: p.nothing, bonds: p.unbound}
		j.seats = j.first[:0]
		if t, ok := name.Template(); ok {
			j.template = p.useTemplate(t)
		}
		if len(p.followers) > 0 && p.followers[name] != nil {
			j.own().followers = p.followers[name]
		}
		p.jobs.add(j)
		p.names.add(j)
		p.patterns.introduce(j)
	}
	return j
}

// dropJob forgets a unit that nothing is known of any more.
func (p *Planner) dropJob(j *job) {
	if j.rec != nil || len(j.seats) > 0 {
		return
	}
	p.rest(j)
	p.patterns.retire(j)
	j.gone = true
	p.names.drop()
	p.jobs.drop(j)
	if j.template != nil {
		p.leaveTemplate(j.template)
	}
}

func (p *Planner) host(id machine.ID) *host {
	h := p.hosts[id]
	if h == nil {
		h = &host{id: id, ring: hashOf(string(id)), at: nowhere}
		p.hosts[id] = h
		short := id.Short()
		p.short[short] = append(p.short[short], h)
	}
	return h
}

// dropHost forgets a machine that is absent and holds nothing.
func (p *Planner) dropHost(h *host) {
	if h.live() || len(h.seats) > 0 || len(h.claims) > 0 || h.over.Cordoned || h.over.Metadata != nil || h.over.Removed != nil {
		return
	}
	p.classes.ring.forget(h)
	delete(p.hosts, h.id)
	short := h.id.Short()
	p.short[short] = slices.DeleteFunc(p.short[short], func(x *host) bool { return x == h })
	if len(p.short[short]) == 0 {
		delete(p.short, short)
	}
}

// seat finds or makes the seat of a unit on a machine.
func (p *Planner) seat(j *job, h *host) *seat {
	i, ok := j.search(h.id)
	if ok {
		return j.seats[i]
	}
	s := &seat{job: j, host: h, spec: p.blank, says: p.blank, index: int32(len(h.seats))}
	j.seats = slices.Insert(j.seats, i, s)
	h.seats = append(h.seats, s)
	return s
}

func (h *host) dropSeat(s *seat) {
	last := len(h.seats) - 1
	x := h.seats[last]
	h.seats[s.index], x.index = x, s.index
	h.seats[last] = nil
	h.seats = h.seats[:last]
}

// touched must be called after anything changed in a seat: it keeps the
// indexes, wakes those whom it concerns, and drops a seat that has nothing in
// it.
func (p *Planner) touched(s *seat) {
	was, is := s.counted, s.presence()
	if was != is {
		s.counted = is
		p.patterns.count(s, was, -1)
		p.patterns.count(s, is, +1)
		if (was == held) != (is == held) {
			p.reload(s, is == held)
			for f := range s.job.followers {
				p.mark(f)
			}
		}
		if is == held {
			for c := range s.host.claims {
				p.mark(c) // this one may keep it away
			}
		}
		if is < was {
			p.freed(s, is)
		}
	}
	if !s.placed && !s.said {
		if i, ok := s.job.search(s.host.id); ok {
			s.job.seats = slices.Delete(s.job.seats, i, i+1)
		}
		s.host.dropSeat(s)
		p.markSeat(s)
		p.dropHost(s.host)
	}
}

// freed wakes the units that a seat kept away from its machine.
func (p *Planner) freed(s *seat, is presence) {
	wake := func(list []*pattern) {
		for _, g := range list {
			for w := range g.waiters {
				if w != s.job {
					p.markAt(w, s.host)
				}
			}
		}
	}
	wake(s.job.takes) // these keep others away only while they are placed
	if is == away {
		wake(s.job.wants)
		wake(s.job.known)
	}
}
