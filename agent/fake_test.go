package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"sync"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/unit"
)

// fakeSystemd behaves as the real one does in agent/systemd's tests. Its jobs
// end at once, or when finish is called if slow.
type fakeSystemd struct {
	mu      sync.Mutex
	slow    bool
	queued  bool // with slow: starts wait their turn, the unit is as it was
	down    bool // ErrDisconnected
	units   map[unit.Name]*fakeUnit
	foreign map[unit.Name]bool
	files   map[unit.Name]string
	calls   []string // "start a.service"; those that change something
	changed chan struct{}
	changes systemd.Changes
	watched map[unit.Name]bool
	logs    map[unit.Name]string
	reads   []unit.Name // logs that were read
	// fault is asked before (false) and after (true) a call's effect: an error
	// is returned in its place.
	fault func(call string, after bool) error
}

type fakeUnit struct {
	active  string
	text    string // that the current or last run was started with
	runs    int    // counts starts
	loaded  string // text in memory, empty if not in memory
	enabled bool
	jobs    []chan string
	stop    bool // the job is a stop
}

func newFakeSystemd() *fakeSystemd {
	return &fakeSystemd{
		units: map[unit.Name]*fakeUnit{}, foreign: map[unit.Name]bool{}, files: map[unit.Name]string{},
		changed: make(chan struct{}, 1), watched: map[unit.Name]bool{},
		fault: func(string, bool) error { return nil },
	}
}

func (f *fakeSystemd) get(name unit.Name) *fakeUnit {
	u := f.units[name]
	if u == nil {
		u = &fakeUnit{active: "inactive"}
		f.units[name] = u
	}
	return u
}

// call does one call's effect, between faults.
func (f *fakeSystemd) call(what string, effect func() error) error {
	if err := f.fault(what, false); err != nil {
		return err
	}
	f.mu.Lock()
	if f.down {
		f.mu.Unlock()
		return systemd.ErrDisconnected
	}
	f.calls = append(f.calls, what)
	err := effect()
	f.mu.Unlock()
	if err == nil {
		err = f.fault(what, true)
	}
	return err
}

func (f *fakeSystemd) log() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := f.calls
	f.calls = nil
	return out
}

// become changes a unit's state and signals it. f.mu is held.
func (f *fakeSystemd) become(name unit.Name, active string) {
	u := f.get(name)
	u.active = active
	if (active == "inactive") && len(u.jobs) == 0 {
		u.loaded = ""
	}
	if !f.watched[name] {
		return
	}
	if f.changes.States == nil {
		f.changes.States = map[unit.Name]systemd.State{}
	}
	f.changes.States[name] = f.state(name)
	f.notify()
}

func (f *fakeSystemd) notify() {
	select {
	case f.changed <- struct{}{}:
	default:
	}
}

func (f *fakeSystemd) state(name unit.Name) systemd.State {
	u := f.get(name)
	s := systemd.State{SystemdState: unit.SystemdState{Load: "loaded", Active: u.active, Sub: "sub-" + u.active}}
	if f.files[name] == "" && u.loaded == "" {
		s.Load = "not-found"
	}
	switch u.active {
	case "failed":
		s.Result = "exit-code"
	case "active":
		s.Sub = "running"
	}
	s.Job = len(u.jobs) > 0
	return s
}

// finish ends a unit's job, if it has one.
func (f *fakeSystemd) finish(name unit.Name) {
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.get(name)
	if len(u.jobs) == 0 {
		return
	}
	jobs := u.jobs
	u.jobs = nil
	if u.stop {
		f.become(name, "inactive")
	} else {
		f.become(name, "active")
	}
	for _, j := range jobs {
		j <- systemd.JobDone
		close(j)
	}
}

func (f *fakeSystemd) job(name unit.Name, stop bool, during string) <-chan string {
	u := f.get(name)
	for _, j := range u.jobs {
		j <- systemd.JobCanceled
		close(j)
	}
	job := make(chan string, 1)
	u.jobs, u.stop = []chan string{job}, stop
	f.become(name, during)
	return job
}

func (f *fakeSystemd) Claim(_ context.Context, files []systemd.File) (map[unit.Name]error, error) {
	out := map[unit.Name]error{}
	err := f.fault("claim", false)
	for _, file := range files {
		if f.foreign[file.Name] {
			out[file.Name] = &systemd.ForeignError{Unit: file.Name, Path: "/lib/systemd/system/" + string(file.Name)}
		}
	}
	return out, err
}

func (f *fakeSystemd) Write(_ context.Context, files []systemd.File) (map[unit.Name]error, error) {
	return nil, f.call(fmt.Sprintf("write %d", len(files)), func() error {
		for _, file := range files {
			f.files[file.Name] = string(file.Text)
			if u := f.get(file.Name); u.loaded != "" {
				u.loaded = string(file.Text)
			}
		}
		return nil
	})
}

func (f *fakeSystemd) Text(name unit.Name) ([]byte, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if text, ok := f.files[name]; ok {
		return []byte(text), nil
	}
	return nil, errors.New("no such file")
}

