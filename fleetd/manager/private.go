package manager

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// bootTimeout is for a machine in trouble; it takes 0.1 s.
	bootTimeout = 20 * time.Second

	// stopTimeout is how long units may take to stop when we close. systemd
	// gives a unit 90 s by default, but here somebody waits at a terminal.
	stopTimeout = 10 * time.Second

	// killTimeout is how long the kernel may take to end a namespace.
	killTimeout = 10 * time.Second

	// maxSocketPath is sockaddr_un's 108 bytes with the final NUL.
	maxSocketPath = 107
)

// private is a private manager. In its directory are
//
//	manager.json  who it is, for the next fleetd
//	lock          held by the fleetd that uses it
//	bus           the socket that leads to systemd, see ownUnits
//	units         UnitDir
//	systemd       /run/systemd inside
//	log           /run/log inside
//	cgroup        where cgroup2 is mounted, only in helpers' mount namespaces
//	machine-id    the id inside, if the machine has none
//	boot.log      what happened before its journal was up
//	notify        where systemd says that it is up, until then
type private struct {
	dir     string
	lock    *os.File
	id      identity
	adopted bool

	// pidfd can't come to mean another process, as a PID can.
	pidfd int
	// done is closed when the process has ended; ours is reaped then too.
	done chan struct{}
}

func (p *private) path(elem ...string) string {
	return filepath.Join(append([]string{p.dir}, elem...)...)
}

// openPrivate adopts the manager that runs in dir, or starts one.
func openPrivate(ctx context.Context, dir, init string) (_ *private, err error) {
	if !hooked {
		return nil, errors.New("manager.Main wasn't called first in this program's main: it can't start a private systemd")
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	f, err := lock(ctx, dir)
	if err != nil {
		return nil, err
	}
	p := &private{lock: f, pidfd: -1}
	defer func() {
		if err != nil {
			p.unlock()
		}
	}()
	// systemd resolves symlinks in its unit path, and reports a unit's file
	// under the resolved name.
	if p.dir, err = filepath.EvalSymlinks(dir); err != nil {
		return nil, err
	}
	if n := len(p.path("notify")); n > maxSocketPath {
		return nil, fmt.Errorf("the directory %s is %d bytes too long for a socket in it: choose a shorter one", p.dir, n-maxSocketPath)
	}
	if strings.ContainsAny(p.dir, ":\n") {
		return nil, fmt.Errorf("the directory %q can't be in systemd's unit path: choose one without a colon or a newline", p.dir)
	}
	if p.id, err = readIdentity(p.dir); err != nil {
		return nil, err
	}
	if p.pidfd, err = p.id.alive(); err != nil {
		return nil, err
	}
	if p.pidfd >= 0 {
		if err := p.adopt(ctx); err != nil {
			return nil, err
		}
		if p.adopted {
			return p, nil
		}
	}
	// What a manager left that ended by itself, or by a reboot.
	if err := p.clean(); err != nil {
		return nil, err
	}
	if err := p.start(ctx, init); err != nil {
		return nil, err
	}
	return p, nil
}

// adopt takes over a manager that outlived its fleetd, unless it is just
// ending.
func (p *private) adopt(ctx context.Context) error {
	p.watch(func() { waitPidfd(p.pidfd) })
	err := ping(ctx, busAddress(p.path("bus")))
	if err == nil {
		p.adopted = true
		return nil
	}
	select {
	case <-p.done:
		unix.Close(p.pidfd)
		p.pidfd = -1
		return nil
	case <-time.After(time.Second):
	}
	// It may hold somebody's units: not ours to kill.
	return fmt.Errorf("the private systemd in %s (pid %d) doesn't answer: `kill -9 %d` ends it and its units, then run fleetd dev again: %w", p.dir, p.id.PID, p.id.PID, err)
}

// watch closes done when wait has returned, which it does when systemd has
// ended. close makes it end, and waits for this.
func (p *private) watch(wait func()) {
	done := make(chan struct{})
	p.done = done
	go func() {
		defer close(done)
		wait()
	}()
}

// start boots a manager and returns when it is up.
func (p *private) start(ctx context.Context, init string) (err error) {
	if p.id.Cgroup, err = ownCgroup(); err != nil {
		return err
	}
	p.id.Cgroup = filepath.Join(p.id.Cgroup, cgroupName(p.dir))
	p.id.BootID = bootID()
	for _, path := range []string{runSystemd, "/run/log", "/run/credentials", machineID} {
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) {
			p.id.Made = append(p.id.Made, path)
		}
	}
	if err := p.id.write(p.dir); err != nil {
		return err
	}
	defer func() {
		if err == nil {
			return
		}
		if p.pidfd >= 0 {
			err = errors.Join(err, p.kill())
		}
		err = errors.Join(err, p.clean())
	}()
	for _, dir := range []string{runSystemd, "/run/log", p.path("units"), p.path("systemd/system"), p.path("log/journal"), p.path("cgroup")} {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
	}
	if !hasMachineID() {
		if err := p.makeMachineID(); err != nil {
			return err
		}
	}
	if err := writeUnits(p.dir, p.path("systemd"), filepath.Dir(init)); err != nil {
		return err
	}
	notify, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: p.path("notify"), Net: "unixgram"})
	if err != nil {
		return err
	}
	ready := make(chan struct{})
	reading := make(chan struct{})
	go func() { // ends when we close notify, and we wait for it
		defer close(reading)
		waitReady(notify, ready)
	}()
	defer func() {
		notify.Close()
		<-reading
		os.Remove(p.path("notify"))
	}()

	if err := p.spawn(init); err != nil {
		return err
	}
	timeout := time.NewTimer(bootTimeout)
	defer timeout.Stop()
	select {
	case <-ready:
		return nil
	case <-p.done:
		return fmt.Errorf("the private systemd ended while it started: %s", p.lastWords())
	case <-timeout.C:
		return fmt.Errorf("the private systemd wasn't up after %v: %s", bootTimeout, p.lastWords())
	case <-ctx.Done():
		return ctx.Err()
	}
}

