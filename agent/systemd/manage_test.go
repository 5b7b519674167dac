package systemd

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestDo(t *testing.T) {
	c, ctx := dial(t)
	put(ctx, t, c, File{Name: "do.service", Text: []byte("[Service]\nExecStart=/bin/sleep infinity\nExecReload=/bin/true\n")})
	for _, verb := range []string{
		"try-restart", "reload-or-try-restart", // it doesn't run: nothing to do
		"start", "reload", "reload-or-restart", "restart", "stop",
	} {
		if got, err := c.Do(ctx, "do.service", verb); err != nil || got != JobDone {
			t.Errorf("%s: %q, %v", verb, got, err)
		}
	}
	if got, err := c.Do(ctx, "broken-dep.service", "start"); err != nil || got != JobFailed {
		t.Errorf("what fails: %q, %v", got, err)
	}
	if _, err := c.Do(ctx, "nobody-has-this.service", "start"); !notLoaded(err) {
		t.Errorf("what isn't there: %v", err)
	}
	if _, err := c.Do(ctx, "do.service", "begin"); err == nil {
		t.Error("there is a verb begin")
	}
}

func TestRun(t *testing.T) {
	c, ctx := dial(t)
	file := filepath.Join(t.TempDir(), "ran")
	if got, err := c.Run(ctx, "run.service", []string{"/bin/sh", "-c", `echo "$1" > ` + file, "sh", "a b"}); err != nil || got != JobDone {
		t.Fatalf("%q, %v", got, err)
	}
	if text, err := os.ReadFile(file); err != nil || string(text) != "a b\n" {
		t.Errorf("it left %q, %v", text, err)
	}
	for range 2 { // what failed before is in nobody's way
		if got, err := c.Run(ctx, "run-fails.service", []string{"/bin/sh", "-c", "exit 3"}); err != nil || got != JobFailed {
			t.Errorf("%q, %v", got, err)
		}
	}
}

func TestLaunch(t *testing.T) {
	c, ctx := dial(t)
	launch := func() error {
		return c.Launch(ctx, "launch.service", "Waits", []string{"/bin/sleep", "infinity"}, "ssh.service")
	}
	for range 2 {
		if err := launch(); err != nil {
			t.Fatal(err)
		}
		if err := launch(); err == nil || !strings.Contains(err.Error(), "launch.service is at work already") {
			t.Errorf("a second one: %v", err)
		}
		if got, err := c.Do(ctx, "launch.service", "stop"); err != nil || got != JobDone {
			t.Errorf("stopping it: %q, %v", got, err)
		}
	}
}