func (f *fakeSystemd) Remove(name unit.Name) error {
	return f.call("remove "+string(name), func() error { delete(f.files, name); return nil })
}

func (f *fakeSystemd) Enable(_ context.Context, names []unit.Name) error {
	return f.links("enable", names, true)
}

func (f *fakeSystemd) Disable(_ context.Context, names []unit.Name) error {
	return f.links("disable", names, false)
}

func (f *fakeSystemd) links(verb string, names []unit.Name, to bool) error {
	if len(names) == 0 {
		return nil
	}
	return f.call(verb, func() error {
		for _, name := range names {
			f.get(name).enabled = to
		}
		return nil
	})
}

func (f *fakeSystemd) Reload(context.Context) error {
	return f.call("reload", func() error { return nil })
}

func (f *fakeSystemd) Start(_ context.Context, name unit.Name) (<-chan string, error) {
	return f.starting("start", name)
}

func (f *fakeSystemd) Restart(_ context.Context, name unit.Name) (<-chan string, error) {
	return f.starting("restart", name)
}

func (f *fakeSystemd) starting(verb string, name unit.Name) (job <-chan string, err error) {
	err = f.call(verb+" "+string(name), func() error {
		text, ok := f.files[name]
		if !ok {
			return fmt.Errorf("systemd refuses: unit %s not found", name)
		}
		if text == badText {
			return errors.New("systemd refuses: bad unit file setting")
		}
		u := f.get(name)
		if u.loaded == "" {
			u.loaded = text
		}
		if text == busyText { // as a socket is whose service runs
			refused := make(chan string, 1)
			refused <- systemd.JobFailed
			close(refused)
			job = refused
			return nil
		}
		if verb == "restart" || u.active != "active" && u.active != "activating" {
			u.runs++
			u.text = u.loaded
		}
		during := "activating"
		if verb == "start" && u.active == "active" || f.queued {
			during = u.active
		}
		job = f.job(name, false, during)
		return nil
	})
	if err == nil && !f.isSlow() {
		f.finish(name)
	}
	return job, err
}

// delay has jobs wait for finish from now on, or not any more.
func (f *fakeSystemd) delay(slow bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.slow = slow
}

func (f *fakeSystemd) isSlow() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.slow
}

func (f *fakeSystemd) Stop(_ context.Context, name unit.Name) (job <-chan string, err error) {
	err = f.call("stop "+string(name), func() error {
		during := "deactivating"
		if a := f.get(name).active; a == "inactive" || a == "failed" {
			during = a
		}
		job = f.job(name, true, during)
		return nil
	})
	if err == nil && !f.isSlow() {
		f.finish(name)
	}
	return job, err
}

func (f *fakeSystemd) Kill(_ context.Context, name unit.Name) error {
	err := f.call("kill "+string(name), func() error { return nil })
	if err == nil {
		f.finish(name)
	}
	return err
}

func (f *fakeSystemd) ResetFailed(_ context.Context, name unit.Name) error {
	return f.call("reset "+string(name), func() error {
		if f.get(name).active == "failed" {
			f.become(name, "inactive")
		}
		return nil
	})
}

func (f *fakeSystemd) States(_ context.Context, names []unit.Name) (map[unit.Name]systemd.State, error) {
	if err := f.fault("states", false); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.down {
		return nil, systemd.ErrDisconnected
	}
	out := map[unit.Name]systemd.State{}
	for _, name := range names {
		out[name] = f.state(name)
	}
	return out, nil
}

func (f *fakeSystemd) Invocation(_ context.Context, name unit.Name) (string, error) {
	if err := f.fault("invocation", false); err != nil {
		return "", err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	u := f.get(name)
	if u.loaded == "" || u.runs == 0 {
		return "", nil
	}
	return fmt.Sprintf("run-%d", u.runs), nil
}

func (f *fakeSystemd) LoadError(context.Context, unit.Name) (string, error) { return "load error", nil }

func (f *fakeSystemd) Logs(_ context.Context, names []unit.Name) (map[unit.Name]string, error) {
	if err := f.fault("logs", false); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.reads = append(f.reads, names...)
	return maps.Clone(f.logs), nil
}

func (f *fakeSystemd) Watch(names ...unit.Name) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range names {
		f.watched[name] = true
	}
}

func (f *fakeSystemd) Unwatch(names ...unit.Name) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range names {
		delete(f.watched, name)
		delete(f.changes.States, name)
	}
}

func (f *fakeSystemd) Changed() <-chan struct{} { return f.changed }

func (f *fakeSystemd) Take() systemd.Changes {
	f.mu.Lock()
	defer f.mu.Unlock()
	out := systemd.Changes{States: maps.Clone(f.changes.States), Resync: f.changes.Resync}
	f.changes = systemd.Changes{}
	return out
}

// happens makes a unit fail or exit by itself.
func (f *fakeSystemd) happens(name unit.Name, active string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if u := f.get(name); u.active == "active" && len(u.jobs) == 0 {
		f.become(name, active)
	}
}

// Units that can't be loaded, and that won't be started.
const (
	badText  = "[Service]\nType=simple\n"
	busyText = "[Socket]\nListenStream=1\n"
)
