package manager

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	systemd "github.com/coreos/go-systemd/v22/dbus"
)

// holdEnv makes a second process of this test a fleetd with a directory.
const holdEnv = "FLEET_MANAGER_TEST_HOLD"

// hold is that process: it finds a manager and then waits to be killed.
func hold(dir string) {
	m, err := Find(context.Background(), dir)
	if os.Geteuid() == 0 && err == nil && m.Scope == System {
		init, _ := installed()
		m, err = findPrivate(context.Background(), dir, init)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("found", m.Adopted)
	io.Copy(io.Discard, os.Stdin)
	os.Exit(0)
}

// newPrivate makes a private manager, also where systemd is PID 1.
func newPrivate(t *testing.T, dir string) *Manager {
	t.Helper()
	needRoot(t)
	init, err := installed()
	if err != nil {
		t.Skip(err)
	}
	begin := time.Now()
	m, err := findPrivate(t.Context(), dir, init)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s after %v", m, time.Since(begin))
	t.Cleanup(func() { noError(t, m.Close()) })
	return m
}

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("needs root, in a machine or container where root may mount")
	}
}

func stateDir(t *testing.T) string { return StateDir(t.TempDir()) }

// TestPrivateUnits checks that units mean there what they mean in production.
func TestPrivateUnits(t *testing.T) {
	m := newPrivate(t, stateDir(t))
	c := connect(t, m)

	// The machine's files and network are the units' own.
	file := filepath.Join(t.TempDir(), "file")
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	port := l.Addr().(*net.TCPAddr).Port
	hostname, _ := os.Hostname()
	for _, unit := range []struct{ name, text string }{
		{"oneshot.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'echo made >" + file + "'\n"},
		{"network.service", fmt.Sprintf("[Service]\nType=oneshot\nExecStart=/bin/bash -c '</dev/tcp/127.0.0.1/%d'\n", port)},
		{"user.service", "[Service]\nType=oneshot\nUser=nobody\nRuntimeDirectory=fleet-dev-test\nExecStart=/bin/sh -c 'test $(id -un) = nobody && test -w /run/fleet-dev-test'\n"},
		{"dynamic.service", "[Service]\nType=oneshot\nDynamicUser=yes\nExecStart=/bin/sh -c 'test $(id -u) -ge 61184'\n"}, // its name takes libnss-systemd
		{"host.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'test %H = " + hostname + " && test $(cat /proc/sys/kernel/hostname) = " + hostname + "'\n"},
		{"sysctl.service", "[Service]\nType=oneshot\nExecStart=/bin/sh -c 'test -w /proc/sys/kernel/domainname && ! grep -q /dev/kmsg /proc/self/mountinfo'\n"},
		{"private-tmp.service", "[Service]\nType=oneshot\nPrivateTmp=yes\nExecStart=/bin/sh -c 'test -z \"$(ls -A /tmp)\"'\n"},
		{"after.service", "[Unit]\nWants=network-online.target\nRequires=network.target local-fs.target\nAfter=network-online.target docker.service\n[Service]\nType=oneshot\nExecStart=/bin/true\n[Install]\nWantedBy=multi-user.target\n"},
		{"instance@.service", "[Service]\nExecStart=/bin/sleep 1%i\n"},
		{"timer.service", "[Service]\nExecStart=/bin/true\n"},
		{"timer.timer", "[Timer]\nOnCalendar=daily\n"},
	} {
		writeUnit(t, m, unit.name, unit.text)
		t.Run(unit.name, func(t *testing.T) {
			start(t, c, strings.Replace(unit.name, "@", "@7", 1))
			if t.Failed() {
				t.Log(run(t, m.Journalctl(), "--unit", unit.name))
			}
		})
	}
	if text, err := os.ReadFile(file); string(text) != "made\n" {
		t.Errorf("the unit's file has %q, %v", text, err)
	}
	p, err := c.GetUnitPropertyContext(t.Context(), "oneshot.service", "FragmentPath")
	if err != nil {
		t.Fatal(err)
	}
	if got, want := p.Value.Value(), filepath.Join(m.UnitDir, "oneshot.service"); got != want {
		t.Errorf("FragmentPath is %q, want %q", got, want)
	}
	if failed := run(t, m.Systemctl(), "list-units", "--failed", "--no-legend"); failed != "" {
		t.Errorf("failed units: %s", failed)
	}
}

