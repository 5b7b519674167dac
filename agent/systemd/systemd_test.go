package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/fleet-project/fleet/unit"
)

// dial gives a client of the tests' systemd.
func dial(t *testing.T) (*Client, context.Context) {
	t.Helper()
	if theHost == nil {
		t.Skip("needs root")
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	c, err := Dial(ctx, theHost.options())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c, ctx
}

// put claims and writes units, and has them removed at the end.
func put(ctx context.Context, t *testing.T, c *Client, files ...File) {
	t.Helper()
	refused, err := c.Claim(ctx, files)
	if err != nil || len(refused) > 0 {
		t.Fatal(err, refused)
	}
	rewrite(ctx, t, c, files...)
	t.Cleanup(func() {
		for _, f := range files {
			if job, err := c.Stop(context.Background(), f.Name); err == nil {
				<-job
			}
			_ = c.ResetFailed(context.Background(), f.Name)
			_ = c.Remove(f.Name)
		}
	})
}

func rewrite(ctx context.Context, t *testing.T, c *Client, files ...File) {
	t.Helper()
	failed, err := c.Write(ctx, files)
	if err != nil || len(failed) > 0 {
		t.Fatal(err, failed)
	}
}

func start(ctx context.Context, t *testing.T, c *Client, name unit.Name) string {
	t.Helper()
	job, err := c.Start(ctx, name)
	if err != nil {
		t.Fatal(err)
	}
	return result(ctx, t, job)
}

func result(ctx context.Context, t *testing.T, job <-chan string) string {
	t.Helper()
	select {
	case r := <-job:
		return r
	case <-ctx.Done():
		t.Fatal("the job doesn't end")
		return ""
	}
}

func state(ctx context.Context, t *testing.T, c *Client, name unit.Name) unit.SystemdState {
	t.Helper()
	states, err := c.States(ctx, []unit.Name{name})
	if err != nil {
		t.Fatal(err)
	}
	return states[name].SystemdState
}

func reloads(c *Client, reason string) float64 {
	gathered, _ := c.opts.Metrics.(*prometheus.Registry).Gather()
	for _, family := range gathered {
		for _, m := range family.Metric {
			if family.GetName() == "fleet_agent_systemd_reloads_total" && m.Label[0].GetValue() == reason {
				return m.Counter.GetValue()
			}
		}
	}
	panic("no such reason: " + reason)
}

func noReloads(t *testing.T, c *Client) {
	t.Helper()
	for _, reason := range []string{reasonChanged, reasonInstall, reasonRescue} {
		if n := reloads(c, reason); n != 0 {
			t.Errorf("%v reloads: %s", n, reason)
		}
	}
}

const sleeper = "[Service]\nExecStart=/bin/sleep infinity\n"

func TestStartsWithoutReload(t *testing.T) {
	c, ctx := dial(t)
	put(ctx, t, c, File{"new.service", []byte(sleeper)})
	if r := start(ctx, t, c, "new.service"); r != JobDone {
		t.Errorf("job: %s", r)
	}
	want := unit.SystemdState{Load: "loaded", Active: "active", Sub: "running"}
	if got := state(ctx, t, c, "new.service"); got != want {
		t.Errorf("got %+v", got)
	}
	noReloads(t, c)
}

func TestStartsWithoutReloadEveryTime(t *testing.T) {
	c, ctx := dial(t)
	for i := range 100 { // one at a time: each is found though the directory changed a moment ago
		name := unit.Name(fmt.Sprintf("each-%d.service", i))
		put(ctx, t, c, File{name, []byte(sleeper)})
		if r := start(ctx, t, c, name); r != JobDone {
			t.Fatalf("%s: %s", name, r)
		}
	}
	noReloads(t, c)
}

func TestHundredUnits(t *testing.T) {
	c, ctx := dial(t)
	var files []File
	var names []unit.Name
	for i := range 100 {
		name := unit.Name(fmt.Sprintf("many-%d.service", i))
		files, names = append(files, File{name, []byte(sleeper)}), append(names, name)
	}
	began := time.Now()
	put(ctx, t, c, files...)
	written := time.Since(began)
	jobs := make(chan (<-chan string), len(names))
	for _, name := range names {
		go func() {
			job, err := c.Start(ctx, name)
			if err != nil {
				t.Error(err)
			}
			jobs <- job
		}()
	}
	for range names {
		if r := result(ctx, t, <-jobs); r != JobDone {
			t.Errorf("job: %s", r)
		}
	}
	t.Logf("claimed and written in %s, all started after %s", written, time.Since(began))
	states, err := c.States(ctx, names)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		if s := states[name]; s.Active != "active" {
			t.Errorf("%s: %+v", name, s)
		}
	}
	noReloads(t, c)
}

