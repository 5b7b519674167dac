// Package manager finds the systemd that `fleetd dev` runs its units on, and
// makes one where there is none.
//
//   - System: PID 1 is systemd and we are root. The ordinary case.
//   - User: PID 1 is systemd and we are somebody else: that user's own
//     `systemd --user`.
//   - Private: PID 1 is something else (a container, a micro-VM) and we are
//     root. We boot a second systemd, as PID 1 of a PID namespace of its own.
//
// The private one is a real system manager, not a `systemd --user` dressed up:
// units mean there what they mean in production (User=, DynamicUser=,
// RuntimeDirectory= in /run, %t, network-online.target). It lives on the
// machine's own root filesystem, /run, /dev and network, so units reach
// docker.sock and open real ports; of its own it has only /proc,
// /run/systemd, /run/log, its cgroup and its host name. Because it is a
// namespace's init, the kernel ends everything it started when it ends.
//
// It outlives a fleetd that was killed, with all its units: the next Find with
// the same directory adopts it. Close, on the other hand, leaves nothing.
//
// A program that calls Find calls Main first; see there.
//
// What this package is not: it starts no unit of anybody's and knows nothing
// of D-Bus beyond asking whether somebody answers. That is agent/systemd's.
package manager

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"sync"

	"golang.org/x/sys/unix"
)

// Scope says whose systemd a Manager is.
type Scope string

// The scopes.
const (
	System  Scope = "system"  // PID 1
	User    Scope = "user"    // `systemd --user` of the user we run as
	Private Scope = "private" // started by Find, PID 1 of its own namespace
)

// Manager is a running systemd that fleetd may give units to.
type Manager struct {
	Scope Scope

	// BusAddress is the D-Bus address of systemd's own private socket. There
	// is no bus daemon behind it: no Hello, and signals come unasked.
	BusAddress string

	// UnitDir is where unit files go. It exists, systemd looks there, and
	// calls a file there by this same path (FragmentPath). A new file can be
	// started without a reload. What is in it doesn't survive a reboot.
	UnitDir string

	// Adopted is true if a private manager was found running with the units
	// that a previous fleetd started.
	Adopted bool

	// runtimeDir is XDG_RUNTIME_DIR of a user manager.
	runtimeDir string

	// private is set for that scope only.
	private  *private
	closing  sync.Once
	closeErr error
}

// Find returns the systemd that a fleetd run by this user on this machine can
// use. If it has to start one, or has started one before, then dir is where
// that one's sockets, unit files and journal are; dir is for this alone and
// should be what StateDir returns, because a socket's path can't be long. It
// isn't touched in the other scopes.
//
// An error is one line: what is missing, and what to do about it.
func Find(ctx context.Context, dir string) (*Manager, error) {
	init, err := installed()
	if err != nil {
		return nil, err
	}
	if os.Geteuid() != 0 {
		return findUser(ctx)
	}
	m, err := findSystem(ctx)
	if m != nil || err != nil {
		return m, err
	}
	return findPrivate(ctx, dir, init)
}

func findPrivate(ctx context.Context, dir, init string) (*Manager, error) {
	p, err := openPrivate(ctx, dir, init)
	if err != nil {
		return nil, err
	}
	return &Manager{
		Scope:      Private,
		BusAddress: busAddress(p.path("bus")),
		UnitDir:    p.path("units"),
		Adopted:    p.adopted,
		private:    p,
	}, nil
}

// Systemctl is how to run systemctl against this manager from any process of
// this machine: append `status`, options and units.
func (m *Manager) Systemctl() []string {
	switch m.Scope {
	case User:
		// Set it even if we have it: `su` and `nsenter` don't.
		return []string{"env", "XDG_RUNTIME_DIR=" + m.runtimeDir, "systemctl", "--user"}
	case Private:
		// systemctl's socket, the cgroups it shows and the journal it quotes
		// are all private, and systemd refuses a peer whose PID it can't see.
		return []string{"nsenter", "-t", strconv.Itoa(m.private.id.PID), "-m", "-p", "-C", "systemctl"}
	}
	return []string{"systemctl"}
}

// Journalctl is how to run journalctl for this manager's units from any
// process of this machine: append `--unit NAME` and options.
func (m *Manager) Journalctl() []string {
	switch m.Scope {
	case User:
		// With --user, --unit means --user-unit.
		return []string{"env", "XDG_RUNTIME_DIR=" + m.runtimeDir, "journalctl", "--user"}
	case Private:
		return []string{"journalctl", "--directory=" + m.private.path("log", "journal")}
	}
	return []string{"journalctl"}
}

