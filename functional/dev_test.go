package functional

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// terminal runs commands as somebody with a terminal would: on this machine, or
// on a host as some user.
type terminal struct {
	command func(ctx context.Context, argv ...string) *exec.Cmd
	// interrupt ends the fleetd dev that was started here.
	interrupt func(ctx context.Context, dev *exec.Cmd) error
}

// here is this machine's.
var here = terminal{
	command: func(ctx context.Context, argv ...string) *exec.Cmd {
		return exec.CommandContext(ctx, argv[0], argv[1:]...)
	},
	interrupt: func(_ context.Context, dev *exec.Cmd) error { return dev.Process.Signal(os.Interrupt) },
}

// on is a host's. The command that is seen from here is nsenter's.
func on(h *platform.Host, command func(ctx context.Context, argv ...string) *exec.Cmd) terminal {
	return terminal{command, func(ctx context.Context, _ *exec.Cmd) error {
		_, err := h.Run(ctx, "pkill", "-INT", "-x", "fleetd")
		return err
	}}
}

// devSession is what README promises of fleetd dev: one terminal, start,
// journal, destroy.
func devSession(t *testing.T, term terminal, fleetd, fleetctl, unit string, flags ...string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	stop := startDev(t, ctx, term, append([]string{fleetd, "dev"}, flags...))
	defer stop()
	say := func(args ...string) string {
		t.Helper()
		out, err := term.command(ctx, append([]string{fleetctl}, args...)...).CombinedOutput()
		if err != nil {
			t.Fatalf("fleetctl %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return string(out)
	}
	if err := cluster.Await(ctx, "fleetd dev to answer", func() (bool, string) {
		out, err := term.command(ctx, fleetctl, "list-machines", "--no-legend").CombinedOutput()
		return err == nil && len(out) > 0, string(out)
	}); err != nil {
		t.Fatal(err)
	}
	if out := say("start", unit); !strings.Contains(out, "Unit hello.service launched on ") {
		t.Errorf("start: %q", out)
	}
	if err := cluster.Await(ctx, "the journal", func() (bool, string) {
		out := say("journal", "hello")
		return strings.Contains(out, "Hello from fleet"), out
	}); err != nil {
		t.Error(err)
	}
	if out := say("status", "hello"); !strings.Contains(out, "active (running)") {
		t.Errorf("status: %s", out)
	}
	if out := say("destroy", "hello"); !strings.Contains(out, "Destroyed hello.service") {
		t.Errorf("destroy: %q", out)
	}
}

// startDev runs fleetd dev until stop is called, and expects it to end well.
func startDev(t *testing.T, ctx context.Context, term terminal, argv []string) (stop func()) {
	t.Helper()
	cmd := term.command(ctx, argv...)
	var log strings.Builder
	cmd.Stdout, cmd.Stderr = &log, &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return func() {
		t.Helper()
		if err := term.interrupt(ctx, cmd); err != nil {
			t.Error(err)
		}
		if err := cmd.Wait(); err != nil && !errors.Is(ctx.Err(), context.DeadlineExceeded) {
			t.Errorf("fleetd dev ended with %v", err)
		}
		if t.Failed() {
			t.Logf("fleetd dev said:\n%s", log.String())
		}
	}
}

func TestDevHere(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a private systemd where PID 1 is none")
	}
	root := cluster.Root()
	socket := "unix://" + filepath.Join(t.TempDir(), "fleet.sock")
	t.Setenv("FLEETCTL_ENDPOINT", socket)
	devSession(t, here, filepath.Join(root, "bin/fleetd"), filepath.Join(root, "bin/fleetctl"),
		filepath.Join(root, "examples/hello.service"), "--listen", socket, "--data-dir", t.TempDir())
}

func TestDevKeepsItsData(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root, for a private systemd where PID 1 is none")
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	root, data := cluster.Root(), t.TempDir()
	socket := "unix://" + filepath.Join(t.TempDir(), "fleet.sock")
	fleetctl := func(args ...string) (string, error) {
		out, err := here.command(ctx, append([]string{filepath.Join(root, "bin/fleetctl"), "--endpoint", socket}, args...)...).CombinedOutput()
		return string(out), err
	}
	for round := range 2 {
		stop := startDev(t, ctx, here, []string{filepath.Join(root, "bin/fleetd"), "dev", "--listen", socket, "--data-dir", data})
		if round == 0 {
			if err := cluster.Await(ctx, "fleetd dev to answer", func() (bool, string) {
				out, err := fleetctl("start", filepath.Join(root, "examples/hello.service"))
				return err == nil, out
			}); err != nil {
				t.Fatal(err)
			}
		} else if err := cluster.Await(ctx, "the unit of the round before to run again", func() (bool, string) {
			out, err := fleetctl("list-units", "--no-legend")
			return err == nil && strings.Contains(out, "hello.service") && strings.Contains(out, "running"), out
		}); err != nil {
			t.Error(err)
		}
		stop()
	}
}

// TestDevOnHost is fleetd dev where PID 1 is systemd: as root, and as an
// ordinary user whose session lingers.
func TestDevOnHost(t *testing.T) {
	w := use(t)
	specs, err := cluster.Specs(w.ctx, plat, cluster.Options{Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	hello, err := os.ReadFile(filepath.Join(cluster.Root(), "examples/hello.service"))
	if err != nil {
		t.Fatal(err)
	}
	specs[0].Name = "dev"
	specs[0].Files["/srv/hello.service"] = platform.File{Content: string(hello)}
	h, err := plat.Boot(w.ctx, specs[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = h.Remove() }) // else it goes with the platform
	t.Run("root", func(t *testing.T) {
		devSession(t, on(h, h.Command), "/usr/bin/fleetd", "/usr/bin/fleetctl", "/srv/hello.service")
	})
	t.Run("ordinary user", func(t *testing.T) {
		core := func(ctx context.Context, argv ...string) *exec.Cmd { return h.CommandAs(ctx, "core", argv...) }
		devSession(t, on(h, core), "/usr/bin/fleetd", "/usr/bin/fleetctl", "/srv/hello.service")
	})
}

func TestSecondHostWithTheSameMachineIDIsRefused(t *testing.T) {
	w := use(t)
	specs, err := cluster.Specs(w.ctx, plat, cluster.Options{Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	first := w.Hosts[0]
	specs[0].Name, specs[0].MachineID = "clone", first.MachineID()
	specs[0].Files["/etc/fleet/fleet.conf"] = platform.File{Content: fmt.Sprintf("etcd_servers=[\"http://%s:2379\"]\nagent_ttl=%s\n", first.IP(), agentTTL)}
	clone, err := plat.Boot(w.ctx, specs[0])
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = clone.Remove() }) // else it goes with the platform
	w.run(clone, "systemctl start fleet.service")
	w.await("the clone to be refused", func() (bool, string) {
		log := w.run(clone, "journalctl -o cat -u fleet.service")
		return strings.Contains(log, "held by another live host, "+first.Name()+" at "+first.IP()), log
	})
	if got := w.get(first, prefix+"machines/").Kvs; len(got) != 3 {
		t.Errorf("%d machines are present, want 3", len(got))
	}
}
