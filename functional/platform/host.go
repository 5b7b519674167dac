package platform

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// Host is one booted host.
type Host struct {
	platform *Platform

	mu      sync.Mutex // guards what follows
	desc    hostDescription
	execDir *os.File // the cgroup that commands start in

	impaired atomic.Bool // packets are lost, or the link is slow

	names sync.Mutex
	told  string // the hosts' names and addresses that it has last been told
}

// State is what a host is doing.
type State string

// The states of a host.
const (
	Off     State = "off"
	Booting State = "booting" // or going down: its systemd isn't there
	Running State = "running"
	CutOff  State = "cut off" // running, with its network silent
	Frozen  State = "frozen"
)

// Name is the host's name, and its host name.
func (h *Host) Name() string { return h.desc.Name }

// MachineID is the host's /etc/machine-id.
func (h *Host) MachineID() string { return h.desc.MachineID }

// IP is the host's address: the same at every boot.
func (h *Host) IP() string { return h.platform.desc.Net.host(h.desc.Number).String() }

// BootID names the host's present boot; it is empty when the host is off.
func (h *Host) BootID() string {
	leader, err := h.leader()
	if err != nil {
		return ""
	}
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/root/proc/sys/kernel/random/boot_id", leader))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(data))
}

// State says what the host is doing right now.
func (h *Host) State() State {
	switch {
	case cgroupEvent(h.cgroup(), "populated") != "1":
		return Off
	case cgroupEvent(h.nspawnCgroup(), "frozen") == "1":
		return Frozen
	}
	if _, err := h.leader(); err != nil {
		return Booting
	}
	if h.platform.desc.Net.portState(h.desc.Number) == portDisabled {
		return CutOff
	}
	return Running
}

func (h *Host) disk() disk     { return disk{filepath.Join(h.platform.desc.Data, h.desc.Name)} }
func (h *Host) cgroup() string { return filepath.Join(h.platform.desc.Cgroup, h.desc.Name) }

// Three cgroups below the host's: of launch.sh, of the host itself, and of the
// commands that Command starts.
func (h *Host) launchCgroup() string { return filepath.Join(h.cgroup(), "launch") }
func (h *Host) nspawnCgroup() string { return filepath.Join(h.cgroup(), "nspawn") }
func (h *Host) execCgroup() string   { return filepath.Join(h.cgroup(), "exec") }

func (h *Host) file() string { return filepath.Join(h.platform.hostsDir(), h.desc.Name+".json") }
func (h *Host) save() error  { return writeJSON(h.file(), &h.desc) }

// leader is the process id, on this machine, of the host's PID 1. It is looked
// up each time: after a reboot from within it is another.
func (h *Host) leader() (int, error) {
	h.mu.Lock()
	supervisor := h.desc.Supervisor
	h.mu.Unlock()
	if supervisor != 0 && cgroupEvent(h.cgroup(), "populated") == "1" {
		for _, nspawn := range children(supervisor) {
			for _, pid := range children(nspawn) {
				if isInit(pid) {
					return pid, nil
				}
			}
		}
	}
	return 0, fmt.Errorf("host %s is not running", h.desc.Name)
}

func children(pid int) []int {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%[1]d/children", pid))
	if err != nil {
		return nil
	}
	var pids []int
	for _, field := range strings.Fields(string(data)) {
		if child, err := strconv.Atoi(field); err == nil {
			pids = append(pids, child)
		}
	}
	return pids
}

// isInit says whether a process is number 1 of a PID namespace of its own.
func isInit(pid int) bool {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return false
	}
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			fields := strings.Fields(ids)
			return len(fields) > 1 && fields[len(fields)-1] == "1"
		}
	}
	return false
}

// Start boots a host again that was powered off or killed: the same disk and
// machine id, a new boot id. On a host that runs it is an error.
func (h *Host) Start(ctx context.Context) error {
	if state := h.State(); state != Off {
		return fmt.Errorf("start %s: it is %s", h.desc.Name, state)
	}
	empty, err := newArchive().bytes()
	if err != nil {
		return err
	}
	if err := h.boot(ctx, empty); err != nil {
		return fmt.Errorf("start %s: %w", h.desc.Name, err)
	}
	return nil
}

