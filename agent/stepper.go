package agent

import (
	"context"
	"time"

	"github.com/fleet-project/fleet/registry"
)

// Stepper is an agent without goroutines, for whoever owns its time: a
// simulation. It is the agent that Run is, core, operations and records; but its
// loop turns when the owner has it Step, and what the loop leaves to others is the
// owner's to do. It never looks at a clock.
//
// An owner that drops a Stepper has killed fleetd with SIGKILL. To kill it in the
// middle of an operation, panic in a call of Systemd, Records or Presence, recover
// from it, and drop the Stepper.
type Stepper struct {
	agent *Agent

	now       time.Time
	beside    func(op func())       // does an operation; nil: Step does
	begun     []func()              // operations for Step to do
	posted    []func(now time.Time) // for the loop
	awaited   []awaitedJob
	following uint64
}

type awaitedJob struct {
	end  <-chan string
	then func(now time.Time, ending string)
}

// NewStepper takes over what an earlier agent has left, as Run does. Of Options it
// needs Uptime, for units that say Isolation=stop; Clock is not looked at. Without
// a Registry it is what Guard runs: it follows nothing, and stops those units
// before the lease that an earlier fleetd has left can end.
//
// An operation may call Systemd, Presence and Registry, and wait there: beside is
// to have it done in a task of its own, in the same goroutine or in one that runs
// while the owner waits, and to Step again after its end. Nil: Step does the
// operations, one after the other.
func NewStepper(opts Options, now time.Time, beside func(op func())) (*Stepper, error) {
	s := &Stepper{now: now, beside: beside}
	opts.Clock = stepClock{s}
	if opts.Registry == nil {
		s.agent = guarding(opts, assemble)
	} else {
		s.agent = assemble(opts)
	}
	a := s.agent
	a.driver = s
	a.life, a.opLife = context.Background(), context.Background()
	if a.opts.Registry != nil { // as Run does
		_ = a.takeOver(a.life)
	}
	if err := a.restore(a.life); err != nil {
		return nil, err
	}
	if a.opts.Registry != nil {
		a.followAnew(nil)
	}
	return s, nil
}

// Following numbers the following of the schedule that the agent wants. When it
// has grown, the schedule is to be followed anew, from a snapshot that is taken
// after that. It is 0 while guarding.
func (s *Stepper) Following() uint64 { return s.following }

// Follow hands in what FollowMachine gives to the following of that number; those
// of an earlier one are ignored. The agent acts on it in the next Step. It keeps
// nothing of u.
func (s *Stepper) Follow(following uint64, u registry.Update) {
	if following != s.following {
		return
	}
	if take := s.agent.updated(s.agent.follower, u); take != nil {
		s.posted = append(s.posted, take)
	}
}

// Step takes in what has happened, and does all that is to be done about it now.
// It gives when to step again though nothing happens; zero: never.
func (s *Stepper) Step(now time.Time) (wake time.Time) {
	a := s.agent
	s.now = now
	for {
		select {
		case <-a.sys.Changed():
			a.take()
		default:
		}
		s.reap()
		for len(s.posted) > 0 {
			f := s.posted[0]
			s.posted = s.posted[1:]
			f(now)
		}
		wake = a.turn(now)
		if len(s.begun) == 0 && len(s.posted) == 0 {
			return wake
		}
		begun := s.begun
		s.begun = nil
		for _, f := range begun {
			f()
		}
	}
}

// reap takes note of the jobs that have ended.
func (s *Stepper) reap() {
	waiting := s.awaited[:0]
	for _, j := range s.awaited {
		select {
		case ending := <-j.end:
			s.posted = append(s.posted, func(now time.Time) { j.then(now, ending) })
		default:
			waiting = append(waiting, j)
		}
	}
	clear(s.awaited[len(waiting):])
	s.awaited = waiting
}

// Health says why the agent doesn't follow its schedule; nil if it does.
func (s *Stepper) Health() error { return s.agent.Health() }

// Units is how many units fleet has on this host.
func (s *Stepper) Units() int { return s.agent.Units() }

// StopAll has the agent take all units away from now on, whatever the schedule
// says: what Leave does when the cluster can't, and Abandon.
func (s *Stepper) StopAll() {
	s.posted = append(s.posted, func(time.Time) { s.agent.core.leave() })
}

// Empty reports whether nothing of fleet's is left on this host, and others have
// been told.
func (s *Stepper) Empty() bool { return s.agent.empty() }

// A Stepper is its agent's driver.

func (s *Stepper) operate(op func()) {
	if s.beside != nil {
		s.beside(op)
		return
	}
	s.begun = append(s.begun, op)
}

func (s *Stepper) post(f func(now time.Time))       { s.posted = append(s.posted, f) }
func (s *Stepper) follow(*follower) (cancel func()) { s.following++; return func() {} }
func (s *Stepper) await(end <-chan string, then func(now time.Time, ending string)) {
	s.awaited = append(s.awaited, awaitedJob{end, then})
}

// stepClock stands still but for the owner's steps. Nobody waits by it.
type stepClock struct{ *Stepper }

func (c stepClock) Now() time.Time                     { return c.now }
func (stepClock) After(time.Duration) <-chan time.Time { return nil }
