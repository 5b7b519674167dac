package manager

import (
	"bufio"
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// helperName is argv[0] of this program when it runs inside of namespaces.
const helperName = "fleet-manager-helper"

// hooked is true once Main was called. Without it, a helper would be a second
// fleetd, which would start a helper.
var hooked bool

// Main must be called first in main, and first in TestMain: Find and Close run
// this program again inside of new namespaces, where Main does the work and
// doesn't return. Otherwise it does nothing.
func Main() {
	hooked = true
	if os.Args[0] != helperName {
		return
	}
	if err := runHelper(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	os.Exit(0)
}

// helperArgs are what a helper needs to know.
type helperArgs struct {
	Dir    string
	Cgroup string
	// Only for boot:
	Init     string
	Hostname string
}

func helper(verb string, args helperArgs) *exec.Cmd {
	text, err := json.Marshal(args)
	if err != nil {
		panic(err) // strings only
	}
	return &exec.Cmd{
		// Also if the file was replaced by a newer fleetd.
		Path: "/proc/self/exe",
		Args: []string{helperName, verb, string(text)},
		Env:  []string{},
		Dir:  "/",
	}
}

func runHelper() error {
	if len(os.Args) != 3 {
		return errors.New("only fleetd runs this")
	}
	var args helperArgs
	if err := json.Unmarshal([]byte(os.Args[2]), &args); err != nil {
		return err
	}
	switch os.Args[1] {
	case "boot":
		return boot(args)
	case "clean":
		return clean(args)
	}
	return fmt.Errorf("no such helper: %s", os.Args[1])
}

// boot runs as PID 1 of new mount, PID and UTS namespaces, arranges them, and
// becomes systemd.
func boot(args helperArgs) error {
	// The cgroup namespace is this thread's, until exec makes it everything's.
	runtime.LockOSThread()
	if line, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil || line != "go\n" {
		return errors.New("fleetd went away")
	}
	if err := enterCgroup(args); err != nil {
		return err
	}
	if err := arrangeMounts(args); err != nil {
		return err
	}
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	if err := unix.Dup2(int(null.Fd()), 0); err != nil {
		return err
	}
	if err := unix.Dup2(int(null.Fd()), 1); err != nil {
		return err
	}
	err = unix.Exec(args.Init, []string{
		"systemd", "--system", "--unit=" + bootTarget, "--show-status=no",
		// In a container, these words are its kernel command line.
		"systemd.hostname=" + args.Hostname,
	}, []string{
		"PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
		// As in a container, systemd leaves clock, console, kernel modules
		// and core dumps alone.
		"container=fleet-dev",
		"SYSTEMD_UNIT_PATH=" + filepath.Join(args.Dir, "units") + ":" + runSystemd + "/system:" + runSystemd + "/fleet-dev",
		// Generators would turn fstab, init scripts and more into units.
		"SYSTEMD_GENERATOR_PATH=" + runSystemd + "/none",
		"SYSTEMD_ENVIRONMENT_GENERATOR_PATH=" + runSystemd + "/none",
		"NOTIFY_SOCKET=" + filepath.Join(args.Dir, "notify"),
	})
	return fmt.Errorf("exec %s: %w", args.Init, err)
}

// arrangeMounts gives systemd its few private places. The rest of the mount
// namespace stays the machine's own, and follows it.
func arrangeMounts(args helperArgs) error {
	if err := mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC); err != nil {
		return err
	}
	// systemd mounts a tmpfs on /run unless something is mounted there.
	if mounted, err := isMountPoint("/run"); err != nil {
		return err
	} else if !mounted {
		if err := mount("/run", "/run", "", unix.MS_BIND|unix.MS_REC); err != nil {
			return err
		}
	}
	if err := mount(filepath.Join(args.Dir, "systemd"), runSystemd, "", unix.MS_BIND); err != nil {
		return err
	}
	if err := mount(filepath.Join(args.Dir, "log"), "/run/log", "", unix.MS_BIND); err != nil {
		return err
	}
	// The cgroup namespace's root. On a hybrid machine this hides the v1
	// hierarchies, which systemd would otherwise want to manage. Not mounted
	// there at once: the kernel refuses to put a file system over itself.
	aside := filepath.Join(args.Dir, "cgroup")
	if err := mount("cgroup2", aside, "cgroup2", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC); err != nil {
		return err
	}
	if err := mount(aside, "/sys/fs/cgroup", "", unix.MS_MOVE); err != nil {
		return err
	}
	// systemd and journald need one, and would write one into the machine's.
	if !hasMachineID() {
		if err := mount(filepath.Join(args.Dir, "machine-id"), machineID, "", unix.MS_BIND); err != nil {
			return err
		}
	}
	if err := mountIfThere(os.DevNull, "/dev/console"); err != nil {
		return err
	}
	// Two things only while systemd starts; fleet-dev-lift.service ends them.
	// Its log, until the journal is up, is for us and not for the kernel:
	if err := mountIfThere(filepath.Join(args.Dir, "boot.log"), "/dev/kmsg"); err != nil {
		return err
	}
	// and it raises limits of the whole machine (fs.file-max,
	// net.unix.max_dgram_qlen), which would stay.
	if err := mount("/proc/sys", "/proc/sys", "", unix.MS_BIND); err != nil {
		return err
	}
	return mount("", "/proc/sys", "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC)
}

// mountCgroups mounts the cgroup2 hierarchy where only this helper sees it:
// the machine may have it anywhere, read-only, or not at all.
func mountCgroups(args helperArgs) (string, error) {
	// What we mount must not appear outside; what the machine mounts later
	// must appear inside.
	if err := mount("", "/", "", unix.MS_REC|unix.MS_SLAVE); err != nil {
		return "", err
	}
	top := filepath.Join(args.Dir, "cgroup")
	return top, mount("cgroup2", top, "cgroup2", 0)
}

// enterCgroup puts this process into a cgroup of its own, which it then sees
// as the only one. systemd takes over the cgroup it starts in.
func enterCgroup(args helperArgs) error {
	top, err := mountCgroups(args)
	if err != nil {
		return err
	}
	dir := filepath.Join(top, args.Cgroup)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.procs"), []byte("0"), 0); err != nil {
		return err
	}
	if err := unix.Unshare(unix.CLONE_NEWCGROUP); err != nil {
		return fmt.Errorf("unshare cgroup namespace: %w", err)
	}
	return unix.Unmount(top, unix.MNT_DETACH)
}

// clean removes the cgroup and those in it. It runs in a mount namespace.
func clean(args helperArgs) error {
	top, err := mountCgroups(args)
	if err != nil {
		return err
	}
	root := filepath.Join(top, args.Cgroup)
	// Nothing should be left in there; if anything is, it must not stay.
	if err := os.WriteFile(filepath.Join(root, "cgroup.kill"), []byte("1"), 0); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	var dirs []string
	err = filepath.WalkDir(root, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	// Children are after their parents.
	for i := len(dirs) - 1; i >= 0 && err == nil; i-- {
		err = removeCgroup(dirs[i])
	}
	return err
}

// removeCgroup waits for processes that were killed to leave: the kernel may
// still be at it, and has no event for the last step.
func removeCgroup(dir string) error {
	deadline := time.Now().Add(killTimeout)
	for {
		err := unix.Rmdir(dir)
		switch {
		case err == nil || errors.Is(err, unix.ENOENT):
			return nil
		case !errors.Is(err, unix.EBUSY) && !errors.Is(err, unix.EINTR), time.Now().After(deadline):
			return fmt.Errorf("rmdir %s: %w", dir, err)
		}
		time.Sleep(time.Millisecond)
	}
}

// ownCgroup is the cgroup of this process in the cgroup2 hierarchy. The
// private manager's is in it, so that what limits or ends us does so with it.
func ownCgroup() (string, error) {
	text, err := os.ReadFile("/proc/self/cgroup")
	if err != nil {
		return "", err
	}
	for line := range strings.Lines(string(text)) {
		if path, ok := strings.CutPrefix(strings.TrimSpace(line), "0::"); ok {
			// Join drops the /.. of a cgroup outside of our namespace.
			return filepath.Join("/", path), nil
		}
	}
	return "", errors.New("this machine's kernel has no cgroup v2, which a private systemd needs: Linux 5.3 or newer")
}

const machineID = "/etc/machine-id"

// hasMachineID is false in many container images: the file is missing, or
// empty, or says "uninitialized".
func hasMachineID() bool {
	text, _ := os.ReadFile(machineID)
	_, err := hex.DecodeString(strings.TrimSpace(string(text)))
	return err == nil && len(text) >= 32
}

// mountIfThere binds a file over another that may not exist (a container's
// /dev has no kmsg).
func mountIfThere(source, target string) error {
	if _, err := os.Stat(target); err != nil {
		return nil
	}
	return mount(source, target, "", unix.MS_BIND)
}

func mount(source, target, fstype string, flags uintptr) error {
	if err := unix.Mount(source, target, fstype, flags, ""); err != nil {
		what := fstype
		if what == "" {
			what = source
		}
		return fmt.Errorf("mounting %s on %s: %w (a private systemd needs a machine or container where root may mount)", what, target, err)
	}
	return nil
}

func isMountPoint(path string) (bool, error) {
	text, err := os.ReadFile("/proc/self/mountinfo")
	if err != nil {
		return false, err
	}
	for line := range bytes.Lines(text) {
		// ID, parent, device, root, mount point, ...
		if f := bytes.Fields(line); len(f) > 4 && string(f[4]) == path {
			return true, nil
		}
	}
	return false, nil
}
