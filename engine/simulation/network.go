package simulation

import (
	"errors"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// Lease is one of the model etcd's; 0 is none.
type Lease uint64

// Errors that etcd answers with; any other means that it didn't, and that nobody
// knows whether it did what was asked.
var (
	// ErrLeaseGone: the lease has ended.
	ErrLeaseGone = errors.New("the lease has ended")
	// ErrHeld: another boot of the machine holds its place, on a lease that was
	// renewed within the last two thirds of its time.
	ErrHeld = errors.New("another boot holds this machine's place")
)

// Joined is what a machine that joins is told.
type Joined struct {
	Lease   Lease
	Resumed bool // it is that of an earlier fleetd of this boot
	// States that etcd holds of this machine, if Resumed.
	States map[unit.Name]record.State
}

// Network is one host's way to etcd. Whatever is asked takes its time, may get
// lost on the way there or back, and is answered at most once; who has an answer
// or a tale for a host calls the host's Step at that time. A host that has died
// takes no notice of answers to its former life.
type Network interface {
	// Join makes the machine present: it renews the lease of an earlier fleetd
	// of the boot, or takes the place on a new one, which ends an earlier boot's;
	// or says ErrHeld.
	Join(m machine.Machine, ttl time.Duration, answer func(Joined, error))
	// Renew renews a lease, or says ErrLeaseGone.
	Renew(id machine.ID, lease Lease, answer func(error))
	// Put writes what the machine says of itself, unless nil, and of its units
	// (nil deletes), all in one transaction on its lease; or says ErrLeaseGone.
	Put(id machine.ID, lease Lease, self *machine.Machine, states map[unit.Name]*record.State, answer func(error))
	// Revoke ends a lease, and all keys on it.
	Revoke(id machine.ID, lease Lease, answer func(error))
	// Scheduled tells for which of these units the machine's schedule has a key.
	Scheduled(id machine.ID, units []unit.Name, answer func(map[unit.Name]bool, error))
	// Files gives the texts that etcd has, at once.
	Files(id machine.ID, hashes []unit.Hash) (map[unit.Hash][]byte, error)

	// Follow tells what registry.FollowMachine would: a snapshot of the cluster
	// key, the machine's schedule and its states, then what becomes of the
	// first two; whenever the watch was lost, from a snapshot again. It ends with
	// the call of stop.
	Follow(id machine.ID, tell func(registry.Update)) (stop func())
	// Guard tells the same of the machine's own presence key and of its
	// states' deletions; the snapshot has Machines and States.
	Guard(id machine.ID, tell func(registry.Update)) (stop func())
}
