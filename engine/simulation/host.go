package simulation

import (
	"math/rand/v2"
	"time"

	"github.com/fleet-project/fleet/machine"
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
	Machine machine.Machine // of its first boot; a reboot changes the boot id
	TTL     time.Duration
	Network Network
	Witness Witness
	Rand    *rand.Rand // the host's own
	// Drift is by how much the host's clock runs fast: 0.001 is a millisecond
	// in a second.
	Drift float64
}

// Host is one machine: a model of systemd, and the real agent on it. All times
// that it is given, and that it gives, are true ones; its own clock drifts.
//
// Nothing happens but in Step, which is to be called at the time that the last
// call gave, or earlier when something was answered or told.
type Host struct {
	opts HostOptions
}

// NewHost makes a host that is powered off.
func NewHost(opts HostOptions) *Host { return &Host{opts: opts} }

// Boot powers the host on, with a new boot id; fleetd starts.
func (h *Host) Boot(now time.Time) {}

// PowerOff kills everything at once.
func (h *Host) PowerOff(now time.Time) {}

// Kill kills fleetd with SIGKILL; units run on.
func (h *Host) Kill(now time.Time) {}

// KillSoon kills fleetd at its nth call of systemd from now on.
func (h *Host) KillSoon(calls int) {}

// Start starts a fleetd if none runs.
func (h *Host) Start(now time.Time) {}

// Pause stops fleetd with SIGSTOP, and continues it at until.
func (h *Host) Pause(until time.Time) {}

// Leave is systemctl stop fleet: fleetd hands the host's units over, gives its
// lease back, and ends.
func (h *Host) Leave(now time.Time) {}

// Up reports whether the host is powered on, and Alive whether a fleetd runs on it.
func (h *Host) Up() bool    { return false }
func (h *Host) Alive() bool { return false }

// Step lets everything happen that is due, and gives when to call again; zero:
// not before something is answered or told.
func (h *Host) Step(now time.Time) (wake time.Time) { return time.Time{} }

// Running lists what runs, by unit.
func (h *Host) Running() []Instance { return nil }