// makeMachineID makes a random one, and a file that it can be mounted on.
func (p *private) makeMachineID() error {
	var id [16]byte
	rand.Read(id[:])
	if err := os.WriteFile(p.path("machine-id"), fmt.Appendf(nil, "%x\n", id), 0o444); err != nil {
		return err
	}
	f, err := os.OpenFile(machineID, os.O_CREATE|os.O_RDONLY, 0o644)
	if err != nil {
		return err
	}
	return f.Close()
}

// spawn starts the process that becomes systemd, and holds it until its PID is
// on disk: whenever we are killed, the next fleetd knows of it.
func (p *private) spawn(init string) error {
	hostname, err := os.Hostname()
	if err != nil {
		return err
	}
	log, err := os.OpenFile(p.path("boot.log"), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return err
	}
	defer log.Close()
	cmd := helper("boot", helperArgs{Dir: p.dir, Cgroup: p.id.Cgroup, Init: init, Hostname: hostname})
	cmd.Stderr = log
	cmd.SysProcAttr = &unix.SysProcAttr{
		Cloneflags: unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWUTS,
		// A ^C at fleetd's terminal would be a ctrl-alt-del to systemd.
		Setsid: true,
	}
	hold, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("starting a private systemd needs real root: a virtual machine, or a container with CAP_SYS_ADMIN that may mount (docker run --privileged): %w", err)
	}
	// How it ended doesn't matter, and it said why in boot.log.
	p.watch(func() { _ = cmd.Wait() })
	p.id.PID = cmd.Process.Pid
	if p.id.StartTime, err = startTime(p.id.PID); err == nil {
		if p.pidfd, err = p.id.alive(); err == nil && p.pidfd < 0 {
			err = errors.New("the private systemd ended at once: " + p.lastWords())
		}
	}
	if err == nil {
		err = p.id.write(p.dir)
	}
	if err == nil {
		_, err = io.WriteString(hold, "go\n")
	}
	hold.Close() // without the go, it leaves
	if err != nil {
		<-p.done
	}
	return err
}

