// Package load makes clusters to measure with: templates of many instances on
// many machines, some with constraints. The same shape gives the same cluster
// every time, in every process.
package load

import (
	"fmt"
	"math/rand/v2"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// Keys is how many metadata keys the machines have, and Values how many values
// each. A machine's values are independent of each other, so hardly two of ten
// thousand machines have the same.
const (
	Keys   = 20
	Values = 4
)

// Shape is what a cluster is made of. Of its templates a tenth has a rule for
// the machine's metadata, a twentieth conflicts with itself, and a twentieth is
// in pairs that MachineOf ties, instance by instance.
type Shape struct {
	Templates, Instances int
	Globals              int
	Machines             int
	// Kind is what all templates are instead, if it is not Mixed.
	Kind Kind
}

// Units is how many units there are to place once.
func (s Shape) Units() int { return s.Templates * s.Instances }

// Decisions is how many placements the cluster comes to.
func (s Shape) Decisions() int { return s.Units() + s.Globals*s.Machines }

func (s Shape) String() string { return fmt.Sprintf("%d units on %d machines", s.Units(), s.Machines) }

// Kind is what a template's [X-Fleet] has.
type Kind int

// Mixed is for a Shape alone.
const (
	Mixed    Kind = iota
	Plain         // nothing
	Metadata      // MachineMetadata
	Apart         // Conflicts, with its own instances
	Leader        // another template's MachineOf names it
	Follower      // MachineOf
)

// kindOf gives a template's kind: each stands at its place in every forty.
func (s Shape) kindOf(template int) Kind {
	if s.Kind != Mixed {
		return s.Kind
	}
	switch template % 40 {
	case 3, 13, 23, 33:
		return Metadata
	case 7, 27:
		return Apart
	case 9:
		return Leader
	case 10:
		return Follower
	}
	return Plain
}

// Name is the name of an instance.
func Name(template, instance int) unit.Name {
	return unit.Name(fmt.Sprintf("app%04d@%04d.service", template, instance))
}

// Text is the unit file of a template.
func (s Shape) Text(template int) []byte {
	text := fmt.Sprintf("[Unit]\nDescription=Template %d\n[Service]\nExecStart=/bin/app %%i\n", template)
	switch s.kindOf(template) {
	case Metadata:
		text += fmt.Sprintf("[X-Fleet]\nMachineMetadata=key%02d=%d\n", template/10%Keys, template/(10*Keys)%Values)
	case Apart:
		text += "[X-Fleet]\nConflicts=%p@*.service\n"
	case Follower:
		text += fmt.Sprintf("[X-Fleet]\nMachineOf=app%04d@%%i.service\n", template-1)
	}
	return []byte(text)
}

// MachineID is the ID of a machine.
func MachineID(i int) machine.ID { return machine.ID(fmt.Sprintf("%08x%024x", i, i)) }

// Machine is one of the machines.
func (s Shape) Machine(i int) machine.Machine {
	rng := rand.New(rand.NewPCG(uint64(i), 1))
	meta := make(map[string]string, Keys)
	for k := range Keys {
		meta[fmt.Sprintf("key%02d", k)] = fmt.Sprint(rng.IntN(Values))
	}
	return machine.Machine{ID: MachineID(i), BootID: "boot", Hostname: fmt.Sprintf("host%05d", i), Metadata: meta}
}

// Snapshot gives the cluster as a leader learns it from a snapshot, with nothing
// placed yet.
func (s Shape) Snapshot() []record.Change {
	out := make([]record.Change, 0, 1+s.Machines+s.Templates+s.Units()+2*s.Globals)
	out = append(out, record.ClusterChange{New: &record.Cluster{ID: "bench", Schema: "1.0.0"}})
	for i := range s.Machines {
		m := s.Machine(i)
		out = append(out, record.MachineChange{ID: m.ID, New: &m})
	}
	for t := range s.Templates {
		text := s.Text(t)
		hash := unit.HashOf(text)
		out = append(out, record.FileChange{Hash: hash, Text: text})
		for i := range s.Instances {
			out = append(out, launch(Name(t, i), hash))
		}
	}
	for g := range s.Globals {
		out = append(out, Added(unit.Name(fmt.Sprintf("everywhere%02d.service", g)), "[X-Fleet]\nGlobal=true\n")...)
	}
	return out
}

// Instance gives one more instance of a template that is there.
func (s Shape) Instance(template, instance int) record.Change {
	return launch(Name(template, instance), unit.HashOf(s.Text(template)))
}

// Added gives a new unit with a text of its own.
func Added(name unit.Name, text string) []record.Change {
	hash := unit.HashOf([]byte(text))
	return []record.Change{record.FileChange{Hash: hash, Text: []byte(text)}, launch(name, hash)}
}

func launch(name unit.Name, file unit.Hash) record.Change {
	return record.UnitChange{Name: name, New: &record.Unit{File: file, Target: unit.TargetLaunched}}
}
