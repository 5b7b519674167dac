package server

import (
	"cmp"
	"slices"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// byUnit finds a unit's placements or states without looking at all others'.
// Most units are on one machine: a slice costs less than a map there, to keep
// and to go through.
type byUnit[V any] map[unit.Name][]*onMachine[V] // sorted by machine

// onMachine is what concerns one machine of a unit. It is never changed.
type onMachine[V any] struct {
	machine machine.ID
	value   V
}

func (o *onMachine[V]) compare(id machine.ID) int { return cmp.Compare(o.machine, id) }

func (b byUnit[V]) set(k record.Key, v *V) {
	of := b[k.Unit]
	i, there := slices.BinarySearchFunc(of, k.Machine, (*onMachine[V]).compare)
	switch {
	case v != nil && there:
		of[i] = &onMachine[V]{k.Machine, *v}
	case v != nil:
		b[k.Unit] = slices.Insert(of, i, &onMachine[V]{k.Machine, *v})
	case there && len(of) == 1:
		delete(b, k.Unit)
	case there:
		b[k.Unit] = slices.Delete(of, i, i+1)
	}
}

// at gives what there is of a unit on one machine; nil if there is nothing.
func (b byUnit[V]) at(name unit.Name, id machine.ID) *V {
	of := b[name]
	if i, there := slices.BinarySearchFunc(of, id, (*onMachine[V]).compare); there {
		return &of[i].value
	}
	return nil
}
