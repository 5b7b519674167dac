package engine

import (
	"slices"
	"sync"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// census counts the cluster as a leader sees it, for the metrics: the leader
// tells it every change, a scrape reads the sums. Its cost follows what changes.
type census struct {
	ended func(cause, time.Duration) // told when a unit that was waited for is active

	mu       sync.Mutex
	loading  bool // a snapshot comes next: nothing in it is new
	units    map[unit.Name]*counted
	machines map[machine.ID]*host
	sums     sums
	waits    map[unit.Name]wait
}

// sums are what a scrape reads.
type sums struct {
	units    map[unitClass]int
	active   map[string]int // seats with a state, by systemd's word
	errors   int            // seats whose instruction the machine can't carry out
	unplaced map[string]int
	machines map[string]int
}

// unitClass is what is wanted of a unit, and what was carried out.
type unitClass struct{ desired, current unit.Target }

// Why a unit that is wanted has no machine.
const (
	unplacedNowhere = "fits_nowhere"   // placed on none
	unplacedAbsent  = "machine_absent" // placed on machines that are away
)

// What a machine may be.
const (
	machineReady    = "ready"
	machineCordoned = "cordoned" // keeps what it has, gets nothing new
	machineLeaving  = "leaving"  // hands its units over
	machineAbsent   = "absent"   // away, and units are still placed on it
)

// counted is a unit with all that machines are told and say of it.
type counted struct {
	rec   *record.Unit // nil: only traces of it
	seats map[machine.ID]*seat
	// How many seats are wanted on machines that are there, and on others; and
	// how many have launched or loaded it.
	placed, absent, launched, loaded int
}

// seat is a unit on a machine.
type seat struct {
	told  unit.Target // empty: nothing
	state *record.State
}

// host is a machine that is there, or that something is placed on.
type host struct {
	rec   *machine.Machine // nil: absent
	over  record.Overrides
	units map[unit.Name]bool // that have a seat here
	told  int                // seats that are wanted here
}

func newCensus(ended func(cause, time.Duration)) *census {
	c := &census{ended: ended, waits: map[unit.Name]wait{}}
	c.clear()
	return c
}

func (c *census) clear() {
	c.units, c.machines = map[unit.Name]*counted{}, map[machine.ID]*host{}
	c.sums = sums{units: map[unitClass]int{}, active: map[string]int{}, unplaced: map[string]int{}, machines: map[string]int{}}
}

// restart has the next changes be a snapshot: all is counted anew from it. Who
// waits for a unit still does.
func (c *census) restart() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.loading = true
}

// note takes changes over.
func (c *census) note(now time.Time, changes []record.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.loading {
		c.clear()
	}
	for _, ch := range changes {
		c.apply(now, ch)
	}
	if !c.loading {
		return
	}
	c.loading = false
	for name := range c.waits {
		if u := c.units[name]; u == nil || u.desired() != unit.TargetLaunched {
			delete(c.waits, name)
		}
	}
}

func (c *census) apply(now time.Time, ch record.Change) {
	switch ch := ch.(type) {
	case record.UnitChange:
		u := c.unit(ch.Name)
		c.count(u, -1)
		old := u.rec
		u.rec = ch.New
		c.count(u, +1)
		c.wished(now, ch.Name, u, old)
		c.drop(ch.Name, u)
	case record.PlacementChange:
		var told unit.Target
		if ch.New != nil {
			told = ch.New.Target
		}
		c.change(now, ch.Key, func(s *seat) { s.told = told })
	case record.StateChange:
		c.change(now, ch.Key, func(s *seat) { s.state = ch.New })
	case record.MachineChange:
		c.machine(now, ch.ID, func(h *host) { h.rec = ch.New })
	case record.OverridesChange:
		over := record.Overrides{}
		if ch.New != nil {
			over = *ch.New
		}
		c.machine(now, ch.ID, func(h *host) { h.over = over })
	}
}