// TestPrivateRestarts checks Restart= and that a changed file takes effect
// after a reload, as on any systemd.
func TestPrivateRestarts(t *testing.T) {
	m := newPrivate(t, stateDir(t))
	c := connect(t, m)
	const text = "[Unit]\nStartLimitIntervalSec=0\n[Service]\nExecStart=/bin/sh -c 'echo run $RUN; test -n \"$RUN\" && exec sleep 1000'\nRestart=on-failure\nRestartSec=10ms\n"
	writeUnit(t, m, "again.service", text)
	start(t, c, "again.service")
	follow(t, m, "again.service", "systemd[1]: again.service: Scheduled restart job, restart counter is at 3.")
	writeUnit(t, m, "again.service", text+"Environment=RUN=final\n")
	if err := c.ReloadContext(t.Context()); err != nil {
		t.Fatal(err)
	}
	follow(t, m, "again.service", "run final")
}

// TestPrivateAdopted: SIGKILL of fleetd restarts no unit.
func TestPrivateAdopted(t *testing.T) {
	dir := stateDir(t)
	fleetd := startHolder(t, dir)

	init, _ := installed()
	if _, err := findPrivate(t.Context(), dir, init); err == nil || !strings.Contains(err.Error(), "another fleetd dev runs") {
		t.Errorf("a second fleetd got: %v", err)
	}
	// Put a unit there, as that fleetd's agent would.
	unit := "[Service]\nExecStart=/bin/sleep 1000\n"
	if err := os.WriteFile(filepath.Join(dir, "units/held.service"), []byte(unit), 0o644); err != nil {
		t.Fatal(err)
	}
	before := &Manager{BusAddress: busAddress(filepath.Join(dir, "bus"))}
	c := connect(t, before)
	start(t, c, "held.service")
	pid := mainPID(t, c, "held.service")

	if err := fleetd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	fleetd.Wait()
	m := newPrivate(t, dir)
	if !m.Adopted {
		t.Fatal("started a new one")
	}
	if now := mainPID(t, connect(t, m), "held.service"); now != pid {
		t.Errorf("main PID was %d, is %d", pid, now)
	}
	noError(t, m.Close())
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("after Close there is %s (%v)", dir, err)
	}
}

// TestPrivateLost: fleetd and its systemd are both killed.
func TestPrivateLost(t *testing.T) {
	dir := stateDir(t)
	before := traces(t, dir)
	fleetd := startHolder(t, dir)
	id, err := readIdentity(dir)
	if err != nil {
		t.Fatal(err)
	}
	fleetd.Process.Kill()
	fleetd.Wait()
	old, err := os.FindProcess(id.PID)
	if err != nil {
		t.Fatal(err)
	}
	old.Kill()
	// No waiting for it: an ending one isn't adopted.
	os.WriteFile(filepath.Join(dir, "units/stale.service"), nil, 0o644)

	m := newPrivate(t, dir)
	if m.Adopted {
		t.Error("adopted a dead one")
	}
	if left, _ := os.ReadDir(m.UnitDir); len(left) > 0 {
		t.Errorf("it starts with %v", left)
	}
	// And now this one dies under us.
	ours, _ := os.FindProcess(m.private.id.PID)
	ours.Kill()
	<-m.Done()
	noError(t, m.Close())
	compareTraces(t, dir, before)
}

// TestDial: systemd forgets a call that it reads together with the end of the
// authentication, which without dial's knocking is more than every second one.
func TestDial(t *testing.T) {
	m := newPrivate(t, stateDir(t))
	for range 100 {
		if err := ping(t.Context(), m.BusAddress); err != nil {
			t.Fatal(err)
		}
	}
}

// TestPrivateLeavesNothing: Close stops units as a shutdown does, and no trace
// of anything stays.
func TestPrivateLeavesNothing(t *testing.T) {
	needRoot(t)
	dir := stateDir(t)
	before := traces(t, dir)
	m := newPrivate(t, dir)
	c := connect(t, m)
	file := filepath.Join(t.TempDir(), "stopped")
	writeUnit(t, m, "first.service", "[Service]\nRestart=always\nRuntimeDirectory=fleet-dev-first\nExecStart=/bin/sleep 1000\nExecStop=/bin/sh -c 'echo first >>"+file+"'\n")
	writeUnit(t, m, "second.service", "[Unit]\nRequires=first.service\nAfter=first.service\n[Service]\nExecStart=/bin/sh -c 'setsid sleep 1000 & exec sleep 1000'\nExecStop=/bin/sh -c 'echo second >>"+file+"'\n")
	start(t, c, "second.service")
	// A reader doesn't keep it alive.
	argv := append(m.Journalctl(), "-f")
	reader := exec.Command(argv[0], argv[1:]...)
	noError(t, reader.Start())
	defer func() { reader.Process.Kill(); reader.Wait() }()

	alive := strings.Join(traces(t, dir), "\n")
	for _, want := range []string{"process ", "cgroup ", "file " + dir} {
		if !strings.Contains(alive, want) {
			t.Errorf("while it runs there is no %q in\n%s", want, alive)
		}
	}
	begin := time.Now()
	noError(t, m.Close())
	t.Logf("closed in %v", time.Since(begin))
	if text, err := os.ReadFile(file); string(text) != "second\nfirst\n" {
		t.Errorf("units stopped in the order %q (%v), want second before first", text, err)
	}
	noError(t, m.Close())
	compareTraces(t, dir, before)
}