func TestChangedTextIsReloadedOnce(t *testing.T) {
	c, ctx := dial(t)
	text := func(version string) []byte {
		return []byte("[Unit]\nDescription=" + version + "\n" + sleeper)
	}
	put(ctx, t, c, File{"changed-a.service", text("one")}, File{"changed-b.service", text("one")})
	start(ctx, t, c, "changed-a.service")
	start(ctx, t, c, "changed-b.service")
	before, err := c.Invocation(ctx, "changed-a.service")
	if err != nil || len(before) != 32 {
		t.Fatalf("invocation %q, %v", before, err)
	}
	rewrite(ctx, t, c, File{"changed-a.service", text("two")}, File{"changed-b.service", text("two")})
	if n := reloads(c, reasonChanged); n != 1 {
		t.Errorf("%v reloads for a batch of two", n)
	}
	job, err := c.Restart(ctx, "changed-a.service")
	if err != nil {
		t.Fatal(err)
	}
	result(ctx, t, job)
	var description string
	if err := c.property(ctx, "changed-a.service", unitIface, "Description", &description); err != nil || description != "two" {
		t.Errorf("systemd has version %q, %v", description, err)
	}
	after, err := c.Invocation(ctx, "changed-a.service")
	if err != nil || after == before || len(after) != 32 {
		t.Errorf("restarted, but invocation %q is %q (%v)", before, after, err)
	}
}

// A text was written while the host's clock was ahead; since then the clock was set back.
func TestChangedTextAfterTheClockWasSetBack(t *testing.T) {
	text := func(version string) []byte { return []byte("[Unit]\nDescription=" + version + "\n" + sleeper) }
	begin := func(t *testing.T, name unit.Name) (*Client, context.Context) {
		c, ctx := dial(t)
		put(ctx, t, c, File{name, text("one")})
		ahead := time.Now().Add(24 * time.Hour)
		if err := os.Chtimes(c.path(name), ahead, ahead); err != nil {
			t.Fatal(err)
		}
		start(ctx, t, c, name)
		return c, ctx
	}
	has := func(ctx context.Context, t *testing.T, c *Client, name unit.Name, want string) {
		t.Helper()
		var description string
		if err := c.property(ctx, name, unitIface, "Description", &description); err != nil || description != want {
			t.Errorf("systemd has version %q, not %q (%v)", description, want, err)
		}
	}
	t.Run("replaced", func(t *testing.T) {
		c, ctx := begin(t, "setback.service")
		for i, version := range []string{"two", "three"} {
			rewrite(ctx, t, c, File{"setback.service", text(version)})
			if n := reloads(c, reasonChanged); n != float64(i+1) {
				t.Errorf("%v reloads for %d texts", n, i+1)
			}
			has(ctx, t, c, "setback.service", version)
		}
	})
	t.Run("taken away, and written anew while another refers to it", func(t *testing.T) {
		c, ctx := begin(t, "setback-again.service")
		put(ctx, t, c, File{"setback-wants.service", []byte("[Unit]\nWants=setback-again.service\n" + sleeper)})
		start(ctx, t, c, "setback-wants.service")
		job, err := c.Stop(ctx, "setback-again.service")
		if err != nil {
			t.Fatal(err)
		}
		result(ctx, t, job)
		if err := c.Remove("setback-again.service"); err != nil {
			t.Fatal(err)
		}
		put(ctx, t, c, File{"setback-again.service", text("two")})
		start(ctx, t, c, "setback-again.service")
		has(ctx, t, c, "setback-again.service", "two")
	})
}

// A text that systemd has dropped from memory needs no reload to change.
func TestChangedTextOfStoppedUnit(t *testing.T) {
	c, ctx := dial(t)
	put(ctx, t, c, File{"stopped.service", []byte("[Unit]\nDescription=one\n" + sleeper)})
	start(ctx, t, c, "stopped.service")
	job, err := c.Stop(ctx, "stopped.service")
	if err != nil {
		t.Fatal(err)
	}
	if r := result(ctx, t, job); r != JobDone {
		t.Errorf("stop: %s", r)
	}
	rewrite(ctx, t, c, File{"stopped.service", []byte("[Unit]\nDescription=two\n" + sleeper)})
	start(ctx, t, c, "stopped.service")
	var description string
	if err := c.property(ctx, "stopped.service", unitIface, "Description", &description); err != nil || description != "two" {
		t.Errorf("systemd has version %q, %v", description, err)
	}
	noReloads(t, c)
}