// PowerOff shuts the host down as its power button would, and returns when it
// is off.
func (h *Host) PowerOff(ctx context.Context) error {
	leader, err := h.leader()
	if err != nil {
		return fmt.Errorf("power off: %w", err)
	}
	const powerOff = unix.Signal(34 + 4) // SIGRTMIN+4, see systemd(1)
	if err := unix.Kill(leader, powerOff); err != nil {
		return fmt.Errorf("power off %s: %w", h.desc.Name, err)
	}
	if err := waitCgroup(ctx, h.cgroup(), "populated", "0"); err != nil {
		return fmt.Errorf("power off %s: %w", h.desc.Name, err)
	}
	h.platform.desc.Net.unplug(ctx, h.desc.Number)
	return nil
}

// RebootAll reboots hosts all at once: none is up again before all are down.
func RebootAll(ctx context.Context, hosts ...*Host) error {
	for _, step := range []func(*Host) error{
		func(h *Host) error { return h.PowerOff(ctx) },
		func(h *Host) error { return h.Start(ctx) },
	} {
		errs := make([]error, len(hosts))
		var all sync.WaitGroup
		for i, h := range hosts {
			all.Go(func() { errs[i] = step(h) })
		}
		all.Wait()
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

// Kill is a hard loss: from one moment to the next the host is silent, and none
// of its processes gets to say or write another word. Files that it had written
// stay, synced or not.
func (h *Host) Kill() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	// First the network: the kernel would say goodbye (FIN) on behalf of every
	// dying process.
	h.platform.desc.Net.unplug(ctx, h.desc.Number)
	if err := killCgroup(ctx, h.cgroup()); err != nil {
		return fmt.Errorf("kill %s: %w", h.desc.Name, err)
	}
	return nil
}

// Remove kills the host if it runs, and removes it with its disk.
func (h *Host) Remove() error {
	if err := h.Kill(); err != nil {
		return err
	}
	h.platform.mu.Lock()
	defer h.platform.mu.Unlock()
	errs := []error{removeCgroup(h.cgroup()), os.RemoveAll(h.disk().dir), os.Remove(h.file())}
	_ = os.Remove(strings.TrimSuffix(h.file(), ".json") + ".notify")
	delete(h.platform.hosts, h.desc.Name)
	for i, err := range errs {
		if errors.Is(err, fs.ErrNotExist) {
			errs[i] = nil
		}
	}
	return errors.Join(errs...)
}

// Freeze stops every process of the host where it is, as a stalled virtual
// machine would be; its kernel still acknowledges packets. Run still works, for
// what needs no help from the host's processes: its commands are not frozen.
// (If they were, a command starting in the frozen cgroup would stop between
// fork and exec, and with it every other start of a process in this one.)
func (h *Host) Freeze(ctx context.Context) error { return freezeCgroup(ctx, h.nspawnCgroup(), true) }

// Thaw lets a frozen host go on.
func (h *Host) Thaw(ctx context.Context) error { return freezeCgroup(ctx, h.nspawnCgroup(), false) }

// Hang stops the host's systemd, and nothing else of it, where it is.
func (h *Host) Hang() error { return h.signalSystemd(unix.SIGSTOP) }

// DialUnix connects to a socket on the host: its file, not its network, so that it
// can be reached while the host is cut off.
func (h *Host) DialUnix(ctx context.Context, path string) (net.Conn, error) {
	pid, err := h.leader()
	if err != nil {
		return nil, err
	}
	return (&net.Dialer{}).DialContext(ctx, "unix", fmt.Sprintf("/proc/%d/root%s", pid, path))
}

// Unhang lets it go on.
func (h *Host) Unhang() error { return h.signalSystemd(unix.SIGCONT) }

// signalSystemd sends a signal from outside of the host: from inside, PID 1 gets
// none that it doesn't handle.
func (h *Host) signalSystemd(sig unix.Signal) error {
	pid, err := h.leader()
	if err != nil {
		return err
	}
	if err := unix.Kill(pid, sig); err != nil {
		return fmt.Errorf("%s's systemd: %w", h.desc.Name, err)
	}
	return nil
}
