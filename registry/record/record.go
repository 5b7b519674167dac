// Package record holds what the cluster stores, as typed values: one struct
// for each kind of key, and a Change for each kind of event. It is pure, so
// that the planner can think about the cluster without knowing etcd. How the
// values become keys, leases and transactions is registry's business alone.
package record

import (
	"maps"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
)

// ClusterID is the random name that the first engine gives the cluster. An
// agent that finds another one, or none, keeps everything running and says so.
type ClusterID string

// Cluster is the key that says which cluster this is.
type Cluster struct {
	ID     ClusterID `json:"id"`
	Schema string    `json:"schema"` // semver of the stored state
}

// Unit is what the user wants of one unit. Written by the API.
type Unit struct {
	File   unit.Hash   `json:"file"`   // key of the text in Files
	Target unit.Target `json:"target"` // inactive, loaded, launched, or destroyed: to be withdrawn everywhere, then forgotten
	// Restart counts the restarts asked for. An agent that speaks for a lower
	// count restarts the unit once and then speaks for this one. Taking a unit
	// down from launched counts, too: see Aim.
	Restart uint64 `json:"restart,omitempty"`
	// RestartOn has, in Restart's stead, the counts of machines that were to
	// restart the unit alone. All count in one row: each is higher than Restart,
	// and none is used again. So a machine that is told a lower count
	// again, for its own is forgotten, restarts nothing now and misses nothing
	// later. A Unit that is stored is never changed: its copies share the map.
	RestartOn map[machine.ID]uint64 `json:"restartOn,omitempty"`
}

// Equal reports whether two units are the same.
func (u Unit) Equal(v Unit) bool {
	return u.File == v.File && u.Target == v.Target && u.Restart == v.Restart && maps.Equal(u.RestartOn, v.RestartOn)
}

// RestartCount is the count of restarts that a machine is to speak for.
func (u Unit) RestartCount(on machine.ID) uint64 { return max(u.Restart, u.RestartOn[on]) }

// LastRestart is the count of the last restart, and where it was: everywhere if
// that is empty.
func (u Unit) LastRestart() (count uint64, on machine.ID) {
	count = u.Restart
	for id, n := range u.RestartOn {
		if n > count || n == count && on != "" && id < on { // a unit that was restored may have two
			count, on = n, id
		}
	}
	return count, on
}

// Restarted gives the unit with one more restart, on every machine.
func (u Unit) Restarted() Unit {
	last, _ := u.LastRestart()
	u.Restart, u.RestartOn = last+1, nil
	return u
}

// RestartedOn gives the unit with one more restart, on one machine. Of the others'
// own counts it keeps those that are in use: machines come and go.
func (u Unit) RestartedOn(on machine.ID, inUse func(machine.ID) bool) Unit {
	last, _ := u.LastRestart()
	counts := map[machine.ID]uint64{}
	for id, n := range u.RestartOn {
		if inUse(id) {
			counts[id] = n
		}
	}
	counts[on] = last + 1 // of all the highest: the row goes on from here
	u.RestartOn = counts
	return u
}

// Aim gives the unit with another target. Taking it down from launched counts as
// a restart: else what a machine says of the time before it was launched would
// read as if it had been stopped already, and a stop and a start that the machine
// hears of at once would go unnoticed.
func (u Unit) Aim(target unit.Target) Unit {
	if u.Target == unit.TargetLaunched && target != unit.TargetLaunched {
		u = u.Restarted()
	}
	u.Target = target
	return u
}

// Spec is what a machine is told to do with a unit, and what its answer
// speaks for.
type Spec struct {
	Target  unit.Target `json:"target"` // loaded, launched, or none: stop it and forget it
	File    unit.Hash   `json:"file,omitempty"`
	Restart uint64      `json:"restart,omitempty"`
}

// State is one machine's answer about one unit: what it has carried out, and
// what its systemd says. Written by that agent, on its lease. A State whose
// Target is none acknowledges a withdrawal: the unit has stopped and its file
// is gone.
type State struct {
	Spec
	unit.SystemdState
	// Error says why the agent could not carry the instruction out; empty when
	// it could (a unit that systemd started and that then failed is no error
	// here: that is systemd's account).
	Error string `json:"error,omitempty"`
	// Log is the end of the unit's log, while it is failed or refused: at most
	// ten lines of 2 KiB together, so that whoever hears of the failure needs no
	// way to the host to see them.
	Log string `json:"log,omitempty"`
}

// Overrides are the operator's words on a machine. They outlive its lease.
type Overrides struct {
	Metadata map[string]string `json:"metadata,omitempty"` // set, over the machine's own
	Removed  []string          `json:"removed,omitempty"`  // keys of the machine's own metadata to hide
	Cordoned bool              `json:"cordoned,omitempty"` // nothing new is placed here
}

// Apply gives the machine's metadata as the cluster sees it. It changes
// neither argument.
func (o Overrides) Apply(own map[string]string) map[string]string {
	out := make(map[string]string, len(own)+len(o.Metadata))
	for k, v := range own {
		out[k] = v
	}
	for _, k := range o.Removed {
		delete(out, k)
	}
	for k, v := range o.Metadata {
		out[k] = v
	}
	return out
}

// Key names a unit on a machine: a placement or a state.
type Key struct {
	Machine machine.ID
	Unit    unit.Name
}
