package systemd

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/fleet-project/fleet/unit"
)

const (
	cgroups = "/sys/fs/cgroup"
	// slayPasses bounds how often the processes of a control group are listed anew:
	// one that was forked meanwhile isn't on the list.
	slayPasses = 10
)

// ErrNoCgroups says that this host's control groups can't be used to kill units:
// they aren't of version 2, or not of the system's systemd.
var ErrNoCgroups = errors.New("needs control groups of version 2, and the system's systemd")

// Slay kills all processes of the system's units by their control groups, without
// systemd: it is for when systemd hangs. systemd sees them die, so that it must
// have been asked to stop them, lest it start them again. A unit that has no
// processes is fine.
func (c *Client) Slay(names []unit.Name) error {
	if c.opts.UserScope {
		return ErrNoCgroups
	}
	own, err := os.ReadFile("/proc/1/cgroup")
	if err != nil {
		return err
	}
	for line := range strings.Lines(string(own)) {
		path, unified := strings.CutPrefix(strings.TrimSpace(line), "0::")
		if !unified {
			continue // of version 1: there may be some beside it
		}
		for _, mounted := range []string{cgroups, cgroups + "/unified"} {
			root := filepath.Join(mounted, strings.TrimSuffix(path, "/init.scope"))
			if _, err := os.Stat(filepath.Join(root, "system.slice", "cgroup.procs")); err == nil {
				return slayBelow(root, names)
			}
		}
	}
	return ErrNoCgroups
}

// slayBelow kills units whose control groups are in one or in the slices below it.
// A unit of a user's own systemd is in no slice of the system's.
func slayBelow(slice string, names []unit.Name) error {
	wanted := map[string]bool{}
	for _, name := range names {
		// systemd puts a _ before what the kernel could mistake for a file of its own.
		wanted[string(name)], wanted["_"+string(name)] = true, true
	}
	var failed error
	var walk func(dir string)
	walk = func(dir string) {
		entries, err := os.ReadDir(dir)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // it may have gone meanwhile
			failed = errors.Join(failed, err)
		}
		for _, e := range entries {
			path := filepath.Join(dir, e.Name())
			switch {
			case !e.IsDir():
			case wanted[e.Name()]:
				failed = errors.Join(failed, killCgroup(path))
			case strings.HasSuffix(e.Name(), ".slice"):
				walk(path)
			}
		}
	}
	walk(slice)
	return failed
}

// killCgroup kills whatever is in a control group and below it.
func killCgroup(dir string) error {
	all, err := os.OpenFile(filepath.Join(dir, "cgroup.kill"), os.O_WRONLY, 0) // Linux 5.14
	if err == nil {
		_, err = all.WriteString("1")
		return ignoreGone(errors.Join(err, all.Close()))
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	for range slayPasses {
		pids, err := processes(dir)
		if err != nil || len(pids) == 0 {
			return err
		}
		for _, pid := range pids {
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
				return fmt.Errorf("killing process %d: %w", pid, err)
			}
		}
	}
	return nil
}

// processes lists those of a control group and of those below it.
func processes(dir string) (pids []int, err error) {
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() != "cgroup.procs" {
			return ignoreGone(err)
		}
		text, err := os.ReadFile(path)
		for _, field := range strings.Fields(string(text)) {
			if pid, err := strconv.Atoi(field); err == nil {
				pids = append(pids, pid)
			}
		}
		return ignoreGone(err)
	})
	return pids, err
}

// ignoreGone drops the error of a control group that systemd has removed.
func ignoreGone(err error) error {
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ENODEV) {
		return nil
	}
	return err
}
