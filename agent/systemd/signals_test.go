package systemd

import (
	"context"
	"errors"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/fleet-project/fleet/unit"
)

// until takes changes until the condition holds.
func until(ctx context.Context, t *testing.T, c *Client, what string, cond func(Changes) bool) {
	t.Helper()
	for {
		select {
		case <-c.Changed():
			if cond(c.Take()) {
				return
			}
		case <-ctx.Done():
			t.Fatal("never told:", what)
		}
	}
}

func TestSignals(t *testing.T) {
	c, ctx := dial(t)
	put(ctx, t, c, File{"told.service", []byte("[Service]\nExecStart=/bin/sh -c 'sleep 0.2; exit 3'\n")},
		File{"untold.service", []byte(sleeper)})
	c.Watch("told.service")
	if _, err := c.States(ctx, []unit.Name{"told.service"}); err != nil {
		t.Fatal(err)
	}
	start(ctx, t, c, "untold.service")
	job, err := c.Start(ctx, "told.service")
	if err != nil {
		t.Fatal(err)
	}
	want := State{SystemdState: unit.SystemdState{Load: "loaded", Active: "active", Sub: "running"}}
	seen := func(ch Changes) bool {
		if _, ok := ch.States["untold.service"]; ok {
			t.Error("told of a unit that isn't watched")
		}
		return ch.States["told.service"].Same(want)
	}
	until(ctx, t, c, "running", seen)
	result(ctx, t, job)
	want.SystemdState = unit.SystemdState{Load: "loaded", Active: "failed", Sub: "failed", Result: "exit-code"}
	until(ctx, t, c, "failed", seen)
	if err := c.ResetFailed(ctx, "told.service"); err != nil {
		t.Fatal(err)
	}
	want.SystemdState = unit.SystemdState{Load: "loaded", Active: "inactive", Sub: "dead"}
	until(ctx, t, c, "inactive", seen)

	c.Unwatch("told.service")
	if ch := c.Take(); len(ch.States) > 0 {
		t.Errorf("told of %v, which nobody watches", ch.States)
	}
}

func TestReloadAsksForResync(t *testing.T) {
	c, ctx := dial(t)
	put(ctx, t, c, File{"through.service", []byte(sleeper)})
	c.Watch("through.service")
	start(ctx, t, c, "through.service")
	until(ctx, t, c, "active", func(ch Changes) bool { return ch.States["through.service"].Active == "active" })
	if err := c.Reload(ctx); err != nil {
		t.Fatal(err)
	}
	until(ctx, t, c, "resync", func(ch Changes) bool {
		if s, ok := ch.States["through.service"]; ok && s.Active != "active" {
			t.Errorf("a reload made it %+v", s)
		}
		return ch.Resync
	})
}

// relay is a socket whose connections can be cut.
type relay struct {
	net.Listener
	mu    sync.Mutex
	conns []net.Conn
}

func newRelay(t *testing.T) *relay {
	t.Helper()
	l, err := net.Listen("unix", filepath.Join(t.TempDir(), "s"))
	if err != nil {
		t.Fatal(err)
	}
	r := &relay{Listener: l}
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			out, err := net.Dial("unix", theHost.socket())
			if err != nil {
				in.Close()
				continue
			}
			r.mu.Lock()
			r.conns = append(r.conns, in, out)
			r.mu.Unlock()
			go func() { _, _ = io.Copy(in, out); in.Close() }()
			go func() { _, _ = io.Copy(out, in); out.Close() }()
		}
	}()
	t.Cleanup(func() { l.Close(); r.cut() })
	return r
}

func (r *relay) cut() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, c := range r.conns {
		c.Close()
	}
	r.conns = nil
}

func TestReconnects(t *testing.T) {
	if theHost == nil {
		t.Skip("needs root")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	r := newRelay(t)
	opts := theHost.options()
	opts.Address = "unix:path=" + r.Addr().String()
	c, err := Dial(ctx, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	put(ctx, t, c, File{"slow.service", []byte("[Service]\nType=oneshot\nExecStart=/bin/sleep 60\n")})
	c.Watch("slow.service")
	job, err := c.Start(ctx, "slow.service")
	if err != nil {
		t.Fatal(err)
	}
	until(ctx, t, c, "activating", func(ch Changes) bool { return ch.States["slow.service"].Active == "activating" })
	r.cut()
	if res := result(ctx, t, job); res != "" {
		t.Errorf("the job ended: %s", res)
	}
	until(ctx, t, c, "resync", func(ch Changes) bool { return ch.Resync })
	if s := state(ctx, t, c, "slow.service"); s.Active != "activating" {
		t.Errorf("got %+v", s)
	}
}

func TestNothingIsLeftAfterClose(t *testing.T) {
	if theHost == nil {
		t.Skip("needs root")
	}
	ignore := goleak.IgnoreCurrent()
	c, err := Dial(context.Background(), theHost.options())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.States(context.Background(), []unit.Name{"any.service"}); err != nil {
		t.Fatal(err)
	}
	c.Close()
	if _, err := c.States(context.Background(), []unit.Name{"any.service"}); !errors.Is(err, ErrDisconnected) {
		t.Errorf("after Close: %v", err)
	}
	goleak.VerifyNone(t, ignore)
}
