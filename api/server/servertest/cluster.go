// Package servertest is a whole cluster in memory, for tests of the API and of
// fleetctl: a registry that remembers, an engine that is the real planner, and
// agents that say what their script has systemd say. It is for tests only.
package servertest

import (
	"context"
	"errors"
	"maps"
	"net"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/engine/planner"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// Cluster is the cluster. It is safe for concurrent use, and what the server
// takes for its registry.
type Cluster struct {
	mu      sync.Mutex
	view    *record.View
	updates []update      // all, in order
	news    chan struct{} // closed at the next update
	down    error
	planner *planner.Planner
	paused  bool // the engine
	lazy    bool // the agents
	scripts map[unit.Name][]Moment
	timers  []*time.Timer
}

// update is what followers are told of one revision.
type update struct {
	rev     int64
	changes []record.Change
}

// Moment is how systemd is, some time after it was told to start a unit.
type Moment struct {
	After time.Duration
	State unit.SystemdState
	Log   string // the end of the unit's log
}

// New makes a cluster without machines.
func New(t testing.TB) *Cluster {
	c := &Cluster{
		view: record.NewView(), news: make(chan struct{}), scripts: map[unit.Name][]Moment{},
		planner: planner.New(planner.Config{}),
	}
	c.mu.Lock()
	c.write(record.ClusterChange{New: &record.Cluster{ID: "test", Schema: "1.0.0"}})
	c.mu.Unlock()
	t.Cleanup(func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, timer := range c.timers {
			timer.Stop()
		}
	})
	return c
}

// Serve runs a server of this cluster until the test ends, and gives its
// endpoint, a unix socket.
func (c *Cluster) Serve(t testing.TB, opts server.Options) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "fleet") // t.TempDir's path may be too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	opts.Registry = c
	s := server.New(opts)
	ctx, cancel := context.WithCancel(context.Background())
	socket := filepath.Join(dir, "fleet.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var running sync.WaitGroup
	running.Go(func() { _ = s.Run(ctx) })
	running.Go(func() { _ = s.Serve(ctx, l) })
	t.Cleanup(func() {
		cancel()
		running.Wait()
		os.RemoveAll(dir)
	})
	return "unix://" + socket
}

// SetMachine has a machine join, or changes it.
func (c *Cluster) SetMachine(m machine.Machine) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write(record.MachineChange{ID: m.ID, New: &m})
}

// LoseMachine has a machine vanish, with its states.
func (c *Cluster) LoseMachine(id machine.ID) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changes := []record.Change{record.MachineChange{ID: id}}
	for k := range c.view.States {
		if k.Machine == id {
			changes = append(changes, record.StateChange{Key: k})
		}
	}
	c.write(changes...)
}

// LoseText has a unit's text vanish from etcd.
func (c *Cluster) LoseText(name unit.Name) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write(record.FileChange{Hash: c.view.Units[name].File})
}

// Script says what systemd does with a unit when it is started: active and
// running at once unless told otherwise.
func (c *Cluster) Script(name unit.Name, moments ...Moment) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.scripts[name] = moments
}

// PauseEngine has nothing decided until it is resumed.
func (c *Cluster) PauseEngine(paused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused = paused
	c.settle(nil)
}

// PauseAgents has nothing carried out until they are resumed.
func (c *Cluster) PauseAgents(paused bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.lazy = paused
	c.settle(nil)
}

// Break has etcd not answer, for the reason given; nil mends it.
func (c *Cluster) Break(reason error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.down = reason
	c.tell()
}

// Advance raises the revision as a key does that isn't fleet's.
func (c *Cluster) Advance() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.view.Revision++
}

// View gives a copy of what is stored.
func (c *Cluster) View() *record.View {
	c.mu.Lock()
	defer c.mu.Unlock()
	return cloneView(c.view)
}

func cloneView(v *record.View) *record.View {
	out := *v
	out.Files, out.Units = maps.Clone(v.Files), maps.Clone(v.Units)
	out.Schedule, out.States = maps.Clone(v.Schedule), maps.Clone(v.States)
	out.Machines, out.Overrides = maps.Clone(v.Machines), maps.Clone(v.Overrides)
	return &out
}

// write makes changes true at a new revision, and has engine and agents do their
// part. The lock must be held.
func (c *Cluster) write(changes ...record.Change) int64 {
	rev := c.commit(changes)
	c.settle(changes)
	return rev
}

func (c *Cluster) commit(changes []record.Change) int64 {
	c.view.Revision++
	for _, ch := range changes {
		c.view.Apply(ch)
	}
	c.updates = append(c.updates, update{rev: c.view.Revision, changes: changes})
	c.tell()
	return c.view.Revision
}

