package doctor

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fleet-project/fleet/api"
	"golang.org/x/sys/unix"
)

const (
	// slowSystemd is when PID 1 is a worry: usually it answers in a millisecond.
	slowSystemd = 500 * time.Millisecond
	// littleRoom and noRoom are how much of a file system should, and must, be free.
	littleRoom, noRoom = 0.10, 0.02
	// enoughRoom is enough however large the file system is, in bytes.
	enoughRoom = 5 << 30
)

// fleetd is whether this host takes part, in fleetd's own words.
func (h Host) fleetd(context.Context) []api.Finding {
	const check = "fleetd"
	switch {
	case !h.Joined:
		return []api.Finding{failure(check, h.Self.Hostname, "has not joined the cluster: "+h.Phase,
			"see the findings below, and: journalctl -u fleet -n 50")}
	case h.Suspended != nil:
		return []api.Finding{failure(check, h.Self.Hostname, "keeps everything as it is and changes nothing: "+h.Suspended.Error(),
			"see the findings on etcd and on the cluster below")}
	}
	return []api.Finding{fine(check, h.Self.Hostname, h.Phase)}
}

// lease is whether this host is about to be taken for lost.
func (h Host) lease(context.Context) []api.Finding {
	if !h.Joined {
		return nil
	}
	const check = "lease"
	subject := "agent_ttl " + h.TTL.String()
	age := h.Now().Sub(h.Renewed)
	found := fmt.Sprintf("renewed %s ago", age.Round(100*time.Millisecond))
	remedy := "this host can't reach etcd, or etcd is too slow: see the findings on etcd below"
	switch {
	case age >= h.TTL:
		return []api.Finding{failure(check, subject, found+": this host counts as lost, its units are started elsewhere", remedy)}
	case age >= 2*h.TTL/3:
		return []api.Finding{warning(check, subject, found+": units with Isolation=stop are being stopped here", remedy)}
	}
	return []api.Finding{fine(check, subject, found)}
}

// watchdog is whether a fleetd that hangs is restarted in time.
func (h Host) watchdog(context.Context) []api.Finding {
	const check, subject = "watchdog", "fleet.service"
	switch {
	case h.Watchdog == 0:
		return nil // systemd doesn't run it, or was told not to look
	case h.Revived > h.TTL*2/3: // a third of it may have gone by
		return []api.Finding{warning(check, subject,
			fmt.Sprintf("it takes %s until a fleetd that hangs is replaced, and its host may count as lost after %s", h.Revived.Round(time.Second), (h.TTL*2/3).Round(100*time.Millisecond)),
			"raise agent_ttl to 12s or more, on all hosts: fleetd then sees to the rest by itself")}
	}
	return []api.Finding{fine(check, subject, fmt.Sprintf("a fleetd that hangs is restarted after %s", h.Watchdog))}
}

// systemd is whether PID 1 answers, and how soon.
func (h Host) systemd(ctx context.Context) []api.Finding {
	const check, subject = "systemd", "D-Bus"
	began := h.Now()
	m, err := h.Systemd.Manager(ctx)
	took := h.Now().Sub(began)
	if err != nil {
		return []api.Finding{failure(check, subject, "does not answer: "+err.Error(),
			"does systemctl answer on this host? systemctl status dbus; if PID 1 hangs, only a reboot helps")}
	}
	found := fmt.Sprintf("systemd %s answers in %s", m.Version, took.Round(100*time.Microsecond))
	if took > slowSystemd {
		return []api.Finding{warning(check, subject, found, "PID 1 is busy: look for units that start over and over (systemctl list-jobs; journalctl -n 100)")}
	}
	return []api.Finding{fine(check, subject, found)}
}

// disks is whether there is room where fleet and etcd write.
func (h Host) disks(context.Context) []api.Finding {
	seen := map[[2]int32]bool{}
	var all []api.Finding
	for _, dir := range h.Dirs {
		var fs unix.Statfs_t
		err := unix.Statfs(dir, &fs)
		switch {
		case errors.Is(err, unix.ENOENT):
			continue // there is no etcd here
		case err != nil:
			all = append(all, failure("disk", dir, err.Error(), "fleetd can't use this directory: ls -ld "+dir+"; mount | grep "+dir))
			continue
		}
		if id := fs.Fsid.Val; id == [2]int32{} || !seen[id] {
			seen[id] = true
			all = append(all, room(dir, fs))
		}
	}
	return all
}

func room(dir string, fs unix.Statfs_t) api.Finding {
	const check = "disk"
	free, share := fs.Bavail*uint64(fs.Bsize), 1.0
	if fs.Blocks > 0 {
		share = float64(fs.Bavail) / float64(fs.Blocks)
	}
	found := fmt.Sprintf("%s free (%.0f%%)", bytes(free), 100*share)
	if fs.Files > 0 && float64(fs.Ffree)/float64(fs.Files) < share {
		share = float64(fs.Ffree) / float64(fs.Files)
		found = fmt.Sprintf("%d files more fit (%.0f%%)", fs.Ffree, 100*share)
		free = 0 // however much room there is
	}
	remedy := "make room: df -h " + dir + "; du -xh --max-depth=2 " + dir + " | sort -h | tail"
	switch {
	case fs.Flags&unix.ST_RDONLY != 0:
		return failure(check, dir, "is mounted read-only", "journalctl -k says why (a failing disk?); then: mount -o remount,rw")
	case share < noRoom && free < enoughRoom:
		return failure(check, dir, found, remedy)
	case share < littleRoom && free < enoughRoom:
		return warning(check, dir, found, remedy)
	}
	return fine(check, dir, found)
}

// bytes writes a size for a person.
func bytes(n uint64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.0f MiB", float64(n)/(1<<20))
	}
	return fmt.Sprintf("%d KiB", n>>10)
}
