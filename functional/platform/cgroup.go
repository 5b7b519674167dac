package platform

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// cgroupRoot is where the cgroup v2 hierarchy is mounted: /sys/fs/cgroup on
// most machines, /sys/fs/cgroup/unified beside the hierarchies of v1.
func cgroupRoot() (string, error) {
	root, err := cgroupMount(func(kind, _ string) bool { return kind == "cgroup2" })
	if err == nil && root == "" {
		err = errors.New("no cgroup2 file system is mounted")
	}
	return root, err
}

// cgroupMount is where the first cgroup file system that matches is mounted, or
// "".
func cgroupMount(match func(kind, options string) bool) (string, error) {
	f, err := os.Open("/proc/self/mountinfo")
	if err != nil {
		return "", err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		before, after, ok := strings.Cut(lines.Text(), " - ")
		at, fs := strings.Fields(before), strings.Fields(after) // fs: type, source, options
		if ok && len(at) > 4 && len(fs) > 2 && match(fs[0], fs[2]) {
			return at[4], nil
		}
	}
	return "", lines.Err()
}

// cgroupTwin is dir's namesake in the v1 hierarchy name=systemd, on machines
// that have it beside v2: nspawn makes all its cgroups there as well, and
// removes none. It is "" elsewhere.
func cgroupTwin(dir string) (string, error) {
	root, err := cgroupRoot()
	if err != nil {
		return "", err
	}
	below, err := filepath.Rel(root, dir)
	if err != nil {
		return "", err
	}
	twin, err := cgroupMount(func(kind, options string) bool {
		return kind == "cgroup" && slices.Contains(strings.Split(options, ","), "name=systemd")
	})
	if err != nil || twin == "" {
		return "", err
	}
	return filepath.Join(twin, below), nil
}

// makeCgroup makes dir and its parents below the hierarchy's root. Where it is
// allowed, every level hands its controllers down, so that a host's systemd has
// what a real host's has; where it isn't (a container's root cgroup holds
// processes), hosts do without resource control.
func makeCgroup(dir string) error {
	root, err := cgroupRoot()
	if err != nil {
		return err
	}
	below, err := filepath.Rel(root, dir)
	if err != nil {
		return err
	}
	for tries := 1; ; tries++ {
		err := makeCgroupsBelow(root, strings.Split(below, "/"))
		// A platform that goes takes the common parent along, if it is empty
		// just then.
		if err == nil || !errors.Is(err, fs.ErrNotExist) || tries == 10 {
			return err
		}
	}
}

func makeCgroupsBelow(at string, names []string) error {
	for _, name := range names {
		delegateControllers(at)
		at = filepath.Join(at, name)
		if err := os.Mkdir(at, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
			return fmt.Errorf("make cgroup: %w", err)
		}
	}
	return nil
}

func delegateControllers(dir string) {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.controllers"))
	if err != nil {
		return
	}
	for _, controller := range strings.Fields(string(data)) {
		// One at a time: one that is refused must not cost the others.
		_ = os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+controller), 0o644)
	}
}

// removeCgroup removes dir, in which no process is left, and all below it.
func removeCgroup(dir string) error {
	var dirs []string
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.IsDir() {
			dirs = append(dirs, path)
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	if err != nil {
		return err
	}
	for _, d := range slices.Backward(dirs) {
		if err := os.Remove(d); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return fmt.Errorf("remove cgroup: %w", err)
		}
	}
	return nil
}

// killCgroup kills everything in dir and below, and returns when it is dead.
func killCgroup(ctx context.Context, dir string) error {
	err := os.WriteFile(filepath.Join(dir, "cgroup.kill"), []byte("1"), 0o644)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("kill cgroup: %w", err)
	}
	return waitCgroup(ctx, dir, "populated", "0")
}

// freezeCgroup stops or resumes all of dir's processes, and returns when that
// has happened.
func freezeCgroup(ctx context.Context, dir string, frozen bool) error {
	value := "0"
	if frozen {
		value = "1"
	}
	if err := os.WriteFile(filepath.Join(dir, "cgroup.freeze"), []byte(value), 0o644); err != nil {
		return fmt.Errorf("freeze cgroup: %w", err)
	}
	return waitCgroup(ctx, dir, "frozen", value)
}

// cgroupEvent is one value of a cgroup's events file; "" if the cgroup is gone.
func cgroupEvent(dir, key string) string {
	data, err := os.ReadFile(filepath.Join(dir, "cgroup.events"))
	if err != nil {
		return ""
	}
	return eventValue(data, key)
}

func eventValue(data []byte, key string) string {
	for line := range strings.Lines(string(data)) {
		if value, ok := strings.CutPrefix(strings.TrimSpace(line), key+" "); ok {
			return value
		}
	}
	return ""
}

// waitCgroup waits until the cgroup's events say so: the kernel tells of each
// change of that file through poll.
func waitCgroup(ctx context.Context, dir, key, value string) error {
	f, err := os.Open(filepath.Join(dir, "cgroup.events"))
	if errors.Is(err, fs.ErrNotExist) {
		return nil // removed already: nothing is in it
	}
	if err != nil {
		return err
	}
	defer f.Close()
	buf := make([]byte, 256)
	for {
		n, err := f.ReadAt(buf, 0)
		if n == 0 && err != nil {
			if errors.Is(err, unix.ENODEV) {
				return nil
			}
			return err
		}
		if eventValue(buf[:n], key) == value {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("cgroup %s never came to %s=%s: %w", dir, key, value, err)
		}
		// The time limit is there only to look at ctx now and then.
		fds := []unix.PollFd{{Fd: int32(f.Fd()), Events: unix.POLLPRI}}
		if _, err := unix.Poll(fds, int((200 * time.Millisecond).Milliseconds())); err != nil && !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}
