package registry

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// keyspace is the prefix of all keys, with its trailing slash. Its methods are
// the map of what is stored; docs/architecture.md explains it.
type keyspace string

func (k keyspace) cluster() string                 { return string(k) + "cluster" }
func (k keyspace) leader() string                  { return string(k) + "leader" }
func (k keyspace) file(h unit.Hash) string         { return string(k) + "files/" + string(h) }
func (k keyspace) unit(n unit.Name) string         { return string(k) + "units/" + string(n) }
func (k keyspace) machine(id machine.ID) string    { return string(k) + "machines/" + string(id) }
func (k keyspace) overrides(id machine.ID) string  { return string(k) + "metadata/" + string(id) }
func (k keyspace) schedule() string                { return string(k) + "schedule/" }
func (k keyspace) states() string                  { return string(k) + "states/" }
func (k keyspace) scheduleOf(id machine.ID) string { return k.schedule() + string(id) + "/" }
func (k keyspace) statesOf(id machine.ID) string   { return k.states() + string(id) + "/" }
func (k keyspace) placement(key record.Key) string {
	return k.scheduleOf(key.Machine) + string(key.Unit)
}
func (k keyspace) state(key record.Key) string { return k.statesOf(key.Machine) + string(key.Unit) }

// encode gives a record's stored form. The records hold nothing that JSON
// cannot express, and encoding/json sorts maps: equal values give equal bytes,
// which compares rely on.
func encode(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(fmt.Sprintf("registry: a record that JSON cannot express: %v", err))
	}
	return string(b)
}

// change turns one key's event into the typed change against the view, or nil
// when the key is none that views hold (the election's) or nothing differs.
func (k keyspace) change(kv *mvccpb.KeyValue, gone bool, view *record.View) (record.Change, error) {
	room, rest, _ := strings.Cut(strings.TrimPrefix(string(kv.Key), string(k)), "/")
	var c record.Change
	var err error
	switch room {
	case "cluster":
		var n *record.Cluster
		n, err = decode[record.Cluster](kv, gone)
		c = record.ClusterChange{New: n, Old: view.Cluster}
	case "files":
		c = fileChange(unit.Hash(rest), kv, gone)
	case "units":
		var n *record.Unit
		n, err = decode[record.Unit](kv, gone)
		c = record.UnitChange{Name: unit.Name(rest), New: n, Old: held(view.Units, unit.Name(rest))}
	case "schedule":
		var n *record.Spec
		n, err = decode[record.Spec](kv, gone)
		key := unitOnMachine(rest)
		c = record.PlacementChange{Key: key, New: n, Old: held(view.Schedule, key)}
	case "states":
		var n *record.State
		n, err = decode[record.State](kv, gone)
		key := unitOnMachine(rest)
		c = record.StateChange{Key: key, New: n, Old: held(view.States, key)}
	case "machines":
		var n *machine.Machine
		n, err = decode[machine.Machine](kv, gone)
		id := machine.ID(rest)
		c = record.MachineChange{ID: id, New: n, Old: held(view.Machines, id)}
	case "metadata":
		var n *record.Overrides
		n, err = decode[record.Overrides](kv, gone)
		id := machine.ID(rest)
		c = record.OverridesChange{ID: id, New: n, Old: held(view.Overrides, id)}
	default:
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("etcd key %s holds what fleet cannot read (%w): ignored; put a sound value there or delete it", kv.Key, err)
	}
	return c, nil
}

func decode[T any](kv *mvccpb.KeyValue, gone bool) (*T, error) {
	if gone {
		return nil, nil
	}
	v := new(T)
	if err := json.Unmarshal(kv.Value, v); err != nil {
		return nil, err
	}
	return v, nil
}

func held[K comparable, V any](m map[K]V, key K) *V {
	if v, ok := m[key]; ok {
		return &v
	}
	return nil
}

func fileChange(h unit.Hash, kv *mvccpb.KeyValue, gone bool) record.FileChange {
	if gone {
		return record.FileChange{Hash: h}
	}
	// Never nil, also for an empty file: nil means gone.
	return record.FileChange{Hash: h, Text: append([]byte{}, kv.Value...)}
}

func unitOnMachine(rest string) record.Key {
	id, name, _ := strings.Cut(rest, "/")
	return record.Key{Machine: machine.ID(id), Unit: unit.Name(name)}
}
