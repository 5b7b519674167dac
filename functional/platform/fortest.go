package platform

import (
	"context"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"
)

// TB is what ForTest uses of a *testing.T.
type TB interface {
	Helper()
	Name() string
	Context() context.Context
	Logf(format string, args ...any)
	Skipf(format string, args ...any)
	Fatalf(format string, args ...any)
	Errorf(format string, args ...any)
	Failed() bool
	Cleanup(func())
}

// ForTest boots hosts for a test, and removes them at its end. If the test has
// failed by then, it leaves the hosts' journals in a directory and names it.
// Where real hosts can't be booted the test is skipped.
func ForTest(t TB, specs ...HostSpec) *Platform {
	t.Helper()
	if err := Check(); err != nil {
		t.Skipf("no real hosts here: %v", err)
	}
	out := &lineWriter{emit: func(line string) { t.Logf("%s", line) }}
	p, err := New(t.Context(), Options{Name: testPlatformName(t.Name()), Out: out})
	if err != nil {
		t.Fatalf("platform: %v", err)
	}
	collect := func() {
		// The test's own context is over by now.
		ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
		defer cancel()
		dir := failedDir(t.Name())
		if err := p.CollectJournals(ctx, dir); err != nil {
			t.Logf("collect journals: %v", err)
		}
		t.Logf("the hosts' journals are in %s", dir)
	}
	stop := beforeDeadline(t, collect)
	t.Cleanup(func() {
		stop()
		if t.Failed() {
			collect()
		}
		if err := p.Close(); err != nil {
			t.Errorf("platform: %v", err)
		}
	})
	if _, err := p.BootAll(t.Context(), specs...); err != nil {
		t.Fatalf("platform: %v", err)
	}
	return p
}

// beforeDeadline calls f shortly before `go test -timeout` would end the
// process, which runs no cleanup.
func beforeDeadline(t TB, f func()) (stop func()) {
	d, ok := t.(interface{ Deadline() (time.Time, bool) })
	if !ok {
		return func() {}
	}
	deadline, ok := d.Deadline()
	if !ok {
		return func() {}
	}
	timer := time.AfterFunc(time.Until(deadline)-10*time.Second, f)
	return func() { timer.Stop() }
}

var notInName = regexp.MustCompile(`[^a-z0-9]+`)

// testPlatformName is a name that says which test it is, and is the test's alone.
func testPlatformName(test string) string {
	name := notInName.ReplaceAllString(strings.ToLower(strings.TrimPrefix(test, "Test")), "-")
	if len(name) > 24 {
		name = name[:24]
	}
	return strings.Trim("t-"+strings.Trim(name, "-"), "-") + "-" + randomHex(3)
}

// failedDir is where a failed test's journals go: below $FLEET_FAILED_DIR, or
// the module's functional/failed.
func failedDir(test string) string {
	base := os.Getenv("FLEET_FAILED_DIR")
	if base == "" {
		base = filepath.Join(moduleDir(), "functional", "failed")
	}
	return filepath.Join(base, strings.NewReplacer("/", "_", " ", "_").Replace(test))
}

// moduleDir is the directory of the go.mod at or above the working directory.
func moduleDir() string {
	dir, err := os.Getwd()
	if err != nil {
		return "."
	}
	for at := dir; at != "/"; at = filepath.Dir(at) {
		if _, err := os.Stat(filepath.Join(at, "go.mod")); err == nil {
			return at
		}
	}
	return dir
}
