package simulation

import (
	"cmp"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
)

// Behaviour is what a unit does when systemd runs it.
type Behaviour struct {
	Start, Stop time.Duration // how long each takes
	// Refuses is how many starts of a hundred fail, after Start.
	Refuses int
	// Life is how long a run lasts on average until it fails by itself; 0: for ever.
	Life time.Duration
	// Restarts: systemd starts it again when it has failed (Restart=always).
	Restarts bool
	// Simple: it is active as soon as its process is there (Type=simple).
	Simple bool
}

// autoRestart is systemd's RestartSec=.
const autoRestart = 100 * time.Millisecond

// machineSystemd is the model of one boot's systemd. Its calls take effect at
// once, in whoever's turn it is; its jobs take their time.
type machineSystemd struct {
	id      machine.ID
	boot    machine.BootID
	rand    *rand.Rand
	witness Witness
	behave  func(text []byte) Behaviour
	fault   func(call string) error // asked before each call; it may panic

	now     time.Time
	events  []event // by time; of equal times the first comes first
	runs    int
	units   map[unit.Name]*service
	foreign map[unit.Name]bool
	away    bool // nobody can reach it

	watched map[unit.Name]bool
	changed chan struct{}
	changes systemd.Changes
}

// event is what happens to a unit, unless something else happened to it before.
type event struct {
	at   time.Time
	unit *service
	age  int
	do   func()
}

// service is one unit, as systemd knows it.
type service struct {
	name   unit.Name
	file   []byte // on disk, nil if there is none
	loaded []byte // in memory
	does   Behaviour
	age    int // grows with what happens to it

	active, sub, result string
	run                 *Instance // its processes
	invocation          string    // of the latest run
	again               bool      // to be started when it has stopped
	jobs                []chan string
}

func newMachineSystemd(opts HostOptions) *machineSystemd {
	return &machineSystemd{
		id: opts.Machine.ID, boot: opts.Machine.BootID, rand: opts.Rand, witness: opts.Witness, behave: opts.Behave,
		fault: func(string) error { return nil },
		units: map[unit.Name]*service{}, foreign: map[unit.Name]bool{},
		watched: map[unit.Name]bool{}, changed: make(chan struct{}, 1),
	}
}

func (s *machineSystemd) get(name unit.Name) *service {
	u := s.units[name]
	if u == nil {
		u = &service{name: name, active: "inactive", sub: "dead"}
		s.units[name] = u
	}
	return u
}

// after has something happen to a unit, unless something else does before.
func (s *machineSystemd) after(u *service, d time.Duration, do func()) {
	e := event{at: s.now.Add(d), unit: u, age: u.age, do: do}
	i, _ := slices.BinarySearchFunc(s.events, e, func(a, b event) int {
		return cmp.Or(a.at.Compare(b.at), -1) // behind its equals
	})
	s.events = slices.Insert(s.events, i, e)
}

// advance lets happen what is due, one thing after the other; it reports whether
// something did, and when the next is due.
func (s *machineSystemd) advance(now time.Time) (happened bool, next time.Time) {
	for len(s.events) > 0 {
		e := s.events[0]
		switch {
		case e.age != e.unit.age: // overtaken
		case e.at.After(now):
			s.now = now
			return happened, e.at
		default:
			s.now, happened = e.at, true
			s.events = s.events[1:]
			e.do()
			continue
		}
		s.events = s.events[1:]
	}
	s.now = now
	return happened, time.Time{}
}

// delay has all that is to happen happen so much later.
func (s *machineSystemd) delay(d time.Duration) {
	for i := range s.events {
		s.events[i].at = s.events[i].at.Add(d)
	}
}

// become changes a unit's state and signals it.
func (s *machineSystemd) become(u *service, active, sub, result string) {
	u.age++
	u.active, u.sub, u.result = active, sub, result
	s.signal(u)
}

func (s *machineSystemd) signal(u *service) {
	if !s.watched[u.name] || s.away {
		return
	}
	if s.changes.States == nil {
		s.changes.States = map[unit.Name]systemd.State{}
	}
	s.changes.States[u.name] = u.state()
	s.notify()
}