// waitReady closes ready when systemd says that it has booted. It returns when
// notify is closed.
func waitReady(notify *net.UnixConn, ready chan<- struct{}) {
	buf := make([]byte, 4096)
	for {
		n, err := notify.Read(buf)
		if err != nil {
			return
		}
		for line := range bytes.Lines(buf[:n]) {
			if ready != nil && string(bytes.TrimSpace(line)) == "READY=1" {
				close(ready)
				ready = nil
			}
		}
	}
}

// lastWords is the last line of boot.log.
func (p *private) lastWords() string {
	text, _ := os.ReadFile(p.path("boot.log"))
	lines := strings.Split(strings.TrimSpace(string(text)), "\n")
	if last := lines[len(lines)-1]; last != "" {
		return last
	}
	return "it said nothing"
}

// close stops units, systemd, and everything else.
func (p *private) close() error {
	select {
	case <-p.done:
	default:
		ctx, cancel := context.WithTimeout(context.Background(), stopTimeout)
		// Units that don't stop in time are killed with the rest.
		_ = stopUnits(ctx, busAddress(p.path("bus")))
		cancel()
	}
	if err := p.kill(); err != nil {
		return err
	}
	err := p.clean()
	p.unlock()
	return err
}

// kill ends systemd and with it every process in its namespace, and waits.
func (p *private) kill() error {
	err := unix.PidfdSendSignal(p.pidfd, unix.SIGKILL, nil, 0)
	if err != nil && !errors.Is(err, unix.ESRCH) {
		return fmt.Errorf("killing the private systemd (pid %d): %w", p.id.PID, err)
	}
	select {
	case <-p.done:
	case <-time.After(killTimeout):
		return fmt.Errorf("the private systemd (pid %d) doesn't die: a process of it hangs in the kernel", p.id.PID)
	}
	unix.Close(p.pidfd)
	p.pidfd = -1
	return nil
}

// clean removes what a manager that has ended left: its mounts went with its
// namespace, its cgroups and files did not.
func (p *private) clean() error {
	if p.id.Cgroup != "" && p.id.BootID == bootID() {
		if err := p.removeCgroup(); err != nil {
			return err
		}
	}
	for _, path := range p.id.Made {
		// Not if somebody else put something there by now.
		if fi, err := os.Lstat(path); err == nil && (fi.IsDir() || fi.Size() == 0) {
			os.Remove(path)
		}
	}
	p.id = identity{}
	// manager.json last, so that we can be killed here as well.
	for _, name := range []string{"units", "systemd", "log", "cgroup", "bus", "notify", "machine-id", "boot.log", identityFile + ".new", identityFile} {
		if err := os.RemoveAll(p.path(name)); err != nil {
			return err
		}
	}
	return nil
}

func (p *private) removeCgroup() error {
	if err := os.MkdirAll(p.path("cgroup"), 0o755); err != nil {
		return err
	}
	cmd := helper("clean", helperArgs{Dir: p.dir, Cgroup: p.id.Cgroup})
	cmd.SysProcAttr = &unix.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	if out, err := cmd.CombinedOutput(); err != nil {
		if _, ended := errors.AsType[*exec.ExitError](err); ended {
			return fmt.Errorf("removing the private systemd's cgroups: %s", bytes.TrimSpace(out))
		}
		return fmt.Errorf("removing the private systemd's cgroups: %w", err)
	}
	return nil
}

// unlock gives up the directory, and removes it if nothing else is in it.
func (p *private) unlock() {
	os.Remove(p.lock.Name())
	os.Remove(filepath.Dir(p.lock.Name()))
	p.lock.Close()
}
