package record

import (
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
)

// Change is one thing that became different in the cluster. New is nil when
// the key is gone, Old is nil when it is new. Changes come in the order in
// which etcd made them.
type Change interface{ isChange() }

// ClusterChange is about the key that names the cluster.
type ClusterChange struct{ New, Old *Cluster }

// FileChange is about a unit file's text, by its hash. Text is nil when it is gone.
type FileChange struct {
	Hash unit.Hash
	Text []byte
}

// UnitChange is about what the user wants of a unit.
type UnitChange struct {
	Name     unit.Name
	New, Old *Unit
}

// PlacementChange is about what a machine is told to do with a unit.
type PlacementChange struct {
	Key
	New, Old *Spec
}

// StateChange is about what a machine says of a unit.
type StateChange struct {
	Key
	New, Old *State
}

// MachineChange is about a machine's presence.
type MachineChange struct {
	ID       machine.ID
	New, Old *machine.Machine
}

// OverridesChange is about the operator's words on a machine.
type OverridesChange struct {
	ID       machine.ID
	New, Old *Overrides
}

func (ClusterChange) isChange()   {}
func (FileChange) isChange()      {}
func (UnitChange) isChange()      {}
func (PlacementChange) isChange() {}
func (StateChange) isChange()     {}
func (MachineChange) isChange()   {}
func (OverridesChange) isChange() {}
