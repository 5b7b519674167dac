package agent

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// A fleetd that starts while the host is cut off can't join, and so has no
// lease. The units that an earlier one started run on that one's lease, which
// ends: those that say Isolation=stop must be stopped all the same. For that an
// agent with such units writes down when its lease was renewed.

// noteEvery is how many times within a TTL it is looked whether the lease was
// renewed, to write it down: often enough that a fleetd that is restarted sees
// the latest renewal, or nearly.
const noteEvery = 20

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
	opts.Registry, opts.Metrics = nil, nil
	a := make(opts)
	a.opts.Presence = formerLease(a.formerRenewal())
	return a
}

// formerLease is an earlier fleetd's: when it was renewed.
type formerLease time.Time

func (l formerLease) RenewedAt() time.Time                        { return time.Time(l) }
func (formerLease) Update(context.Context, machine.Machine) error { return nil }
func (formerLease) Leave(context.Context) error                   { return nil }
func (formerLease) PutStates(context.Context, map[unit.Name]*record.State) error {
	return nil
}

// noteRenewal writes down that the lease was renewed.
func (a *Agent) noteRenewal(now, renewed time.Time) {
	if a.opts.Registry == nil || renewed.IsZero() || renewed.Equal(a.noted) {
		return
	}
	up, err := a.opts.Uptime()
	if err == nil {
		err = a.records.SaveRenewal(up - now.Sub(renewed))
	}
	if err != nil && !a.unnoted {
		a.log.WithError(err).Error("can't write down when the lease was renewed: a fleetd that starts while the host is cut off will not know")
	}
	a.noted, a.unnoted = renewed, err != nil
}

// formerRenewal tells when an earlier fleetd's lease was renewed; zero if
// nobody knows.
func (a *Agent) formerRenewal() time.Time {
	renewed, known := a.records.Renewal()
	if !known {
		return time.Time{}
	}
	up, err := a.opts.Uptime()
	if err != nil {
		return time.Time{}
	}
	return a.clock.Now().Add(renewed - up)
}

// uptime reads /proc/uptime, which counts the time asleep too.
func uptime() (time.Duration, error) {
	text, err := os.ReadFile("/proc/uptime")
	if err != nil {
		return 0, err
	}
	up, _, _ := strings.Cut(string(text), " ")
	d, err := time.ParseDuration(up + "s")
	if err != nil {
		return 0, fmt.Errorf("/proc/uptime: %w", err)
	}
	return d, nil
}
