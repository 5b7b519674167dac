package platform

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// ownerEnv makes this test binary a platform's owner: see TestMain.
const ownerEnv = "FLEET_PLATFORM_TEST_OWNER"

// TestMain serves the tests that need another process to own a platform. What
// it does is "stay" (until killed), "detach" (and end), or "check" and no more.
func TestMain(m *testing.M) {
	what, name, ok := strings.Cut(os.Getenv(ownerEnv), " ")
	if !ok {
		os.Exit(m.Run())
	}
	if err := own(what, name); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func own(what, name string) error {
	if what == "check" {
		return Check()
	}
	p, err := New(context.Background(), Options{Name: name, Out: os.Stderr})
	if err != nil {
		return err
	}
	if _, err := p.Boot(context.Background(), HostSpec{Name: "n1"}); err != nil {
		return err
	}
	if what == "detach" {
		return p.Detach()
	}
	fmt.Println("ready")
	select {}
}

func startOwner(t *testing.T, what, name string) *exec.Cmd {
	t.Helper()
	if err := Check(); err != nil {
		t.Skipf("no real hosts here: %v", err)
	}
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), ownerEnv+"="+what+" "+name)
	cmd.Stderr = os.Stderr
	return cmd
}

// remains lists what there is of a platform on this machine.
func remains(t *testing.T, d description) []string {
	t.Helper()
	var found []string
	mounts, err := mountsBelow(platformDir(d.Name))
	if err != nil {
		t.Fatal(err)
	}
	found = append(found, mounts...)
	twin, err := cgroupTwin(d.Cgroup)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range []string{platformDir(d.Name), d.Data, d.Cgroup, twin} {
		if _, err := os.Lstat(path); err == nil {
			found = append(found, path)
		}
	}
	cmdlines, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range cmdlines {
		data, err := os.ReadFile(path)
		if err == nil && (strings.Contains(string(data), platformDir(d.Name)) || strings.Contains(string(data), d.Data)) {
			found = append(found, path+": "+strings.ReplaceAll(string(data), "\x00", " "))
		}
	}
	// Another platform may have taken the subnet since.
	if mac, err := os.ReadFile("/sys/class/net/" + d.Net.bridge() + "/address"); err == nil {
		if strings.TrimSpace(string(mac)) == d.Net.MAC {
			found = append(found, d.Net.bridge())
		}
		return found
	}
	links, _ := filepath.Glob("/sys/class/net/" + d.Net.links() + "*")
	found = append(found, links...)
	for _, list := range [][]string{{"nft", "list", "tables"}, {"iptables", "-S", "FORWARD"}} {
		out, err := run(t.Context(), list...)
		if errors.Is(err, exec.ErrNotFound) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.SplitSeq(out, "\n") {
			if strings.Contains(line+" ", d.Net.bridge()+" ") {
				found = append(found, line)
			}
		}
	}
	return found
}

