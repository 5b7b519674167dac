package platform

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"
)

// Command is a command to be run on the host as root, with nothing of this
// process's environment. When ctx ends it is killed, with its children.
//
// It has no session and runs in a process group of its own; for a terminal,
// set cmd.SysProcAttr.Setpgid to false.
func (h *Host) Command(ctx context.Context, argv ...string) *exec.Cmd {
	leader, err := h.leader()
	var cgroup *os.File
	if err == nil {
		cgroup, err = h.commandCgroup()
	}
	if err != nil {
		cmd := exec.CommandContext(ctx, argv[0])
		cmd.Err = err
		return cmd
	}
	// A command from outside has this process's privileges, not the host's. The
	// clock is the one thing that must not be touched from a host by mistake.
	args := append([]string{"setpriv", "--bounding-set", "-sys_time", "--inh-caps", "-sys_time",
		"nsenter", "-t", strconv.Itoa(leader), "-m", "-u", "-i", "-n", "-p", "-C", "--"}, argv...)
	cmd := command(ctx, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + toolPath, "HOME=/root", "USER=root", "LOGNAME=root", "LANG=C.UTF-8", "TERM=" + terminal()}
	// In the host's cgroup the command dies with the host.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, UseCgroupFD: true, CgroupFD: int(cgroup.Fd())}
	cmd.Cancel = func() error {
		// nsenter waits for the command, which is a child that would go on.
		pid := cmd.Process.Pid
		if cmd.SysProcAttr.Setpgid {
			pid = -pid
		}
		return syscall.Kill(pid, syscall.SIGKILL)
	}
	cmd.WaitDelay = 2 * time.Second // for pipes that a daemon has inherited
	return cmd
}

func terminal() string {
	if t := os.Getenv("TERM"); t != "" {
		return t
	}
	return "dumb"
}

// commandCgroup is the open directory of the cgroup that commands start in.
func (h *Host) commandCgroup() (*os.File, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.execDir == nil {
		dir, err := os.Open(h.execCgroup())
		if err != nil {
			return nil, err
		}
		h.execDir = dir
	}
	return h.execDir, nil
}

// Run runs a command on the host as root and returns its standard output. Its
// failure is a *CommandError.
func (h *Host) Run(ctx context.Context, argv ...string) (string, error) {
	return h.runStdin(ctx, nil, argv...)
}

func (h *Host) runStdin(ctx context.Context, stdin io.Reader, argv ...string) (string, error) {
	return output(h.Command(ctx, argv...), h.desc.Name, argv, stdin)
}

// asUser runs what follows as user $0, in the environment of a login session,
// with the user's service manager up.
const asUser = `user=$0
uid=$(id -u "$user")
[ -S "/run/user/$uid/bus" ] || systemctl start "user@$uid.service"
cd "$(getent passwd "$user" | cut -d: -f6)"
exec setpriv --reuid "$user" --regid "$(id -g "$user")" --init-groups --reset-env \
	env PATH="$PATH" LANG=C.UTF-8 XDG_RUNTIME_DIR="/run/user/$uid" \
	DBUS_SESSION_BUS_ADDRESS="unix:path=/run/user/$uid/bus" "$@"`

// CommandAs is Command as another user, in the environment of a login session:
// `systemctl --user` works. That is for core, whose session lingers, and for
// any other user that has one.
func (h *Host) CommandAs(ctx context.Context, user string, argv ...string) *exec.Cmd {
	return h.Command(ctx, append([]string{"sh", "-e", "-c", asUser, user}, argv...)...)
}

// RunAs is Run as another user, as CommandAs.
func (h *Host) RunAs(ctx context.Context, user string, argv ...string) (string, error) {
	return output(h.CommandAs(ctx, user, argv...), h.desc.Name, argv, nil)
}

// WriteFile puts a file on the running host, replacing what is there, with its
// parent directories.
func (h *Host) WriteFile(ctx context.Context, name string, f File) error {
	return h.WriteFiles(ctx, map[string]File{name: f})
}

// WriteFiles is WriteFile for several.
func (h *Host) WriteFiles(ctx context.Context, files map[string]File) error {
	a := newArchive()
	for name, f := range files {
		a.add(name, f)
	}
	data, err := a.bytes()
	if err != nil {
		return fmt.Errorf("%s: %w", h.desc.Name, err)
	}
	_, err = h.runStdin(ctx, bytes.NewReader(data), "tar", "--extract", "--file=-", "--directory=/",
		"--keep-directory-symlink", "--numeric-owner", "--preserve-permissions", "--unlink-first")
	return err
}

// ReadFile is a file of the running host.
func (h *Host) ReadFile(ctx context.Context, name string) (string, error) {
	return h.Run(ctx, "cat", "--", name)
}

// Journal is the host's journal, all of it or that of some units, of all boots.
// It can be read when the host is off or frozen too.
func (h *Host) Journal(ctx context.Context, units ...string) (string, error) {
	argv := []string{"journalctl", "--no-pager", "--output=short-precise", "--merge"}
	for _, unit := range units {
		argv = append(argv, "--unit="+unit)
	}
	if state := h.State(); state == Running || state == CutOff {
		return h.Run(ctx, argv...)
	}
	// Nobody is there to ask: read its files, with the root filesystem's own
	// journalctl, for this machine may have none.
	journal := filepath.Join(h.disk().upper(), "var/log/journal")
	if !isDir(journal) {
		return "", nil // lost before its first line
	}
	const read = `mount --bind "$0" "$1/mnt" && root=$1 && shift && exec chroot "$root" "$@" --directory=/mnt`
	args := append([]string{"--mount", "--propagation", "private", "sh", "-c", read, journal, h.platform.desc.RootFS}, argv...)
	return output(command(ctx, append([]string{"unshare"}, args...)...), h.desc.Name, argv, nil)
}
