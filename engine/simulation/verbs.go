package simulation

import (
	"context"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/unit"
)

// call is the way into each call.
func (s *machineSystemd) call(what string) error {
	if err := s.fault(what); err != nil {
		return err
	}
	if s.away {
		return systemd.ErrDisconnected
	}
	return nil
}

// job gives a unit a job, in the place of the one that it has: of another kind,
// that is cancelled.
func (u *service) job(same bool) <-chan string {
	if !same {
		for _, j := range u.jobs {
			j <- systemd.JobCanceled
			close(j)
		}
		u.jobs = nil
	}
	j := make(chan string, 1)
	u.jobs = append(u.jobs, j)
	return j
}

// The methods that the agent calls.

func (s *machineSystemd) Start(_ context.Context, name unit.Name) (<-chan string, error) {
	return s.start("start", name, false)
}

func (s *machineSystemd) Restart(_ context.Context, name unit.Name) (<-chan string, error) {
	return s.start("restart", name, true)
}

func (s *machineSystemd) start(verb string, name unit.Name, anew bool) (<-chan string, error) {
	if err := s.call(verb); err != nil {
		return nil, err
	}
	u := s.get(name)
	if u.file == nil && u.loaded == nil {
		return nil, &systemd.RefusedError{Verb: verb, Unit: name, Code: "org.freedesktop.systemd1.NoSuchUnit", Message: "Unit " + string(name) + " not found."}
	}
	switch u.active {
	case "inactive", "failed":
		done := u.job(true)
		s.fork(u)
		return done, nil
	case "deactivating":
		u.again = true
		return u.job(false), nil
	case "active":
		if !anew {
			done := u.job(true)
			s.ended(u, systemd.JobDone)
			return done, nil
		}
	case "activating":
		if u.run == nil { // between two runs
			u.age++
			done := u.job(true)
			s.fork(u)
			return done, nil
		}
		if !anew {
			return u.job(true), nil
		}
	}
	done := u.job(false)
	u.again = true
	s.stops(u)
	return done, nil
}

func (s *machineSystemd) Stop(_ context.Context, name unit.Name) (<-chan string, error) {
	if err := s.call("stop"); err != nil {
		return nil, err
	}
	u := s.get(name)
	done := u.job(u.active == "deactivating" && !u.again)
	u.again = false
	switch {
	case u.active == "deactivating":
	case u.run != nil:
		s.stops(u)
	case u.active == "failed":
		s.ended(u, systemd.JobDone)
	default:
		s.down(u)
	}
	return done, nil
}

func (s *machineSystemd) Kill(_ context.Context, name unit.Name) error {
	if err := s.call("kill"); err != nil {
		return err
	}
	s.kill(s.get(name))
	return nil
}

func (s *machineSystemd) kill(u *service) {
	switch {
	case u.run == nil:
	case u.active == "deactivating":
		s.down(u)
	default:
		s.fails(u, "signal")
		if len(u.jobs) > 0 && u.run == nil {
			s.ended(u, systemd.JobFailed)
		}
	}
}

// Slay kills units' processes without systemd.
func (s *machineSystemd) Slay(names []unit.Name) error {
	for _, name := range names {
		if u := s.units[name]; u != nil {
			s.kill(u)
		}
	}
	return nil
}

func (s *machineSystemd) ResetFailed(_ context.Context, name unit.Name) error {
	if err := s.call("reset"); err != nil {
		return err
	}
	if u := s.get(name); u.active == "failed" {
		u.loaded = nil
		s.become(u, "inactive", "dead", "")
	}
	return nil
}