// SyncJournal is how to wait until the journal has all that this manager's
// units have written.
func (m *Manager) SyncJournal() []string {
	if m.Scope == Private { // its journald listens where only its units are
		return []string{"nsenter", "-t", strconv.Itoa(m.private.id.PID), "-m", "-p", "journalctl", "--sync"}
	}
	return []string{"journalctl", "--sync"}
}

// Done is closed when a private manager has ended, whether by Close or by
// itself (nothing on a real host ends PID 1; here the OOM killer can). For
// other scopes it is nil, which never becomes ready.
func (m *Manager) Done() <-chan struct{} {
	if m.private == nil {
		return nil
	}
	return m.private.done
}

// Close stops a private manager and everything it started, units first and in
// their order, and removes every trace: processes, mounts, cgroups, files.
// Units have a few seconds to stop. Other managers aren't ours to stop, nor
// are their units, which are the agent's.
func (m *Manager) Close() error {
	m.closing.Do(func() {
		if m.private != nil {
			m.closeErr = m.private.close()
		}
	})
	return m.closeErr
}

// String is for a line in a log.
func (m *Manager) String() string {
	switch {
	case m.Scope == User:
		return "this user's systemd (systemd --user)"
	case m.Scope == Private && m.Adopted:
		return fmt.Sprintf("a private systemd (pid %d, adopted with its units)", m.private.id.PID)
	case m.Scope == Private:
		return fmt.Sprintf("a private systemd (pid %d)", m.private.id.PID)
	}
	return "this machine's systemd"
}

// Where systemd's sockets and its runtime unit directory are; the user
// manager has the same under its XDG_RUNTIME_DIR.
const runSystemd = "/run/systemd"

// booted is sd_booted(3): PID 1 is systemd if this directory exists.
func booted() bool {
	fi, err := os.Lstat(filepath.Join(runSystemd, "system"))
	return err == nil && fi.IsDir()
}

// findSystem returns nil if PID 1 isn't systemd.
func findSystem(ctx context.Context) (*Manager, error) {
	socket := filepath.Join(runSystemd, "private")
	m := &Manager{Scope: System, BusAddress: busAddress(socket), UnitDir: filepath.Join(runSystemd, "system")}
	if !booted() {
		return nil, nil
	}
	switch err := ping(ctx, m.BusAddress); {
	case err == nil:
		return m, nil
	case nobodyListens(err):
		// A container image or a bind mount can have the directory without
		// the systemd.
		return nil, nil
	default:
		return nil, fmt.Errorf("systemd doesn't answer on %s: %w", socket, err)
	}
}

func findUser(ctx context.Context) (*Manager, error) {
	if !booted() {
		return nil, errors.New("PID 1 of this machine isn't systemd, so there is no systemd for an ordinary user: run fleetd dev as root, which starts a private one")
	}
	uid := os.Geteuid()
	who := strconv.Itoa(uid)
	if u, err := user.LookupId(who); err == nil {
		who = u.Username
	}
	dir := UserRuntimeDir()
	socket := filepath.Join(dir, "systemd/private")
	m := &Manager{
		Scope:      User,
		BusAddress: busAddress(socket),
		UnitDir:    filepath.Join(dir, "systemd/user"),
		runtimeDir: dir,
	}
	switch err := ping(ctx, m.BusAddress); {
	case err == nil:
	case nobodyListens(err):
		return nil, fmt.Errorf("user %s has no systemd of their own (nothing listens on %s): run `loginctl enable-linger %s` as root, or run fleetd dev as root", who, socket, who)
	default:
		return nil, fmt.Errorf("the systemd of user %s doesn't answer on %s: %w", who, socket, err)
	}
	if err := os.MkdirAll(m.UnitDir, 0o755); err != nil {
		return nil, fmt.Errorf("making the user's unit directory: %w", err)
	}
	return m, nil
}

// UserRuntimeDir is the XDG_RUNTIME_DIR of the user we run as. After `su`,
// `sudo -u` and nsenter the variable is unset or somebody else's, but the
// directory is always in the same place.
func UserRuntimeDir() string {
	uid := os.Geteuid()
	if dir := os.Getenv("XDG_RUNTIME_DIR"); dir != "" {
		var st unix.Stat_t
		if unix.Stat(dir, &st) == nil && int(st.Uid) == uid {
			return dir
		}
	}
	return filepath.Join("/run/user", strconv.Itoa(uid))
}

// installed finds the systemd binary.
func installed() (string, error) {
	for _, path := range []string{"/usr/lib/systemd/systemd", "/lib/systemd/systemd"} {
		if fi, err := os.Stat(path); err == nil && fi.Mode().IsRegular() {
			return path, nil
		}
	}
	return "", errors.New("systemd isn't installed (no /lib/systemd/systemd): install it (apt-get install systemd dbus), then run fleetd dev again")
}
