package simulation

import (
	"context"
	"time"

	"github.com/fleet-project/fleet/agent"
	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
)

// deadMan is a host's dead man's switch: its systemd runs an isolating agent unless
// a fleetd puts it off in time.
type deadMan struct {
	host    *Host
	at      time.Time      // when it acts; zero: it isn't armed, or has acted
	isolate *agent.Stepper // what it runs since
	sees    chan struct{}  // for it to ask systemd how units are
	wake    time.Time
}

// lookEvery is how often what isolates asks how units are: systemd's signals are
// fleetd's here.
const lookEvery = 50 * time.Millisecond

// Arm is agent.Switch's. To put an armed switch off takes a datagram; all else takes
// D-Bus.
func (d *deadMan) Arm(_ context.Context, in time.Duration) error {
	sys := d.host.sys
	if d.at.IsZero() && sys.away {
		return systemd.ErrDisconnected
	}
	d.isolate = nil
	d.at = sys.now.Add(in)
	return nil
}

// Disarm is agent.Switch's, too.
func (d *deadMan) Disarm(context.Context) error {
	if d.host.sys.away {
		return systemd.ErrDisconnected
	}
	d.at, d.isolate = time.Time{}, nil
	return nil
}

// step does what is due, and gives when it is to be called again.
func (d *deadMan) step(now time.Time) (wake time.Time) {
	h := d.host
	if !d.at.IsZero() && !now.Before(d.at) {
		d.at, d.sees, d.wake = time.Time{}, make(chan struct{}, 1), now
		stepper, err := agent.NewStepper(agent.Options{
			Systemd: onlooker{h.sys, d.sees}, Records: h.records, TTL: h.opts.TTL, Log: h.opts.Log, Uptime: h.uptime,
			Machine: func() machine.Machine { return h.opts.Machine },
		}, h.opts.Clock.Now(), nil)
		if err != nil {
			panic(err)
		}
		d.isolate = stepper
		h.opts.Log.Warn("the dead man's switch acts")
	}
	if d.isolate == nil {
		return d.at
	}
	if !now.Before(d.wake) {
		mortal := h.mortal
		h.mortal = -1 // it is fleetd that is to be killed in a call
		signal(d.sees)
		d.isolate.Step(h.opts.Clock.Now())
		h.mortal = mortal
		d.wake = now.Add(lookEvery)
	}
	return d.wake
}

// onlooker is systemd to what isolates.
type onlooker struct {
	*machineSystemd
	sees chan struct{}
}

// Watch does nothing: whoever looks asks.
func (onlooker) Watch(...unit.Name) {}

// Unwatch does nothing, either.
func (onlooker) Unwatch(...unit.Name) {}

func (o onlooker) Changed() <-chan struct{} { return o.sees }

func (onlooker) Take() systemd.Changes { return systemd.Changes{Resync: true} }
