package agent

import (
	"context"
	"errors"
	"io"
	"maps"
	"sync"
	"testing"
	"time"

	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

const me = machine.ID("00000000000000000000000000000001")

// fakeCluster is registry and presence in one, without etcd.
type fakeCluster struct {
	mu        sync.Mutex
	view      *record.View
	followers map[chan registry.Update]bool
	down      bool
	fileCalls int
	puts      int
	renewed   time.Time
	machine   machine.Machine
	left      bool
	changed   chan struct{} // closed and made anew at each change of states
	engine    bool          // withdraws from a leaving machine, takes note of acknowledgements
}

func newFakeCluster() *fakeCluster {
	c := &fakeCluster{view: record.NewView(), followers: map[chan registry.Update]bool{}, changed: make(chan struct{}), engine: true}
	c.view.Cluster = &record.Cluster{ID: "c", Schema: "1.0.0"}
	return c
}

func (c *fakeCluster) FollowMachine(ctx context.Context, id machine.ID, fn func(registry.Update) error) error {
	updates := make(chan registry.Update, 1000)
	c.mu.Lock()
	c.followers[updates] = true
	updates <- registry.Update{Reset: true, View: c.copy()}
	c.mu.Unlock()
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		delete(c.followers, updates)
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case u := <-updates:
			if err := fn(u); err != nil {
				return err
			}
		}
	}
}

func (c *fakeCluster) copy() *record.View {
	v := *c.view
	v.Schedule, v.States = maps.Clone(v.Schedule), maps.Clone(v.States)
	return &v
}

// apply makes changes and tells the followers. c.mu is held.
func (c *fakeCluster) apply(changes ...record.Change) {
	for _, change := range changes {
		c.view.Apply(change)
	}
	for f := range c.followers {
		f <- registry.Update{Changes: changes, View: c.copy()}
	}
	close(c.changed)
	c.changed = make(chan struct{})
}

func (c *fakeCluster) tell(changes ...record.Change) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.apply(changes...)
}

func place(name unit.Name, spec record.Spec) record.Change {
	return record.PlacementChange{Key: record.Key{Machine: me, Unit: name}, New: &spec}
}

func vanish(name unit.Name) record.Change {
	return record.PlacementChange{Key: record.Key{Machine: me, Unit: name}}
}

// CheckCluster is the registry's own: its key has no prefix here.
func (c *fakeCluster) CheckCluster(found *record.Cluster, known record.ClusterID) error {
	return new(registry.Registry).CheckCluster(found, known)
}

func (c *fakeCluster) Files(_ context.Context, hashes []unit.Hash) (map[unit.Hash][]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.fileCalls++
	out := map[unit.Hash][]byte{}
	for _, h := range hashes {
		if text, ok := c.view.Files[h]; ok {
			out[h] = text
		}
	}
	return out, nil
}

func (c *fakeCluster) file(text string) unit.Hash {
	c.mu.Lock()
	defer c.mu.Unlock()
	h := unit.HashOf([]byte(text))
	c.view.Files[h] = []byte(text)
	return h
}

func (c *fakeCluster) PutStates(_ context.Context, states map[unit.Name]*record.State) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.puts++
	var changes []record.Change
	for name, s := range states {
		key := record.Key{Machine: me, Unit: name}
		changes = append(changes, record.StateChange{Key: key, New: s})
		if c.engine && s != nil && s.Target == unit.TargetNone && c.view.Schedule[key].Target == unit.TargetNone {
			changes = append(changes, record.StateChange{Key: key}, record.PlacementChange{Key: key})
		}
	}
	c.apply(changes...)
	return nil
}

func (c *fakeCluster) RenewedAt() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.renewed
}

func (c *fakeCluster) Update(_ context.Context, m machine.Machine) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.down {
		return errors.New("etcd is down")
	}
	c.machine = m
	if m.Leaving && c.engine {
		var changes []record.Change
		for key := range c.view.Schedule {
			changes = append(changes, place(key.Unit, record.Spec{Target: unit.TargetNone}))
		}
		c.apply(changes...)
	}
	return nil
}

func (c *fakeCluster) Leave(context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.left = true
	return nil
}

