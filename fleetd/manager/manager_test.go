package manager

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
	"github.com/godbus/dbus/v5"
)

func TestMain(m *testing.M) {
	Main()
	if dir := os.Getenv(holdEnv); dir != "" {
		hold(dir)
	}
	os.Exit(m.Run())
}

// TestFind runs a unit on whatever systemd this user has on this machine: the
// same test binary shows each scope on a host where it is the one.
func TestFind(t *testing.T) {
	m, err := Find(t.Context(), StateDir(t.TempDir()))
	if err != nil {
		if os.Geteuid() != 0 {
			t.Skipf("needs root, or an ordinary user's own systemd: %v", err)
		}
		t.Fatal(err)
	}
	t.Cleanup(func() { noError(t, m.Close()) })
	t.Logf("%s: %s, units in %s", m.Scope, m, m.UnitDir)

	c := connect(t, m)
	name := fmt.Sprintf("fleet-manager-test-%d.service", os.Getpid())
	word := fmt.Sprintf("word-%d", time.Now().UnixNano())
	writeUnit(t, m, name, "[Service]\nExecStart=/bin/sh -c 'echo "+word+"; exec sleep 1000'\n")
	begin := time.Now()
	start(t, c, name)
	t.Logf("StartUnit to JobRemoved: %v", time.Since(begin))
	t.Cleanup(func() {
		result := make(chan string, 1)
		if _, err := c.StopUnitContext(context.Background(), name, "replace", result); err == nil {
			<-result
		}
	})

	// First, because a process is started before it is what it will be.
	follow(t, m, name, word)
	status := run(t, m.Systemctl(), "status", "-l", name)
	if !strings.Contains(status, "active (running)") || !strings.Contains(status, "sleep 1000") {
		t.Errorf("systemctl status shows neither state nor process:\n%s", status)
	}
}

// TestFindRefuses checks that what ordinary users are told helps them.
func TestFindRefuses(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, to become a user without a systemd")
	}
	// A user that has no session and no lingering, anywhere.
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), holdEnv+"=/nonexistent", "XDG_RUNTIME_DIR=")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 64321, Gid: 64321}}
	// Our working directory may not be theirs to see.
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err == nil {
		t.Fatalf("got a manager: %s", out)
	}
	want := "run fleetd dev as root, which starts a private one"
	if booted() {
		want = "loginctl enable-linger 64321"
	}
	if got := strings.TrimSpace(string(out)); !strings.Contains(got, want) || strings.Contains(got, "\n") {
		t.Errorf("got %q, want one line with %q", got, want)
	}
}

func TestBusAddress(t *testing.T) {
	for path, want := range map[string]string{
		"/run/systemd/private":   "unix:path=/run/systemd/private",
		"/tmp/a b,c;d=e%f/ü/bus": "unix:path=/tmp/a%20b%2cc%3bd%3de%25f/%c3%bc/bus",
	} {
		if got := busAddress(path); got != want {
			t.Errorf("busAddress(%q) = %q, want %q", path, got, want)
		}
	}
}

func TestStateDir(t *testing.T) {
	a, b := StateDir("/var/lib/fleet"), StateDir("/var/lib/fleet2")
	if a == b || a != StateDir("/var/lib/fleet") {
		t.Errorf("got %q and %q for two data directories", a, b)
	}
	if len(a) != len("/run/fleet-dev-")+8 || filepath.Dir(a) != "/run" {
		t.Errorf("got %q", a)
	}
}

// connect is how agents connect.
func connect(t *testing.T, m *Manager) *systemd.Conn {
	t.Helper()
	c, err := systemd.NewConnection(func() (*dbus.Conn, error) { return dial(context.Background(), m.BusAddress) })
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func writeUnit(t *testing.T, m *Manager, name, text string) {
	t.Helper()
	path := filepath.Join(m.UnitDir, name)
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(path) })
}

// start starts a unit that systemd hasn't loaded, without a reload.
func start(t *testing.T, c *systemd.Conn, name string) {
	t.Helper()
	result := make(chan string, 1)
	if _, err := c.StartUnitContext(t.Context(), name, "replace", result); err != nil {
		t.Fatal(err)
	}
	select {
	case r := <-result:
		if r != "done" {
			t.Fatalf("start %s: %s", name, r)
		}
	case <-t.Context().Done():
		t.Fatal(t.Context().Err())
	}
}

// run runs a command in a process outside, as fleetctl does.
func run(t *testing.T, prefix []string, args ...string) string {
	t.Helper()
	argv := append(append([]string{}, prefix...), args...)
	out, err := exec.Command(argv[0], argv[1:]...).CombinedOutput()
	if err != nil {
		t.Errorf("%q: %v\n%s", argv, err, out)
	}
	return string(out)
}

// follow waits until `journalctl -f` shows the unit saying word.
func follow(t *testing.T, m *Manager, name, word string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	argv := append(m.Journalctl(), "--unit", name, "-n", "100", "-o", "short", "-f")
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	pipe, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Stderr = cmd.Stdout
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var seen strings.Builder
	buf := make([]byte, 4096)
	for !strings.Contains(seen.String(), word+"\n") {
		n, err := pipe.Read(buf)
		seen.Write(buf[:n])
		if err != nil {
			t.Errorf("%q ended before %q appeared: %v\n%s", argv, word, err, seen.String())
			t.Logf("now it is\n%s", run(t, m.Systemctl(), "show", "-p", "SubState,MainPID,Result,NRestarts", name))
			break
		}
	}
	cancel()
	cmd.Wait()
}

func noError(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
	}
}
