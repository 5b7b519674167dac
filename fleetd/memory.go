package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// What fleetd needs while it starts, or while hundreds of units do, it doesn't
// need afterwards: garbage, and the parts of its program that ran only then (all
// of etcd's server, the formats of bootstrap and their like are in it, and begin
// with every process). The kernel would take those back when memory is short; a
// daemon that is on every host, and is mostly idle, does so itself.

const (
	// memoryEvery is how often it is looked whether fleetd has become idle.
	memoryEvery = 15 * time.Second
	// busy is how much of its processor time in between means that it hasn't.
	busy = 100 * time.Millisecond
)

// giveBack gives memory back whenever fleetd comes to rest.
func (n *node) giveBack(ctx context.Context) error {
	ticks := time.NewTicker(memoryEvery)
	defer ticks.Stop()
	rest := restFrom(processorTime())
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-ticks.C:
		}
		if !rest.begins(processorTime()) {
			continue
		}
		debug.FreeOSMemory()
		if err := dropProgram(); err != nil {
			n.log.WithError(err).Debug("the program's pages stay in memory")
		}
	}
}

// rest tells when a busy process has come to rest.
type rest struct {
	used  time.Duration // its processor time so far
	rests bool
}

func restFrom(used time.Duration) *rest { return &rest{used: used} }

// begins is true once after each time that the process was busy.
func (r *rest) begins(used time.Duration) bool {
	did := used - r.used
	r.used = used
	before := r.rests
	r.rests = did < busy
	return r.rests && !before
}

// processorTime is what this process has used.
func processorTime() time.Duration {
	var u unix.Rusage
	if unix.Getrusage(unix.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// dropProgram unmaps the program's pages. Those that are still needed come back
// from the page cache, a few microseconds each time. Only what is mapped to be
// read, and so is as in the file.
func dropProgram() error {
	maps, err := os.Open("/proc/self/maps")
	if err != nil {
		return err
	}
	defer maps.Close()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	lines := bufio.NewScanner(maps)
	for lines.Scan() {
		// 00400000-012fe000 r-xp 00000000 00:2b 123   /usr/bin/fleetd
		f := strings.Fields(lines.Text())
		if len(f) < 6 || !strings.HasSuffix(lines.Text(), " "+program) || strings.Contains(f[1], "w") {
			continue
		}
		var from, to uintptr
		if _, err := fmt.Sscanf(f[0], "%x-%x", &from, &to); err != nil {
			return err
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, from, to-from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("madvise: %w", errno)
		}
	}
	return lines.Err()
}
