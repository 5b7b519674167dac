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
	"strings"
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
	at, _ := strconv.Atoi(os.Getenv(childKill))
	writes := 0
	in, err := parsed(cutOff)
	if err != nil {
		panic(err)
	}
	a, err := New(Options{Root: root, Manager: &manager{name: "image", onReload: func() {
		// The reload is told to a file: what was told before a kill must not count.
		_ = os.WriteFile(root+"/reloaded", nil, 0o644)
	}}, now: today, noOwners: os.Geteuid() != 0, hook: func(string) {
		if writes++; writes == at {
			_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
			select {}
		}
	}})
	if err == nil {
		defer a.Close()
		_, err = a.Apply(context.Background(), in)
	}
	first := writes
	if err == nil {
		_, err = a.Apply(context.Background(), in)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	if writes != first {
		fmt.Fprintf(os.Stderr, "a second time, it wrote %d times more\n", writes-first)
		return 1
	}
	fmt.Println(writes)
	return 0
}

// run runs the child; killed says that it was.
func run(t *testing.T, root string, killAt int) (out string, killed bool) {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(self)
	cmd.Env = append(os.Environ(), childRoot+"="+root, childKill+"="+strconv.Itoa(killAt))
	text, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.Sys().(syscall.WaitStatus).Signal() == syscall.SIGKILL {
		return "", true
	}
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	return strings.TrimSpace(string(text)), false
}

// Killed before each of its writes in turn, and run again, an Apply leaves what
// one that wasn't killed does; and systemd has been told in the end.
func TestKilledAtEachWrite(t *testing.T) {
	root := cutOffRoot(t)
	out, _ := run(t, root, 0)
	writes, err := strconv.Atoi(out)
	if err != nil || writes < 100 {
		t.Fatalf("it wrote %q times (%v)", out, err)
	}
	want := treeOf(t, root)
	for at := 1; at <= writes; at++ {
		t.Run(strconv.Itoa(at), func(t *testing.T) {
			t.Parallel()
			root := cutOffRoot(t)
			if _, killed := run(t, root, at); !killed {
				t.Fatal("it wasn't killed")
			}
			run(t, root, 0)
			if diff := changed(want, treeOf(t, root)); diff != "" {
				t.Errorf("killed before write %d and run again, it differs:\n%s", at, diff)
			}
		})
	}
}

// Killed at any time, several times in a row.
func TestKilledAtAnyTime(t *testing.T) {
	root := cutOffRoot(t)
	run(t, root, 0)
	want := treeOf(t, root)
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
		run(t, root, 0)
		if diff := changed(want, treeOf(t, root)); diff != "" {
			t.Errorf("killed three times and run again, it differs:\n%s", diff)
		}
		if left, _ := filepath.Glob(root + "/*/" + tempPrefix + "*"); len(left) > 0 {
			t.Errorf("left: %v", left)
		}
	}
}
