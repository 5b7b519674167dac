package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
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
// from the page cache, a few microseconds each time. Only where all of them are as
// in the file: a linker has written to some of a position-independent executable,
// and protected them afterwards, a debugger writes into the code.
func dropProgram() error {
	maps, err := os.Open("/proc/self/smaps")
	if err != nil {
		return err
	}
	defer maps.Close()
	program, err := os.Readlink("/proc/self/exe")
	if err != nil {
		return err
	}
	all, err := clean(maps, program)
	if err != nil {
		return err
	}
	for _, m := range all {
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.from, m.to-m.from, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("madvise: %w", errno)
		}
	}
	return nil
}

// mapping is a part of this process's memory.
type mapping struct{ from, to uintptr }

// clean gives where a file is mapped that is neither written to now nor was.
func clean(smaps io.Reader, file string) (all []mapping, err error) {
	var last mapping
	ours := false
	lines := bufio.NewScanner(smaps)
	for lines.Scan() {
		f := strings.Fields(lines.Text())
		switch {
		case len(f) >= 5 && strings.Contains(f[0], "-"):
			// 00400000-012fe000 r-xp 00000000 00:2b 123   /usr/bin/fleetd
			ours = strings.HasSuffix(lines.Text(), " "+file) && !strings.Contains(f[1], "w")
			if _, err := fmt.Sscanf(f[0], "%x-%x", &last.from, &last.to); err != nil {
				return nil, fmt.Errorf("smaps: %q: %w", lines.Text(), err)
			}
		case ours && len(f) == 3 && f[0] == "Anonymous:" && f[1] == "0": // kB that are no longer the file's
			all = append(all, last)
		}
	}
	return all, lines.Err()
}