// await waits until the states fulfil a condition.
func (c *fakeCluster) await(t *testing.T, what string, cond func(states map[unit.Name]record.State) bool) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		c.mu.Lock()
		states := map[unit.Name]record.State{}
		for key, s := range c.view.States {
			states[key.Unit] = s
		}
		changed := c.changed
		c.mu.Unlock()
		if cond(states) {
			return
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("never %s: %+v", what, states)
		}
	}
}

func is(name unit.Name, target unit.Target, active string) func(map[unit.Name]record.State) bool {
	return func(states map[unit.Name]record.State) bool {
		s, ok := states[name]
		return ok && s.Target == target && s.Active == active
	}
}

func gone(name unit.Name) func(map[unit.Name]record.State) bool {
	return func(states map[unit.Name]record.State) bool {
		_, ok := states[name]
		return !ok
	}
}

// fakeClock stands still until advanced.
type fakeClock struct {
	mu     sync.Mutex
	now    time.Time
	timers map[chan time.Time]time.Time
}

func newFakeClock() *fakeClock {
	return &fakeClock{now: time.Unix(1e9, 0), timers: map[chan time.Time]time.Time{}}
}

func (c *fakeClock) Now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *fakeClock) After(d time.Duration) <-chan time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	t := make(chan time.Time, 1)
	if d <= 0 {
		t <- c.now
	} else {
		c.timers[t] = c.now.Add(d)
	}
	return t
}

func (c *fakeClock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
	for t, at := range c.timers {
		if !c.now.Before(at) {
			t <- c.now
			delete(c.timers, t)
		}
	}
}

// run lets time pass a thousand times as fast, until the returned function is
// called.
func (c *fakeClock) run() func() {
	stop, stopped := make(chan struct{}), make(chan struct{})
	ticker := time.NewTicker(100 * time.Microsecond)
	go func() {
		defer close(stopped)
		defer ticker.Stop()
		for {
			select {
			case <-stop:
				return
			case <-ticker.C:
				c.advance(100 * time.Millisecond)
			}
		}
	}()
	return func() { close(stop); <-stopped }
}

// rig is one host with its cluster, and agents one after the other.
type rig struct {
	t       *testing.T
	dir     string
	cluster *fakeCluster
	sys     *fakeSystemd
	opts    Options

	agent *Agent
	stop  func()
}

func newRig(t *testing.T) *rig {
	goleak.VerifyNone(t)
	t.Cleanup(func() { goleak.VerifyNone(t) })
	r := &rig{t: t, dir: t.TempDir() + "/units", cluster: newFakeCluster(), sys: newFakeSystemd()}
	log := logrus.New()
	log.SetOutput(io.Discard)
	r.opts = Options{
		Registry: r.cluster, Presence: r.cluster, Systemd: r.sys, Dir: r.dir, TTL: 30 * time.Second,
		Log:     logrus.NewEntry(log),
		Machine: func() machine.Machine { return machine.Machine{ID: me, BootID: "boot"} },
	}
	return r
}

func (r *rig) start() *rig { return r.run(New(r.opts)) }

func (r *rig) run(agent *Agent) *rig {
	r.agent = agent
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- agent.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != nil {
			r.t.Error(err)
		}
	})
	r.t.Cleanup(r.stop)
	return r
}

// idle waits until the agent has nothing under way.
func (r *rig) idle() {
	r.t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for time.Now().Before(deadline) {
		busy := make(chan bool, 1)
		r.agent.post(func(time.Time) {
			busy <- r.agent.active > 0 || len(r.agent.pending) > 0 || len(r.agent.ends) > 0 || len(r.agent.core.dirty) > 0 ||
				!r.agent.core.following || r.agent.resync || len(r.agent.sys.Changed()) > 0
		})
		if !<-busy {
			return
		}
		time.Sleep(time.Millisecond)
	}
	r.t.Fatal("the agent never comes to rest")
}

const (
	sleeper  = "[Service]\nExecStart=/bin/sleep infinity\n"
	notifier = "[Service]\nType=notify\nExecStart=/bin/true\n" // it says when it is ready
)

func launched(h unit.Hash) record.Spec { return record.Spec{Target: unit.TargetLaunched, File: h} }