func (c *Cluster) tell() {
	close(c.news)
	c.news = make(chan struct{})
}

// settle lets the engine decide and the agents act until there is nothing left
// to do.
func (c *Cluster) settle(changes []record.Change) {
	if c.paused {
		c.planner = nil
	}
	for {
		var next []record.Change
		if !c.paused {
			if c.planner == nil {
				c.planner, changes = planner.New(planner.Config{}), c.view.Changes()
			}
			for _, d := range c.planner.Step(time.Now(), changes).Decisions {
				next = append(next, carriedOut(d)...)
			}
		}
		changes = nil
		if len(next) > 0 {
			c.commit(next)
			changes = next
		}
		if acted := c.act(); len(acted) > 0 {
			c.commit(acted)
			changes = append(changes, acted...)
		}
		if len(changes) == 0 {
			return
		}
	}
}

// carriedOut gives a decision as the changes that it makes.
func carriedOut(d planner.Decision) []record.Change {
	switch d := d.(type) {
	case planner.Place:
		return []record.Change{record.PlacementChange{Key: d.Key, New: &d.Spec}}
	case planner.Withdraw:
		return []record.Change{record.PlacementChange{Key: d.Key, New: &record.Spec{Target: unit.TargetNone}}}
	case planner.Forget:
		return []record.Change{record.PlacementChange{Key: d.Key}, record.StateChange{Key: d.Key}}
	case planner.Release:
		return []record.Change{record.UnitChange{Name: d.Unit}}
	case planner.CollectFile:
		return []record.Change{record.FileChange{Hash: d.Hash}}
	}
	return nil
}

// act has each agent do what it is told.
func (c *Cluster) act() []record.Change {
	if c.lazy {
		return nil
	}
	var out []record.Change
	keys := slices.SortedFunc(maps.Keys(c.view.Schedule), func(a, b record.Key) int {
		if a.Unit != b.Unit {
			return compare(string(a.Unit), string(b.Unit))
		}
		return compare(string(a.Machine), string(b.Machine))
	})
	for _, k := range keys {
		spec := c.view.Schedule[k]
		if _, lives := c.view.Machines[k.Machine]; !lives || c.view.States[k].Spec == spec {
			continue
		}
		state := record.State{Spec: spec, SystemdState: unit.SystemdState{Load: "loaded", Active: "inactive", Sub: "dead"}}
		switch spec.Target {
		case unit.TargetNone:
			state.Load = "not-found"
		case unit.TargetLaunched:
			state.SystemdState, state.Log = c.play(k, spec)
		}
		out = append(out, record.StateChange{Key: k, New: &state})
	}
	return out
}

func compare(a, b string) int {
	if a < b {
		return -1
	}
	return 1
}

// play begins a unit's script: it gives the first moment and has the others come
// in their time.
func (c *Cluster) play(k record.Key, spec record.Spec) (state unit.SystemdState, log string) {
	script := c.scripts[k.Unit]
	if len(script) == 0 {
		return unit.SystemdState{Load: "loaded", Active: "active", Sub: "running"}, ""
	}
	for _, m := range script[1:] {
		c.timers = append(c.timers, time.AfterFunc(m.After, func() {
			c.mu.Lock()
			defer c.mu.Unlock()
			if c.view.States[k].Spec == spec {
				c.write(record.StateChange{Key: k, New: &record.State{Spec: spec, SystemdState: m.State, Log: m.Log}})
			}
		}))
	}
	return script[0].State, script[0].Log
}

// errDown is what everything says while etcd is broken.
func (c *Cluster) errDown() error {
	if c.down == nil {
		return nil
	}
	return errors.Join(errors.New("etcd does not answer"), c.down)
}

var _ server.Registry = (*Cluster)(nil)

// Follow is the registry's.
func (c *Cluster) Follow(ctx context.Context, fn func(registry.Update) error) error {
	var view *record.View
	next := 0 // of c.updates
	for {
		c.mu.Lock()
		news, down, rev := c.news, c.down, c.view.Revision
		var u registry.Update
		switch {
		case down != nil:
		case view == nil:
			view = cloneView(c.view)
			u = registry.Update{Reset: true, View: view}
			next = len(c.updates)
		case next < len(c.updates):
			for _, ch := range c.updates[next].changes {
				view.Apply(ch)
			}
			view.Revision = c.updates[next].rev
			u = registry.Update{Changes: c.updates[next].changes, View: view}
			next++
		case view.Revision < rev:
			view.Revision = rev
			u = registry.Update{View: view}
		}
		c.mu.Unlock()
		if u.View != nil {
			if err := fn(u); err != nil {
				return err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-news:
		}
	}
}
