package agent

import (
	"context"
	"fmt"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// A fleetd that starts while the host is cut off can't join, and so has no
// lease. The units that an earlier one started run on that one's lease, which
// ends: those that say Isolation=stop must be stopped all the same. For that an
// agent with such units writes down when its lease was renewed.

// Guard stops the units of an earlier fleetd that say Isolation=stop before the
// lease that they run on can end. Run it while the host joins, until ctx ends;
// then run the agent. It changes nothing else. Of the options it needs Systemd,
// Machine, TTL and Dir.
func Guard(ctx context.Context, opts Options) error { return newGuard(opts).Run(ctx) }

// Abandon stops all units of an earlier fleetd, for a host that leaves before it
// could join: nobody would look after them any more, and once that one's lease
// has ended the cluster starts them elsewhere. It takes the options that Guard
// does; when ctx ends it gives up.
func Abandon(ctx context.Context, opts Options) error {
	a := newGuard(opts)
	running, stop := context.WithCancel(context.WithoutCancel(ctx))
	ended := make(chan error, 1)
	go func() { ended <- a.Run(running) }()
	a.post(func(time.Time) { a.core.leave() })
	err := a.waitEmpty(ctx)
	stop()
	if end := <-ended; end != nil {
		return end
	}
	if err != nil {
		return fmt.Errorf("units still run on this host: %w", err)
	}
	return nil
}

// newGuard makes an agent that follows nobody, and so is told to do nothing.
func newGuard(opts Options) *Agent { return guarding(opts, New) }

func guarding(opts Options, make func(Options) *Agent) *Agent {
	opts.Registry, opts.Metrics, opts.Switch = nil, nil, nil
	a := make(opts)
	a.opts.Presence = formerPresence{}
	return a
}

// formerPresence is an earlier fleetd's: all that is left of it is when its lease
// was renewed, which is in the records.
type formerPresence struct{}

func (formerPresence) RenewedAt() time.Time                          { return time.Time{} }
func (formerPresence) Update(context.Context, machine.Machine) error { return nil }
func (formerPresence) Leave(context.Context) error                   { return nil }
func (formerPresence) PutStates(context.Context, map[unit.Name]*record.State) error {
	return nil
}

// uptime counts the time in which the host was suspended, too.
func uptime() (time.Duration, error) {
	var t unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &t); err != nil {
		return 0, fmt.Errorf("reading how long this host is up: %w", err)
	}
	return time.Duration(t.Nano()), nil
}
