package apply

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// cutOff is a config with all that an Apply can do to files.
const cutOff = `"passwd": {
	"groups": [{"name": "team"}, {"name": "gone", "shouldExist": false}],
	"users": [
		{"name": "jo", "groups": ["team", "sudo"], "passwordHash": "$6$x", "sshAuthorizedKeys": ["ssh-ed25519 AAAA jo"]},
		{"name": "core", "sshAuthorizedKeys": ["ssh-ed25519 AAAA core"], "groups": ["team"]},
		{"name": "leaver", "shouldExist": false}]},
"storage": {
	"directories": [{"path": "/srv/data", "mode": 448, "user": {"name": "jo"}}, {"path": "/srv/became", "overwrite": true}],
	"files": [
		{"path": "/etc/motd", "overwrite": true, "mode": 420, "contents": {"source": "data:,hello%0A"}},
		{"path": "/srv/data/deep/er/file", "mode": 2541, "user": {"name": "jo"}, "group": {"name": "team"}, "contents": {"source": "data:,x%0A"}},
		{"path": "/etc/environment", "append": [{"source": "data:,A=1%0A"}]}],
	"links": [{"path": "/srv/link", "target": "/srv/data"}, {"path": "/srv/hard", "hard": true, "target": "/etc/motd"}]},
"systemd": {"units": [
	{"name": "web.service", "enabled": true, "contents": "[Service]\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\nAlias=www.service\n"},
	{"name": "docker.service", "enabled": false, "dropins": [{"name": "10-x.conf", "contents": "[Service]\nNice=1\n"}]},
	{"name": "sshd.service", "mask": true},
	{"name": "masked.service", "mask": false}]}`

func cutOffRoot(t *testing.T) string {
	t.Helper()
	root := hostImage(t)
	addTo(t, root, map[string]string{
		"/etc/passwd":                        host["/etc/passwd"] + "leaver:x:1005:1005::/home/leaver:/bin/sh\n",
		"/etc/group":                         host["/etc/group"] + "gone:x:1100:\nleaver:x:1005:\n",
		"/home/leaver/a/b":                   "x\n",
		"/home/leaver/c":                     "->/etc",
		"/srv/became":                        "a file\n",
		"/etc/systemd/system/masked.service": "->/dev/null",
		"/etc/systemd/system/multi-user.target.wants/docker.service": "->/usr/lib/systemd/system/docker.service",
	})
	if os.Geteuid() == 0 {
		if err := os.Chown(root+"/home/leaver", 1005, 1005); err != nil {
			t.Fatal(err)
		}
	}
	return root
}

const (
	childRoot = "FLEET_APPLY_TEST_ROOT" // set: this process is the one to be killed
	childKill = "FLEET_APPLY_TEST_KILL" // before which write it kills itself
)

// TestMain is the child of the tests that kill it.
func TestMain(m *testing.M) {
	if root := os.Getenv(childRoot); root != "" {
		os.Exit(child(root))
	}
	// Each write waits for the disk, which these tests aren't about.
	if unix.Access("/dev/shm", unix.W_OK) == nil {
		_ = os.Setenv("TMPDIR", "/dev/shm") // of names, any is fine
	}
	os.Exit(m.Run())
}

func child(root string) int {
	at, _ := strconv.Atoi(os.Getenv(childKill)) // none: at any time
	in, err := parsed(cutOff)
	if err != nil {
		panic(err)
	}
	writes := 0
	a, err := newCutOff(root, func() {
		if writes++; writes == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	})
	if err == nil {
		defer a.Close()
		_, err = a.Apply(context.Background(), in)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	return 0
}

// newCutOff opens a root whose systemd notes in a file that it was reloaded.
func newCutOff(root string, before func()) (*Applier, error) {
	return New(Options{Root: root, now: today, noOwners: os.Geteuid() != 0, hook: func(string) { before() },
		Manager: &manager{name: "image", onReload: func() { _ = os.WriteFile(root+"/reloaded", nil, 0o644) }}})
}

// killedAt says whether a process of its own that is to kill itself before a write
// did so.
func killedAt(t *testing.T, root string, write int) bool {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childRoot+"="+root, childKill+"="+strconv.Itoa(write))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return true
	}
	t.Logf("%v: %s", err, out)
	return false
}

// Cut off before each of its writes in turn, and run again, an Apply leaves what
// one that wasn't does; and systemd has been told in the end. To the disk a panic
// is what SIGKILL is, and quicker: nothing that an Apply defers writes.
func TestCutOffAtEachWrite(t *testing.T) {
	want, writes := uninterrupted(t)
	for at := 1; at <= writes; at++ {
		t.Run(strconv.Itoa(at), func(t *testing.T) {
			t.Parallel()
			root := cutOffRoot(t)
			if done := attempt(t, root, at); done != at {
				t.Fatalf("it was cut off before write %d, not %d", done, at)
			}
			attempt(t, root, 0)
			if diff := changed(want, treeOf(t, root)); diff != "" {
				t.Errorf("cut off before write %d and run again, it differs:\n%s", at, diff)
			}
			if more := attempt(t, root, 0); more != 0 {
				t.Errorf("run once more, it wrote %d times", more)
			}
		})
	}
}

// uninterrupted gives what one run leaves, and how often it writes.
func uninterrupted(t *testing.T) (tree map[string]string, writes int) {
	t.Helper()
	root := cutOffRoot(t)
	if writes = attempt(t, root, 0); writes < 100 {
		t.Fatalf("it wrote only %d times", writes)
	}
	return treeOf(t, root), writes
}

// attempt applies until before a write, or to the end, and says how far it got.
func attempt(t *testing.T, root string, stopAt int) (writes int) {
	t.Helper()
	stop := errors.New("cut off")
	a, err := newCutOff(root, func() {
		if writes++; writes == stopAt {
			panic(stop)
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer func() {
		if r := recover(); r != nil && r != stop {
			panic(r)
		}
	}()
	if _, err := a.Apply(t.Context(), ignition(t, cutOff)); err != nil {
		t.Fatal(err)
	}
	return writes
}

// Killed, before some of its writes.
func TestKilledAtWrites(t *testing.T) {
	want, writes := uninterrupted(t)
	for at := 7; at <= writes; at += 17 {
		root := cutOffRoot(t)
		if !killedAt(t, root, at) {
			t.Fatalf("it wasn't killed before write %d", at)
		}
		attempt(t, root, 0)
		if diff := changed(want, treeOf(t, root)); diff != "" {
			t.Errorf("killed before write %d and run again, it differs:\n%s", at, diff)
		}
	}
}

// Killed at any time, several times in a row.
func TestKilledAtAnyTime(t *testing.T) {
	want, _ := uninterrupted(t)
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for range 20 {
		root := cutOffRoot(t)
		for range 3 {
			cmd := exec.Command(self)
			cmd.Env = append(os.Environ(), childRoot+"="+root)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			timer := time.AfterFunc(time.Duration(random.IntN(40_000))*time.Microsecond, func() { _ = cmd.Process.Kill() })
			_ = cmd.Wait() // killed or not
			timer.Stop()
		}
		attempt(t, root, 0)
		if diff := changed(want, treeOf(t, root)); diff != "" {
			t.Errorf("killed three times and run again, it differs:\n%s", diff)
		}
		if left, _ := filepath.Glob(root + "/*/" + tempPrefix + "*"); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}