func TestCloseLeavesNothing(t *testing.T) {
	t.Parallel()
	if err := Check(); err != nil {
		t.Skipf("no real hosts here: %v", err)
	}
	ctx := t.Context()
	p, err := New(ctx, Options{Name: testPlatformName(t.Name()), Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	hosts, err := p.BootAll(ctx, HostSpec{Name: "n1"}, HostSpec{Name: "n2", Docker: true}, HostSpec{Name: "n3"})
	if err != nil {
		t.Fatal(err)
	}
	// A host in every state.
	mustRun(t, hosts[0], "sleep 1000 >/dev/null 2>&1 &")
	if err := errors.Join(hosts[0].CutPorts(ctx, 1), hosts[1].Freeze(ctx), hosts[2].Kill()); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{p.Bridge(), p.desc.Cgroup, p.desc.Data, platformDir(p.Name()), "systemd-nspawn"} {
		if !strings.Contains(strings.Join(remains(t, p.desc), "\n"), want) {
			t.Errorf("this test doesn't see %s", want)
		}
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	// The reaper ends by itself, soon.
	eventually(t, "the platform's traces to vanish", func() bool { return len(remains(t, p.desc)) == 0 })
	if err := p.Close(); err != nil {
		t.Errorf("a second Close: %v", err)
	}
	if _, err := p.Boot(ctx, HostSpec{Name: "late"}); err == nil || !strings.Contains(err.Error(), "closed") {
		t.Errorf("Boot on a closed platform: %v", err)
	}
}

func TestCloseDuringBoot(t *testing.T) {
	t.Parallel()
	p := ForTest(t)
	booted := make(chan error, 1)
	go func() {
		_, err := p.BootAll(t.Context(), HostSpec{Name: "n1"}, HostSpec{Name: "n2"})
		booted <- err
	}()
	eventually(t, "a host's processes", func() bool { return cgroupEvent(p.desc.Cgroup, "populated") == "1" })
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-booted; err == nil {
		t.Log("booted before Close got at it")
	}
	eventually(t, "the platform's traces to vanish", func() bool { return len(remains(t, p.desc)) == 0 })
}

func TestKilledOwner(t *testing.T) {
	t.Parallel()
	name := testPlatformName(t.Name())
	cmd := startOwner(t, "stay", name)
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, _ := bufio.NewReader(stdout).ReadString('\n')
	if line != "ready\n" {
		t.Fatalf("the owner said %q: %v", line, cmd.Wait())
	}
	p, err := Open(name)
	if err != nil {
		t.Fatal(err)
	}
	if state := p.Host("n1").State(); state != Running {
		t.Errorf("n1 is %s", state)
	}
	if err := Reap(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	if p.Host("n1").State() != Running {
		t.Fatal("a platform was reaped whose owner lives")
	}
	gone := watchRemoval(t, platformDir(name))
	if err := cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = cmd.Wait()
	gone()
	eventually(t, "the platform's traces to vanish", func() bool { return len(remains(t, p.desc)) == 0 })
}

func TestDetachedPlatformStays(t *testing.T) {
	t.Parallel()
	name := testPlatformName(t.Name())
	cmd := startOwner(t, "detach", name)
	if err := cmd.Run(); err != nil {
		t.Fatal(err)
	}
	if err := Reap(t.Context(), nil); err != nil {
		t.Fatal(err)
	}
	platforms, err := List()
	if err != nil {
		t.Fatal(err)
	}
	var p *Platform
	for _, found := range platforms {
		if found.Name() == name {
			p = found
		}
	}
	if p == nil || !p.Detached() || len(p.Hosts()) != 1 {
		t.Fatalf("found %+v", p)
	}
	defer p.Close()
	h := p.Host("n1")
	if got := mustRun(t, h, "hostname"); got != "n1" {
		t.Errorf("hostname %q", got)
	}
	// Another process can do everything that the first could.
	if err := h.PowerOff(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := p.Boot(t.Context(), HostSpec{Name: "n2"}); err != nil {
		t.Fatal(err)
	}
	if got := mustRun(t, h, "getent hosts n2"); !strings.HasPrefix(got, p.Host("n2").IP()) {
		t.Errorf("n1 knows n2 as %q", got)
	}
	if _, err := New(t.Context(), Options{Name: name}); err == nil || !strings.Contains(err.Error(), "exists already") {
		t.Errorf("a second platform of that name: %v", err)
	}
	if err := p.Close(); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the platform's traces to vanish", func() bool { return len(remains(t, p.desc)) == 0 })
	if _, err := Open(name); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("Open after Close: %v", err)
	}
}

// watchRemoval returns a function that waits until dir is removed.
func watchRemoval(t *testing.T, dir string) func() {
	t.Helper()
	fd, err := unix.InotifyInit1(unix.IN_CLOEXEC | unix.IN_NONBLOCK)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := unix.InotifyAddWatch(fd, dir, unix.IN_DELETE_SELF); err != nil {
		t.Fatal(err)
	}
	events := os.NewFile(uintptr(fd), "inotify")
	return func() {
		t.Helper()
		defer events.Close()
		events.SetReadDeadline(time.Now().Add(30 * time.Second))
		if _, err := events.Read(make([]byte, 4096)); err != nil {
			t.Fatalf("%s is not removed: %v", dir, err)
		}
	}
}

// mountsBelow lists what is mounted at dir or below it.
func mountsBelow(dir string) ([]string, error) {
	data, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return nil, err
	}
	var found []string
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		at := fields[4]
		if at == dir || strings.HasPrefix(at, dir+"/") {
			found = append(found, at)
		}
	}
	return found, nil
}