func TestPrivateRefuses(t *testing.T) {
	needRoot(t)
	for name, test := range map[string]struct{ dir, init, want string }{
		"long directory": {"/run/" + strings.Repeat("x", 110), "/bin/true", "choose a shorter one"},
		"colon":          {"/run/fleet-dev:test", "/bin/true", "without a colon"},
		"no systemd":     {stateDir(t), "/bin/true", "ended while it started"},
		"nothing":        {stateDir(t), "/nonexistent", "exec /nonexistent: no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			before := traces(t, test.dir)
			_, err := findPrivate(t.Context(), test.dir, test.init)
			if err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("got %v, want %q", err, test.want)
			}
			compareTraces(t, test.dir, before)
		})
	}
}

// startHolder starts a fleetd to be killed.
func startHolder(t *testing.T, dir string) *exec.Cmd {
	t.Helper()
	needRoot(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^$")
	cmd.Env = append(os.Environ(), holdEnv+"="+dir)
	cmd.Stderr = os.Stderr
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		stdin.Close()
		cmd.Process.Kill()
		cmd.Wait()
		if _, err := os.Stat(dir); err == nil {
			// The test failed before it was the one to close it.
			init, _ := installed()
			m, err := findPrivate(context.Background(), dir, init)
			noError(t, err)
			noError(t, m.Close())
		}
	})
	line, err := bufio.NewReader(stdout).ReadString('\n')
	if line != "found false\n" {
		t.Fatalf("%q, %v", line, err)
	}
	return cmd
}

func mainPID(t *testing.T, c *systemd.Conn, name string) uint32 {
	t.Helper()
	p, err := c.GetServicePropertyContext(t.Context(), name, "MainPID")
	if err != nil {
		t.Fatal(err)
	}
	return p.Value.Value().(uint32)
}

// traces is what a manager with this directory could leave outside of itself.
// Others use this machine too, and leave theirs.
func traces(t *testing.T, dir string) []string {
	t.Helper()
	var found []string
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if strings.HasPrefix(f[4], dir) || slices.Contains([]string{"/run", "/run/systemd", "/run/log", "/proc/sys", "/dev/kmsg", "/dev/console"}, f[4]) {
			found = append(found, "mount "+line)
		}
	}
	for _, path := range []string{dir, "/run/systemd", "/run/log", "/run/log/journal", "/run/credentials", "/run/machine-id", machineID, "/dev/log"} {
		if _, err := os.Lstat(path); err == nil {
			found = append(found, "file "+path)
		}
	}
	for _, sysctl := range []string{"fs/file-max", "fs/nr_open", "net/unix/max_dgram_qlen", "kernel/core_pattern", "kernel/pid_max", "kernel/hostname"} {
		text, _ := os.ReadFile(filepath.Join("/proc/sys", sysctl))
		found = append(found, "sysctl "+sysctl+"="+string(text))
	}
	cgroup := cgroupName(dir)
	groups, _ := filepath.Glob("/proc/[0-9]*/cgroup")
	for _, path := range groups {
		text, _ := os.ReadFile(path)
		pid, _ := strconv.Atoi(filepath.Base(filepath.Dir(path)))
		// A zombie is its parent's to reap: after SIGKILL of fleetd, PID 1's.
		if _, err := startTime(pid); err == nil && strings.Contains(string(text), cgroup) {
			found = append(found, "process "+path)
		}
	}
	filepath.WalkDir("/sys/fs/cgroup", func(path string, d os.DirEntry, err error) error {
		if err == nil && d.IsDir() && d.Name() == cgroup {
			found = append(found, "cgroup "+path)
		}
		return nil
	})
	return found
}

func compareTraces(t *testing.T, dir string, before []string) {
	t.Helper()
	for _, trace := range traces(t, dir) {
		if !slices.Contains(before, trace) {
			t.Errorf("left behind: %s", trace)
		}
	}
}
