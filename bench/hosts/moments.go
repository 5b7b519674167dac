package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
	"golang.org/x/sys/unix"
)

// keepalive waits for a host's lease to be renewed, and gives a moment that was
// just before: while etcd counts whole seconds, a renewal shows as a step up. Of
// two steps the first may be that of a new leader of etcd's.
func (m member) keepalive(ctx context.Context, of *platform.Host) (at time.Duration, err error) {
	machines, _, err := m.list(ctx, "machines/"+of.MachineID())
	if err != nil {
		return 0, err
	}
	if len(machines) != 1 {
		return 0, fmt.Errorf("%s has %d presence keys", of.Name(), len(machines))
	}
	last := -1
	for steps := 0; steps < 2; {
		asked := monotonic()
		left, err := m.remaining(ctx, machines[0].Lease)
		if err != nil {
			return 0, err
		}
		if last >= 0 && left > last {
			steps++
		} else {
			at = asked
		}
		last = left
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return at, nil
}

// absence waits until a host's presence has ended, as this member's copy says:
// while etcd elects a leader it answers nothing else.
func (m member) absence(ctx context.Context, of *platform.Host) (at time.Duration, err error) {
	for {
		asked := monotonic()
		machines, _, err := m.list(ctx, "machines/"+of.MachineID())
		switch {
		case ctx.Err() != nil:
			return 0, ctx.Err()
		case err == nil && len(machines) == 0:
			return asked, nil
		}
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return 0, err
		}
	}
}

// activeSince tells since when units of a host are active, by the clock that all
// hosts share: one kernel runs them.
func activeSince(ctx context.Context, h *platform.Host, pattern string) ([]time.Duration, error) {
	out, err := h.Run(ctx, "systemctl", "show", "--state=active", "--property=ActiveState,ActiveEnterTimestampMonotonic", pattern)
	if err != nil {
		return nil, err
	}
	var all []time.Duration
	for block := range strings.SplitSeq(out, "\n\n") {
		if !strings.Contains(block, "ActiveState=active") {
			continue
		}
		_, rest, _ := strings.Cut(block, "ActiveEnterTimestampMonotonic=")
		micros, err := strconv.ParseInt(strings.Fields(rest + " -")[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("systemctl show on %s: %q: %w", h.Name(), block, err)
		}
		all = append(all, time.Duration(micros)*time.Microsecond)
	}
	return all, nil
}

// monotonic is the kernel's clock, by which systemd notes when units became
// active.
func monotonic() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // it is always there
	}
	return time.Duration(now.Nano())
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
