package manager

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// StateDir is a directory for the private manager of the fleetd whose data is
// in dataDir: short enough for sockets, and gone after a reboot, as the
// manager is.
func StateDir(dataDir string) string {
	if abs, err := filepath.Abs(dataDir); err == nil {
		dataDir = abs
	}
	return filepath.Join("/run", shortName(dataDir))
}

// cgroupName is the name of the cgroup of the private manager in dir.
func cgroupName(dir string) string { return shortName(dir) }

func shortName(path string) string {
	sum := sha256.Sum256([]byte(path))
	return fmt.Sprintf("fleet-dev-%x", sum[:4])
}

// identity is what a fleetd leaves for the next one to know its private
// manager by. It is written before anything else is made, first without PID.
type identity struct {
	PID int `json:"pid"`
	// A PID alone may be anybody's by now.
	StartTime string `json:"startTime"`
	BootID    string `json:"bootID"`
	// Cgroup is its path in the cgroup2 hierarchy as our cgroup namespace
	// shows it.
	Cgroup string `json:"cgroup"`
	// Made are what had to be made outside of our directory, or what systemd
	// will make there: directories and an empty file, gone after Close.
	Made []string `json:"made"`
}

const identityFile = "manager.json"

func readIdentity(dir string) (identity, error) {
	var id identity
	text, err := os.ReadFile(filepath.Join(dir, identityFile))
	if errors.Is(err, fs.ErrNotExist) {
		return id, nil
	}
	if err != nil {
		return id, err
	}
	if err := json.Unmarshal(text, &id); err != nil {
		return id, fmt.Errorf("%s: %w", filepath.Join(dir, identityFile), err)
	}
	return id, nil
}

// write replaces the file atomically: we may be killed at any instruction.
func (id identity) write(dir string) error {
	text, err := json.Marshal(id)
	if err != nil {
		return err
	}
	path := filepath.Join(dir, identityFile)
	if err := os.WriteFile(path+".new", text, 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// alive returns a pidfd of the process if it still runs, and -1 if not.
func (id identity) alive() (int, error) {
	if id.PID == 0 || id.BootID != bootID() {
		return -1, nil
	}
	fd, err := unix.PidfdOpen(id.PID, 0)
	if errors.Is(err, unix.ESRCH) {
		return -1, nil
	}
	if err != nil {
		return -1, fmt.Errorf("pidfd_open %d: %w", id.PID, err)
	}
	unix.CloseOnExec(fd)
	// Compared after the pidfd is open, it can't change any more.
	start, err := startTime(id.PID)
	if err != nil || start != id.StartTime {
		unix.Close(fd)
		return -1, nil
	}
	return fd, nil
}

// startTime is the 22nd field of /proc/PID/stat: ticks since boot. An error
// means that there is no such process, or only what is left of one.
func startTime(pid int) (string, error) {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return "", err
	}
	// The second field is a name in parentheses, with anything in it.
	fields := bytes.Fields(stat[bytes.LastIndexByte(stat, ')')+1:])
	if len(fields) < 20 || string(fields[0]) == "Z" {
		return "", fs.ErrNotExist
	}
	return string(fields[19]), nil
}

func bootID() string {
	id, _ := os.ReadFile("/proc/sys/kernel/random/boot_id")
	return strings.TrimSpace(string(id))
}

// lock keeps two fleetds from one directory, for as long as either lives.
func lock(ctx context.Context, dir string) (*os.File, error) {
	path := filepath.Join(dir, "lock")
	for {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return nil, err
		}
		f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
		if err != nil {
			return nil, err
		}
		if err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
			f.Close()
			if errors.Is(err, unix.EWOULDBLOCK) {
				return nil, fmt.Errorf("another fleetd dev runs with %s: stop it, or give this one another data directory", dir)
			}
			return nil, fmt.Errorf("flock %s: %w", path, err)
		}
		// The one before us removes the file on its way out.
		var ours, now unix.Stat_t
		if unix.Fstat(int(f.Fd()), &ours) == nil && unix.Stat(path, &now) == nil && ours.Ino == now.Ino {
			return f, nil
		}
		f.Close()
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
}

// waitPidfd returns when the process has ended. Whoever is its parent has
// still to reap it.
func waitPidfd(fd int) {
	for {
		_, err := unix.Poll([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, -1)
		if !errors.Is(err, unix.EINTR) {
			return
		}
	}
}
