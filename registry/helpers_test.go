package registry

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/sirupsen/logrus"
)

var etcd etcdtest.Shared

func TestMain(m *testing.M) {
	// Defaults that the command line may override: parallel tests mostly wait,
	// and each of rapid's checks takes a tenth of a second.
	_ = flag.Lookup("test.parallel").Value.Set("8")
	_ = flag.Lookup("rapid.checks").Value.Set("30")
	os.Exit(etcd.Run(m))
}

const (
	// ttl is the shortest that etcd grants, where a lease is to run out.
	ttl = 2 * time.Second
	// steady is one where none is, however busy the test machine.
	steady = 20 * time.Second
)

// logbook is what a registry logged.
type logbook struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logbook) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logbook) count(s string) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Count(l.buf.String(), s)
}

// connect dials etcd under a prefix.
func connect(t testing.TB, endpoints []string, prefix string) (*Registry, *logbook) {
	t.Helper()
	log, book := logrus.New(), &logbook{}
	log.SetOutput(book)
	// More than the default: test machines may be busy.
	r, err := Dial(Config{Endpoints: endpoints, Prefix: prefix, RequestTimeout: 3 * time.Second, Log: logrus.NewEntry(log)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		r.Close()
		if t.Failed() {
			t.Logf("the registry logged:\n%s", book.buf.String())
		}
	})
	return r, book
}

// fresh gives a registry over the shared server, alone under its prefix.
func fresh(t testing.TB) (*Registry, *etcdtest.Server) {
	t.Helper()
	s := etcd.Server(t)
	r, _ := connect(t, s.Endpoints(), etcdtest.Prefix())
	return r, s
}

func eventually(t testing.TB, what string, holds func() bool) {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for !holds() {
		if time.Now().After(deadline) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(2 * time.Millisecond)
	}
}

func must[T any](v T, err error) func(testing.TB) T {
	return func(t testing.TB) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// copyOf gives a view of one's own.
func copyOf(v *record.View) *record.View {
	c := record.NewView()
	c.Revision = v.Revision
	for _, change := range v.Changes() {
		c.Apply(change)
	}
	return c
}

// follower collects what Follow tells.
type follower struct {
	mu      sync.Mutex
	updates []Update // each with a view of its own
	held    chan struct{}
	done    chan error
	cancel  context.CancelFunc
}

func follow(t testing.TB, what func(context.Context, func(Update) error) error) *follower {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	f := &follower{done: make(chan error, 1), cancel: cancel, held: make(chan struct{}, 1)}
	go func() {
		f.done <- what(ctx, func(u Update) error {
			f.held <- struct{}{}
			defer func() { <-f.held }()
			u.View = copyOf(u.View)
			f.mu.Lock()
			defer f.mu.Unlock()
			f.updates = append(f.updates, u)
			return nil
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-f.done; err != context.Canceled {
			t.Errorf("Follow ended with %v", err)
		}
	})
	return f
}

// pause holds the follower up in its next callback, until the result is called.
func (f *follower) pause() (resume func()) {
	f.held <- struct{}{}
	return func() { <-f.held }
}

func (f *follower) all() []Update {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]Update{}, f.updates...)
}

func (f *follower) resets() (n int) {
	for _, u := range f.all() {
		if u.Reset {
			n++
		}
	}
	return n
}

func (f *follower) changes() (out []record.Change) {
	for _, u := range f.all() {
		out = append(out, u.Changes...)
	}
	return out
}

// view gives the latest view; nil before the first.
func (f *follower) view() *record.View {
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.updates) == 0 {
		return nil
	}
	return f.updates[len(f.updates)-1].View
}

func (f *follower) wait(t testing.TB, what string, holds func(*record.View) bool) {
	t.Helper()
	eventually(t, what, func() bool { v := f.view(); return v != nil && holds(v) })
}

func (f *follower) reached(t testing.TB, rev int64) {
	t.Helper()
	f.wait(t, "the follower reaches the revision", func(v *record.View) bool { return v.Revision >= rev })
}

func host(id machine.ID, boot machine.BootID) machine.Machine {
	return machine.Machine{ID: id, BootID: boot, Hostname: "host-" + string(id), IP: "10.0.0.1"}
}

// running keeps a presence until the test ends.
func running(t testing.TB, p *Presence) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- p.Run(ctx) }()
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; err != context.Canceled {
			t.Errorf("Run ended with %v", err)
		}
	})
	t.Cleanup(stop)
	return stop
}

func stored[T any](t testing.TB, s *etcdtest.Server, key string) (v T) {
	t.Helper()
	e, ok := s.Get(t, key)
	if !ok {
		t.Fatalf("%s is absent", key)
	}
	if err := json.Unmarshal([]byte(e.Value), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func state(target unit.Target) *record.State {
	return &record.State{Spec: record.Spec{Target: target}, SystemdState: unit.SystemdState{Load: "loaded", Active: "active", Sub: "running"}}
}

func mentions(t testing.TB, err error, what ...string) {
	t.Helper()
	for _, w := range what {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("error %v does not mention %q", err, w)
		}
	}
}

// said gives what this machine has said of its units.
func (p *Presence) said() map[unit.Name]record.State {
	p.mu.Lock()
	defer p.mu.Unlock()
	return maps.Clone(p.states)
}
