package main

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/unit"
)

// count is what all hosts of a process were told to do.
type count struct{ Starts, Stops atomic.Int64 }

// fakeSystemd is one host's systemd, as far as the agent sees it: it starts what
// it is told, one unit after the other, each in as long as a real one takes, and
// signals as a real one would. Nothing in it ever fails.
type fakeSystemd struct {
	latency time.Duration
	count   *count

	changed chan struct{}

	mu      sync.Mutex
	units   map[unit.Name]*fakeUnit
	changes map[unit.Name]systemd.State
	free    time.Time // when it will have done what it was told
}

type fakeUnit struct {
	text    []byte // nil: there is no file
	state   string
	watched bool
	job     chan string // under way; nil: none
}

func newFakeSystemd(latency time.Duration, c *count) *fakeSystemd {
	return &fakeSystemd{
		latency: latency, count: c, changed: make(chan struct{}, 1),
		units: map[unit.Name]*fakeUnit{}, changes: map[unit.Name]systemd.State{},
	}
}

// get gives a unit. The lock must be held.
func (f *fakeSystemd) get(name unit.Name) *fakeUnit {
	u := f.units[name]
	if u == nil {
		u = &fakeUnit{state: "inactive"}
		f.units[name] = u
	}
	return u
}

func (u *fakeUnit) said() systemd.State {
	s := systemd.State{SystemdState: unit.SystemdState{Load: "loaded", Active: u.state, Sub: "dead"}, Job: u.job != nil}
	switch {
	case u.state == "active":
		s.Sub = "running"
	case u.text == nil:
		s.Load = "not-found"
	}
	return s
}

// become changes a unit and signals it. The lock must be held.
func (f *fakeSystemd) become(name unit.Name, u *fakeUnit, state string) {
	u.state = state
	if !u.watched {
		return
	}
	f.changes[name] = u.said()
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

// job has a unit become something, when its turn has come.
func (f *fakeSystemd) job(name unit.Name, state string) <-chan string {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.get(name)
	if u.job != nil { // as systemd does with a job that another replaces
		u.job <- systemd.JobCanceled
	}
	job := make(chan string, 1)
	u.job = job
	now := time.Now()
	if f.free.Before(now) {
		f.free = now
	}
	f.free = f.free.Add(f.latency)
	time.AfterFunc(f.free.Sub(now), func() {
		f.mu.Lock()
		defer f.mu.Unlock()
		if u.job == job {
			u.job = nil
			f.become(name, u, state)
			job <- systemd.JobDone
		}
	})
	return job
}

// Start is agent.Systemd's, as all that follow.
func (f *fakeSystemd) Start(_ context.Context, name unit.Name) (<-chan string, error) {
	f.count.Starts.Add(1)
	return f.job(name, "active"), nil
}

func (f *fakeSystemd) Restart(ctx context.Context, name unit.Name) (<-chan string, error) {
	return f.Start(ctx, name)
}

func (f *fakeSystemd) Stop(_ context.Context, name unit.Name) (<-chan string, error) {
	f.count.Stops.Add(1)
	return f.job(name, "inactive"), nil
}

func (f *fakeSystemd) Kill(ctx context.Context, name unit.Name) error {
	_, err := f.Stop(ctx, name)
	return err
}

func (f *fakeSystemd) Claim(context.Context, []systemd.File) (map[unit.Name]error, error) {
	return nil, nil
}

func (f *fakeSystemd) Write(_ context.Context, files []systemd.File) (map[unit.Name]error, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, file := range files {
		f.get(file.Name).text = file.Text
	}
	return nil, nil
}

func (f *fakeSystemd) Text(name unit.Name) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if u := f.units[name]; u != nil && u.text != nil {
		return u.text, nil
	}
	return nil, errors.New("no such file")
}

func (f *fakeSystemd) Remove(name unit.Name) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.get(name).text = nil
	return nil
}

func (f *fakeSystemd) States(_ context.Context, names []unit.Name) (map[unit.Name]systemd.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := make(map[unit.Name]systemd.State, len(names))
	for _, name := range names {
		out[name] = f.get(name).said()
	}
	return out, nil
}

func (f *fakeSystemd) Watch(names ...unit.Name) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range names {
		f.get(name).watched = true
	}
}

func (f *fakeSystemd) Unwatch(names ...unit.Name) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range names {
		delete(f.units, name)
		delete(f.changes, name)
	}
}

func (f *fakeSystemd) Changed() <-chan struct{} { return f.changed }

func (f *fakeSystemd) Take() systemd.Changes {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := systemd.Changes{States: f.changes}
	f.changes = map[unit.Name]systemd.State{}
	return out
}

func (f *fakeSystemd) Enable(context.Context, []unit.Name) error             { return nil }
func (f *fakeSystemd) Disable(context.Context, []unit.Name) error            { return nil }
func (f *fakeSystemd) Reload(context.Context) error                          { return nil }
func (f *fakeSystemd) ResetFailed(context.Context, unit.Name) error          { return nil }
func (f *fakeSystemd) Invocation(context.Context, unit.Name) (string, error) { return "", nil }
func (f *fakeSystemd) LoadError(context.Context, unit.Name) (string, error)  { return "", nil }
func (f *fakeSystemd) Logs(context.Context, []unit.Name) (map[unit.Name]string, error) {
	return nil, nil
}
