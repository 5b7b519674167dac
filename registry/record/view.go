package record

import (
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
)

// View is the cluster's whole state at one revision, in memory. It is not safe
// for concurrent use: its owner guards it.
type View struct {
	Revision  int64 // etcd's revision up to which the view is complete
	Cluster   *Cluster
	Files     map[unit.Hash][]byte
	Units     map[unit.Name]Unit
	Schedule  map[Key]Spec
	States    map[Key]State
	Machines  map[machine.ID]machine.Machine
	Overrides map[machine.ID]Overrides
}

// NewView gives an empty view.
func NewView() *View {
	return &View{
		Files:     map[unit.Hash][]byte{},
		Units:     map[unit.Name]Unit{},
		Schedule:  map[Key]Spec{},
		States:    map[Key]State{},
		Machines:  map[machine.ID]machine.Machine{},
		Overrides: map[machine.ID]Overrides{},
	}
}

// Apply makes one change true in the view.
func (v *View) Apply(c Change) {
	switch c := c.(type) {
	case ClusterChange:
		v.Cluster = c.New
	case FileChange:
		if c.Text == nil {
			delete(v.Files, c.Hash)
		} else {
			v.Files[c.Hash] = c.Text
		}
	case UnitChange:
		apply(v.Units, c.Name, c.New)
	case PlacementChange:
		apply(v.Schedule, c.Key, c.New)
	case StateChange:
		apply(v.States, c.Key, c.New)
	case MachineChange:
		apply(v.Machines, c.ID, c.New)
	case OverridesChange:
		apply(v.Overrides, c.ID, c.New)
	}
}

func apply[K comparable, V any](m map[K]V, key K, value *V) {
	if value == nil {
		delete(m, key)
		return
	}
	m[key] = *value
}

// Changes gives the view as the changes that make it from nothing: how a
// planner is told of a snapshot. Files come before the units that use them.
func (v *View) Changes() []Change {
	n := len(v.Files) + len(v.Units) + len(v.Schedule) + len(v.States) + len(v.Machines) + len(v.Overrides) + 1
	out := make([]Change, 0, n)
	if v.Cluster != nil {
		out = append(out, ClusterChange{New: v.Cluster})
	}
	for id, o := range v.Overrides {
		out = append(out, OverridesChange{ID: id, New: &o})
	}
	for id, m := range v.Machines {
		out = append(out, MachineChange{ID: id, New: &m})
	}
	for h, text := range v.Files {
		out = append(out, FileChange{Hash: h, Text: text})
	}
	for n, u := range v.Units {
		out = append(out, UnitChange{Name: n, New: &u})
	}
	for k, p := range v.Schedule {
		out = append(out, PlacementChange{Key: k, New: &p})
	}
	for k, s := range v.States {
		out = append(out, StateChange{Key: k, New: &s})
	}
	return out
}
