package systemd

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
)

// host is a systemd of the tests' own: `systemd --user` in a mount namespace
// where /run/systemd/system exists, with a cgroup of its own. It knows only the
// units in two directories: fleet's, and "host", for those that fleet found.
type host struct {
	dir     string
	cgroups []string
	cmd     *exec.Cmd
}

var theHost *host // started once for all tests: each uses units of its own

func TestMain(m *testing.M) {
	code := func() int {
		if os.Geteuid() != 0 {
			fmt.Fprintln(os.Stderr, "skipping the tests against a real systemd: they need root")
			return m.Run()
		}
		h, err := startHost()
		if h != nil {
			defer h.stop()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, "starting a systemd to test with:", err)
			return 1
		}
		theHost = h
		return m.Run()
	}()
	os.Exit(code)
}

const bootHost = `set -e
mount --make-rprivate /
mkdir -p /run/systemd
mount -t tmpfs tmpfs /run/systemd
mkdir -p /run/systemd/system
exec "$1" --user --log-target=console --log-level=notice
`

func startHost() (*host, error) {
	init, err := exec.LookPath("/lib/systemd/systemd")
	if err != nil {
		return nil, fmt.Errorf("%w: apt-get install systemd", err)
	}
	dir, err := os.MkdirTemp("/tmp", "fleet-systemd-") // a socket's path is short
	if err != nil {
		return nil, err
	}
	h := &host{dir: dir}
	if err := h.writeHostUnits(); err != nil {
		return h, err
	}
	for _, root := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/systemd"} {
		if _, err := os.Stat(filepath.Join(root, "cgroup.procs")); err != nil {
			continue
		}
		cgroup := filepath.Join(root, filepath.Base(dir))
		if err := os.Mkdir(cgroup, 0o755); err != nil {
			return h, err
		}
		h.cgroups = append(h.cgroups, cgroup)
	}
	join := ""
	for _, cgroup := range h.cgroups {
		join += "echo $$ > " + cgroup + "/cgroup.procs\n"
	}
	log, err := os.Create(filepath.Join(dir, "log"))
	if err != nil {
		return h, err
	}
	defer log.Close()
	h.cmd = exec.Command("/bin/sh", "-c", join+bootHost, "sh", init)
	h.cmd.Stdout, h.cmd.Stderr = log, log
	h.cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS, Setsid: true}
	h.cmd.Env = []string{
		"PATH=/usr/bin:/bin:/usr/sbin:/sbin", "HOME=" + dir,
		"XDG_RUNTIME_DIR=" + filepath.Join(dir, "run"),
		"SYSTEMD_UNIT_PATH=" + h.unitDir() + ":" + filepath.Join(dir, "host"),
	}
	if err := h.cmd.Start(); err != nil {
		return h, err
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		c, err := Dial(context.Background(), h.options())
		if err == nil {
			c.Close()
			return h, nil
		}
		if time.Now().After(deadline) {
			text, _ := os.ReadFile(log.Name())
			return h, fmt.Errorf("%w\n%s", err, text)
		}
		time.Sleep(5 * time.Millisecond) // there is nothing to wait on before its socket is there
	}
}

func (h *host) writeHostUnits() error {
	units := map[string]string{"host/ssh.service": "[Service]\nExecStart=/bin/sleep infinity\n",
		"host/getty@.service":     "[Service]\nExecStart=/bin/sleep infinity\n",
		"host/multi-user.target":  "[Unit]\nDescription=Somewhere to install into\n",
		"host/default.target":     "[Unit]\nDescription=What the host boots into\n",
		"host/broken-dep.service": "[Service]\nType=oneshot\nExecStart=/bin/false\n",
	}
	for _, name := range []string{"basic", "shutdown", "sysinit", "sockets", "timers", "paths", "exit"} {
		units["host/"+name+".target"] = "[Unit]\nDefaultDependencies=no\n"
	}
	units["host/exit.target"] = "[Unit]\nDefaultDependencies=no\nRequires=systemd-exit.service\n"
	for name, text := range units {
		path := filepath.Join(h.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			return err
		}
	}
	if err := os.Symlink("/dev/null", filepath.Join(h.dir, "host/masked.service")); err != nil {
		return err
	}
	return os.MkdirAll(h.unitDir(), 0o700)
}

func (h *host) unitDir() string { return filepath.Join(h.dir, "run/systemd/user") }
func (h *host) socket() string  { return filepath.Join(h.dir, "run/systemd/private") }

func (h *host) options() Options {
	log := logrus.New()
	log.SetOutput(os.Stderr)
	return Options{Address: "unix:path=" + h.socket(), UnitDir: h.unitDir(), Log: logrus.NewEntry(log), Metrics: prometheus.NewRegistry()}
}

// stop ends systemd and all it started.
func (h *host) stop() {
	if h.cmd != nil && h.cmd.Process != nil {
		_ = h.cmd.Process.Kill() // the units follow by their cgroups
		_ = h.cmd.Wait()
	}
	for deadline := time.Now().Add(5 * time.Second); time.Now().Before(deadline); {
		left := false
		for _, cgroup := range h.cgroups {
			left = !emptyCgroup(cgroup) || left
		}
		if !left {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	_ = os.RemoveAll(h.dir)
}

// emptyCgroup kills what is in a cgroup and removes it, once that is possible.
func emptyCgroup(root string) bool {
	var dirs []string
	_ = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		return nil
	})
	for i := len(dirs) - 1; i >= 0; i-- {
		procs, _ := os.ReadFile(filepath.Join(dirs[i], "cgroup.procs"))
		for _, pid := range strings.Fields(string(procs)) {
			var n int
			if _, err := fmt.Sscan(pid, &n); err == nil && n > 1 {
				_ = syscall.Kill(n, syscall.SIGKILL)
			}
		}
		_ = os.Remove(dirs[i])
	}
	_, err := os.Stat(root)
	return errors.Is(err, fs.ErrNotExist)
}
