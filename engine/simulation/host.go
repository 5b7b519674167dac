package simulation

import (
	"fmt"
	"io"
	"math/rand/v2"
	"time"

	"github.com/sirupsen/logrus"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// Instance is one run of a unit, as it really is.
type Instance struct {
	Machine    machine.ID
	Unit       unit.Name
	Invocation string // systemd's name of this run
	File       unit.Hash
	Since      time.Time // true time
}

// Witness is told, at the instant, whenever a run begins and when its last
// process is gone.
type Witness interface {
	Began(i Instance)
	Ended(i Instance, at time.Time)
}

// HostOptions describe a host.
type HostOptions struct {
	Machine machine.Machine // a boot gives it its boot id
	TTL     time.Duration
	Clock   Clock
	Rand    *rand.Rand // the host's own
	Witness Witness
	// Behave says what a unit of that text does on this host.
	Behave func(text []byte) Behaviour
	// Spawn makes a process for a new fleetd on the host, which has the agent run
	// in it. It is for Spawn to have an engine run there as well.
	Spawn func(h *Host) Process
	// Log gets what fleetd logs; nil: nobody does.
	Log *logrus.Entry
}

// Clock is a host's.
type Clock interface {
	// Now has two readings, as time.Now's results have: of the wall's clock, which
	// anybody may set, and of the monotonic clock, which nobody sets and which stands
	// still while the host is suspended. Either may be slow or fast.
	Now() time.Time
	// Boottime is like the latter, but goes on then.
	Boottime() time.Duration
}

// Host is one machine: a model of systemd, and the real agent on it.
type Host struct {
	opts   HostOptions
	boots  int
	booted time.Duration // by the host's clock
	asleep time.Time     // until then it is suspended

	sys     *machineSystemd // nil: powered off
	records *records
	deadMan *deadMan
	fleetd  *fleetd // nil: none runs
	mortal  int     // calls of systemd until fleetd is killed; negative: it isn't
}

// NewHost makes a host that is powered off.
func NewHost(opts HostOptions) *Host {
	if opts.Log == nil {
		quiet := logrus.New()
		quiet.SetOutput(io.Discard)
		quiet.SetLevel(logrus.PanicLevel)
		opts.Log = logrus.NewEntry(quiet)
	}
	return &Host{opts: opts, mortal: -1}
}

// Machine is how the host presents itself.
func (h *Host) Machine() machine.Machine { return h.opts.Machine }

// Up reports whether the host is powered on.
func (h *Host) Up() bool { return h.sys != nil }

// Alive reports whether a fleetd runs on it.
func (h *Host) Alive() bool { return h.fleetd != nil }

// KnownCluster is the cluster that the host has joined since it booted.
func (h *Host) KnownCluster() record.ClusterID {
	if h.records == nil {
		return ""
	}
	return h.records.known.ID
}

// Step lets everything happen that systemd has to do until now, and gives when
// to call again; zero: not before something was asked of it.
func (h *Host) Step(now time.Time) (wake time.Time) {
	switch {
	case h.sys == nil:
		return time.Time{}
	case now.Before(h.asleep):
		return h.asleep
	}
	happened, wake := h.sys.advance(now)
	isolates := h.deadMan.step(now)
	if h.deadMan.isolate != nil {
		stopped, next := h.sys.advance(now)
		happened, wake = happened || stopped, next
	}
	if wake.IsZero() || !isolates.IsZero() && isolates.Before(wake) {
		wake = isolates
	}
	if happened && h.fleetd != nil {
		h.fleetd.poke()
	}
	return wake
}

// Suspend has nothing on the host go on before that time.
func (h *Host) Suspend(now, until time.Time) {
	if h.sys == nil || now.Before(h.asleep) {
		return
	}
	h.asleep = until
	h.sys.delay(until.Sub(now))
	if !h.deadMan.at.IsZero() {
		h.deadMan.at = h.deadMan.at.Add(until.Sub(now))
	}
	h.Pause(until)
}

// uptime counts the time in which the host was suspended, too.
func (h *Host) uptime() (time.Duration, error) { return h.opts.Clock.Boottime() - h.booted, nil }

// Boot powers a host on that is off, with a new boot id; fleetd starts.
func (h *Host) Boot(now time.Time) {
	if h.sys != nil {
		return
	}
	h.boots++
	h.booted, h.asleep = h.opts.Clock.Boottime(), time.Time{}
	h.opts.Machine.BootID = machine.BootID(fmt.Sprintf("%s-boot-%d", h.opts.Machine.ID.Short(), h.boots))
	h.sys, h.records = newMachineSystemd(h.opts), newRecords()
	h.sys.now, h.sys.fault = now, h.fault
	h.deadMan = &deadMan{host: h}
	h.Start()
}

// PowerOff kills everything at once. What was on disk in /run is gone.
func (h *Host) PowerOff(now time.Time) {
	if h.sys == nil {
		return
	}
	h.Kill()
	h.sys.off(now)
	h.sys, h.records = nil, nil
}

// Start starts a fleetd if the host is up and none runs.
func (h *Host) Start() {
	if h.sys != nil && h.fleetd == nil {
		h.fleetd = startFleetd(h)
	}
}

// Kill kills fleetd with SIGKILL; units run on.
func (h *Host) Kill() {
	h.mortal = -1
	if h.fleetd != nil {
		h.fleetd.process.Kill()
		h.fleetd = nil
	}
}

// KillSoon kills fleetd as it calls systemd for the nth time from now on, before
// or after the call.
func (h *Host) KillSoon(n int) {
	if h.fleetd != nil {
		h.mortal = n
	}
}

// killed unwinds the operation in which fleetd is killed.
type killed struct{}

func (h *Host) fault(string) error {
	switch {
	case h.mortal == 0:
		panic(killed{})
	case h.mortal > 0:
		h.mortal--
	}
	return nil
}

// Pause stops fleetd with SIGSTOP, and continues it at until.
func (h *Host) Pause(until time.Time) {
	if h.fleetd != nil {
		h.fleetd.process.Freeze(until)
	}
}

// Disconnect has systemd not be reached by fleetd, or reached again.
func (h *Host) Disconnect(away bool) {
	if h.sys != nil {
		h.sys.disconnect(away)
		if h.fleetd != nil {
			h.fleetd.poke()
		}
	}
}

// Leave is systemctl stop fleet: fleetd hands the host's units over, gives its
// lease back, and ends.
func (h *Host) Leave() {
	if h.fleetd != nil {
		h.fleetd.leave()
	}
}

// Own makes a unit of that name be the host's.
func (h *Host) Own(name unit.Name) {
	if h.sys != nil {
		h.sys.foreign[name] = true
	}
}

// Running lists what runs, by unit.
func (h *Host) Running() []Instance {
	if h.sys == nil {
		return nil
	}
	return h.sys.running()
}

// Health says why the host's agent doesn't follow its schedule; nil if it does, or
// if there is none.
func (h *Host) Health() error {
	if h.fleetd == nil || h.fleetd.stepper == nil {
		return nil
	}
	return h.fleetd.stepper.Health()
}