// change makes a change to one seat.
func (c *census) change(now time.Time, key record.Key, f func(*seat)) {
	u, h := c.unit(key.Unit), c.host(key.Machine)
	c.count(u, -1)
	c.countHost(h, -1)
	had := u.placed
	s := u.seats[key.Machine]
	if s == nil {
		s = &seat{}
		u.seats[key.Machine], h.units[key.Unit] = s, true
	}
	c.sit(u, h, s, -1)
	f(s)
	c.sit(u, h, s, +1)
	if s.told == "" && s.state == nil {
		delete(u.seats, key.Machine)
		delete(h.units, key.Unit)
	}
	c.countHost(h, +1)
	c.count(u, +1)
	c.displaced(now, key.Unit, u, had)
	c.arrived(now, key.Unit, u, key.Machine, h, s)
	c.drop(key.Unit, u)
	c.dropHost(key.Machine, h)
}

// machine makes a change to a machine: its seats may count differently.
func (c *census) machine(now time.Time, id machine.ID, f func(*host)) {
	h := c.host(id)
	was := h.rec != nil
	after := *h
	f(&after)
	moved := was != (after.rec != nil)
	c.countHost(h, -1)
	had := map[unit.Name]int{}
	if moved {
		for name := range h.units {
			u := c.units[name]
			had[name] = u.placed
			c.count(u, -1)
			c.sit(u, h, u.seats[id], -1)
		}
	}
	h.rec, h.over = after.rec, after.over
	if moved {
		for name := range h.units {
			u := c.units[name]
			c.sit(u, h, u.seats[id], +1)
			c.count(u, +1)
			c.displaced(now, name, u, had[name])
			c.arrived(now, name, u, id, h, u.seats[id])
		}
	}
	c.countHost(h, +1)
	c.dropHost(id, h)
}

// sit adds a seat to what its unit and the cluster have of its kind, or takes
// it off.
func (c *census) sit(u *counted, h *host, s *seat, n int) {
	if s.told.Wanted() {
		h.told += n
		if h.rec != nil {
			u.placed += n
		} else {
			u.absent += n
		}
	}
	if s.state == nil || s.state.Target == unit.TargetNone {
		return
	}
	switch s.state.Target {
	case unit.TargetLaunched:
		u.launched += n
	case unit.TargetLoaded:
		u.loaded += n
	}
	c.sums.active[activeWord(s.state.Active)] += n
	if s.state.Error != "" {
		c.sums.errors += n
	}
}

// count adds a unit to the sums, or takes it off.
func (c *census) count(u *counted, n int) {
	if u.rec == nil {
		return
	}
	c.sums.units[unitClass{u.desired(), u.current()}] += n
	switch {
	case !u.rec.Target.Wanted() || u.placed > 0:
	case u.absent > 0:
		c.sums.unplaced[unplacedAbsent] += n
	default:
		c.sums.unplaced[unplacedNowhere] += n
	}
}

func (c *census) countHost(h *host, n int) {
	switch {
	case h.rec == nil && h.told > 0:
		c.sums.machines[machineAbsent] += n
	case h.rec == nil:
	case h.rec.Leaving:
		c.sums.machines[machineLeaving] += n
	case h.over.Cordoned:
		c.sums.machines[machineCordoned] += n
	default:
		c.sums.machines[machineReady] += n
	}
}

func (u *counted) desired() unit.Target {
	if u.rec == nil {
		return ""
	}
	return u.rec.Target
}

func (u *counted) current() unit.Target {
	switch {
	case u.launched > 0:
		return unit.TargetLaunched
	case u.loaded > 0:
		return unit.TargetLoaded
	}
	return unit.TargetInactive
}

// activeOther stands for what is no word of systemd's.
const activeOther = "other"

// activeWord bounds what may become a label: a state is what a host says.
func activeWord(s string) string {
	if slices.Contains(unit.ActiveStates(), s) {
		return s
	}
	return activeOther
}

func (c *census) unit(name unit.Name) *counted {
	u := c.units[name]
	if u == nil {
		u = &counted{seats: map[machine.ID]*seat{}}
		c.units[name] = u
	}
	return u
}

func (c *census) drop(name unit.Name, u *counted) {
	if u.rec == nil && len(u.seats) == 0 {
		delete(c.units, name)
	}
}

func (c *census) host(id machine.ID) *host {
	h := c.machines[id]
	if h == nil {
		h = &host{units: map[unit.Name]bool{}}
		c.machines[id] = h
	}
	return h
}

func (c *census) dropHost(id machine.ID, h *host) {
	if h.rec == nil && len(h.units) == 0 && !h.over.Cordoned {
		delete(c.machines, id)
	}
}