func (s *machineSystemd) notify() {
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

func (u *service) state() systemd.State {
	st := systemd.State{SystemdState: unit.SystemdState{Load: "loaded", Active: u.active, Sub: u.sub, Result: u.result}, Job: len(u.jobs) > 0}
	if u.file == nil && u.loaded == nil {
		st.Load = "not-found"
	}
	return st
}

// ended ends a unit's jobs. The signal of its state comes before.
func (s *machineSystemd) ended(u *service, result string) {
	jobs := u.jobs
	u.jobs = nil
	s.signal(u)
	for _, j := range jobs {
		j <- result
		close(j)
	}
}

// fork begins a run.
func (s *machineSystemd) fork(u *service) {
	if u.loaded == nil {
		u.loaded = u.file
	}
	u.does = s.behave(u.loaded)
	s.runs++
	u.invocation = fmt.Sprintf("%s-%s-%d", s.id.Short(), s.boot, s.runs)
	u.run = &Instance{Machine: s.id, Unit: u.name, Invocation: u.invocation, File: unit.HashOf(u.loaded), Since: s.now}
	s.witness.Began(*u.run)
	if u.does.Simple {
		s.become(u, "active", "running", "")
		s.ended(u, systemd.JobDone)
		if s.rand.IntN(100) < u.does.Refuses {
			s.after(u, u.does.Start, func() { s.fails(u, "exit-code") })
			return
		}
		s.lives(u)
		return
	}
	s.become(u, "activating", "start", "")
	s.after(u, u.does.Start, func() {
		if s.rand.IntN(100) < u.does.Refuses {
			s.fails(u, "exit-code")
			s.ended(u, systemd.JobFailed)
			return
		}
		s.become(u, "active", "running", "")
		s.ended(u, systemd.JobDone)
		s.lives(u)
	})
}

// lives decides when the run fails by itself.
func (s *machineSystemd) lives(u *service) {
	if u.does.Life > 0 {
		s.after(u, time.Duration(s.rand.ExpFloat64()*float64(u.does.Life)), func() { s.fails(u, "exit-code") })
	}
}

// dies ends a run: its last process is gone.
func (s *machineSystemd) dies(u *service) {
	if u.run != nil {
		s.witness.Ended(*u.run, s.now)
		u.run = nil
	}
}

// fails ends a run that nobody stopped.
func (s *machineSystemd) fails(u *service, why string) {
	s.dies(u)
	if !u.does.Restarts {
		s.become(u, "failed", "failed", why)
		return
	}
	s.become(u, "activating", "auto-restart", why)
	s.after(u, autoRestart, func() { s.fork(u) })
}

// stops begins a run's end, and gives what comes after it its turn.
func (s *machineSystemd) stops(u *service) {
	s.become(u, "deactivating", "stop-sigterm", "")
	s.after(u, u.does.Stop, func() { s.down(u) })
}

// down is when a unit that is being stopped has stopped.
func (s *machineSystemd) down(u *service) {
	s.dies(u)
	s.become(u, "inactive", "dead", "")
	if u.again {
		u.again = false
		s.fork(u)
		return
	}
	u.loaded = nil
	s.ended(u, systemd.JobDone)
}

// off kills all that runs.
func (s *machineSystemd) off(now time.Time) {
	s.now = now
	for _, name := range slices.Sorted(maps.Keys(s.units)) {
		s.dies(s.units[name])
	}
	s.events = nil
}

// disconnect loses the connection to systemd, or has it back.
func (s *machineSystemd) disconnect(away bool) {
	s.away = away
	if !away {
		s.changes.Resync = true
		s.notify()
		return
	}
	for _, name := range slices.Sorted(maps.Keys(s.units)) {
		u := s.units[name]
		for _, j := range u.jobs {
			close(j)
		}
		u.jobs = nil
	}
}

func (s *machineSystemd) running() []Instance {
	var out []Instance
	for _, name := range slices.Sorted(maps.Keys(s.units)) {
		if u := s.units[name]; u.run != nil {
			out = append(out, *u.run)
		}
	}
	return out
}