// A unit that others refer to is in memory before its file is there.
func TestReferredToBeforeItExists(t *testing.T) {
	c, ctx := dial(t)
	put(ctx, t, c, File{"first.service", []byte("[Unit]\nWants=later.service\nAfter=later.service\n" + sleeper)})
	start(ctx, t, c, "first.service")
	put(ctx, t, c, File{"later.service", []byte(sleeper)})
	if r := start(ctx, t, c, "later.service"); r != JobDone {
		t.Errorf("job: %s", r)
	}
	noReloads(t, c)
}

func TestFailures(t *testing.T) {
	c, ctx := dial(t)
	put(ctx, t, c,
		File{"fails.service", []byte("[Service]\nType=oneshot\nExecStart=/bin/false\n")},
		File{"needs.service", []byte("[Unit]\nRequires=broken-dep.service\nAfter=broken-dep.service\n" + sleeper)},
		File{"bad.service", []byte("[Service]\nType=simple\n")},
	)
	if r := start(ctx, t, c, "fails.service"); r != JobFailed {
		t.Errorf("job: %s", r)
	}
	want := unit.SystemdState{Load: "loaded", Active: "failed", Sub: "failed", Result: "exit-code"}
	if got := state(ctx, t, c, "fails.service"); got != want {
		t.Errorf("got %+v", got)
	}
	if err := c.ResetFailed(ctx, "fails.service"); err != nil {
		t.Error(err)
	}
	if err := c.ResetFailed(ctx, "fails.service"); err != nil {
		t.Errorf("not loaded is success: %v", err)
	}
	if r := start(ctx, t, c, "needs.service"); r != JobDependency {
		t.Errorf("job: %s", r)
	}

	_, err := c.Start(ctx, "bad.service")
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(err.Error(), "bad.service has a bad unit file setting") {
		t.Errorf("got %v", err)
	}
	if got := state(ctx, t, c, "bad.service"); got.Load != "bad-setting" {
		t.Errorf("got %+v", got)
	}
	if reason, err := c.LoadError(ctx, "bad.service"); err != nil || !strings.Contains(reason, "bad unit file setting") {
		t.Errorf("load error %q, %v", reason, err)
	}
	if _, err := c.Start(ctx, "nowhere.service"); err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("got %v", err)
	}
	job, err := c.Stop(ctx, "nowhere.service")
	if err != nil {
		t.Fatal(err)
	}
	if r := result(ctx, t, job); r != JobDone {
		t.Errorf("stop of nothing: %s", r)
	}
	if err := c.Kill(ctx, "nowhere.service"); err != nil {
		t.Error(err)
	}
	noReloads(t, c)
}

func TestKill(t *testing.T) {
	c, ctx := dial(t)
	put(ctx, t, c, File{"stubborn.service", []byte("[Service]\nTimeoutStopSec=infinity\nExecStart=/bin/sh -c 'trap \"\" TERM; while :; do sleep 1; done'\n")})
	start(ctx, t, c, "stubborn.service")
	job, err := c.Stop(ctx, "stubborn.service")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Kill(ctx, "stubborn.service"); err != nil {
		t.Fatal(err)
	}
	result(ctx, t, job)
	if s := state(ctx, t, c, "stubborn.service"); s.Active != "failed" && s.Active != "inactive" {
		t.Errorf("got %+v", s)
	}
}

func TestInstallSection(t *testing.T) {
	c, ctx := dial(t)
	const name = unit.Name("installed.service")
	put(ctx, t, c, File{name, []byte(sleeper + "[Install]\nWantedBy=multi-user.target\nAlias=other.service\n")})
	link := filepath.Join(theHost.unitDir(), "multi-user.target.wants", string(name))
	if err := c.Enable(ctx, []unit.Name{name}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(link); err != nil {
		t.Error(err)
	}
	if r := start(ctx, t, c, name); r != JobDone {
		t.Errorf("job: %s", r)
	}
	noReloads(t, c)
	if err := c.Reload(ctx); err != nil {
		t.Error(err)
	}
	if err := c.Disable(ctx, []unit.Name{name}); err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{link, filepath.Join(theHost.unitDir(), "other.service")} {
		if _, err := os.Lstat(path); err == nil {
			t.Errorf("%s is left", path)
		}
	}
}
