package registry

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	jsonv1 "github.com/go-json-experiment/json/v1"
	"go.etcd.io/etcd/api/v3/mvccpb"
)

// keyspace is the prefix of all keys, with its trailing slash. Its methods are
// the map of what is stored; docs/architecture.md explains it.
type keyspace string

func (k keyspace) cluster() string                 { return string(k) + "cluster" }
func (k keyspace) restored() string                { return string(k) + "restored" }
func (k keyspace) leader() string                  { return string(k) + "leader" }
func (k keyspace) file(h unit.Hash) string         { return string(k) + "files/" + string(h) }
func (k keyspace) units() string                   { return string(k) + "units/" }
func (k keyspace) unit(n unit.Name) string         { return k.units() + string(n) }
func (k keyspace) machines() string                { return string(k) + "machines/" }
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

func keyspaceOf(prefix string) keyspace { return keyspace(strings.TrimSuffix(prefix, "/") + "/") }

// split gives a key's room and what follows; no room when it isn't fleet's.
func (k keyspace) split(key []byte) (room, rest string) {
	below, _ := strings.CutPrefix(string(key), string(k))
	if len(below) == len(key) {
		return "", ""
	}
	room, rest, _ = strings.Cut(below, "/")
	return room, rest
}

// owner names the machine that writes a key on its lease, if any does, and says
// whether the key is the machine's presence.
func (k keyspace) owner(key []byte) (id machine.ID, presence bool) {
	switch room, rest := k.split(key); room {
	case "machines":
		return machine.ID(rest), true
	case "states":
		id, _, _ := strings.Cut(rest, "/")
		return machine.ID(id), false
	}
	return "", false
}

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
// when the key is none that views hold (the election's, or one that held what
// could not be read).
func (k keyspace) change(kv *mvccpb.KeyValue, gone bool, view *record.View) (record.Change, error) {
	room, rest := k.split(kv.Key)
	switch room {
	case "cluster":
		if string(kv.Key) != k.cluster() {
			return nil, nil
		}
		n, err := decode[record.Cluster](kv, gone)
		if err == nil && n != nil {
			err = plausible(n)
		}
		if err != nil || n == nil && view.Cluster == nil {
			return nil, err
		}
		return record.ClusterChange{New: n, Old: view.Cluster}, nil
	case "files":
		return fileChange(unit.Hash(rest), kv, gone, view.Files)
	case "units":
		name, err := unit.ParseName(rest)
		return keyed(kv, gone, name, err, view.Units, func(n, old *record.Unit) record.Change {
			return record.UnitChange{Name: name, New: n, Old: old}
		})
	case "schedule":
		key, err := unitOnMachine(rest)
		return keyed(kv, gone, key, err, view.Schedule, func(n, old *record.Spec) record.Change {
			return record.PlacementChange{Key: key, New: n, Old: old}
		})
	case "states":
		key, err := unitOnMachine(rest)
		return keyed(kv, gone, key, err, view.States, func(n, old *record.State) record.Change {
			return record.StateChange{Key: key, New: n, Old: old}
		})
	case "machines":
		id, err := machineID(rest)
		c, err := keyed(kv, gone, id, err, view.Machines, func(n, old *machine.Machine) record.Change {
			return record.MachineChange{ID: id, New: n, Old: old}
		})
		if m, ok := c.(record.MachineChange); ok && m.New != nil && m.New.ID != id {
			return nil, fmt.Errorf("it is of the machine %q", m.New.ID)
		}
		return c, err
	case "metadata":
		id, err := machineID(rest)
		return keyed(kv, gone, id, err, view.Overrides, func(n, old *record.Overrides) record.Change {
			return record.OverridesChange{ID: id, New: n, Old: old}
		})
	}
	return nil, nil
}

// unseen is the deletion of a state that a view doesn't hold because it was not
// told when it was put; nil if it is none.
func (k keyspace) unseen(kv *mvccpb.KeyValue, ranges []keyRange) record.Change {
	for _, of := range ranges {
		if room, rest := k.split(kv.Key); of.of == ofDeletions && room == "states" && of.has(string(kv.Key)) {
			if key, err := unitOnMachine(rest); err == nil {
				return record.StateChange{Key: key}
			}
		}
	}
	return nil
}

// keyed makes the change of one of a view's maps; keyErr says why the key names
// nothing.
func keyed[K comparable, V any](kv *mvccpb.KeyValue, gone bool, key K, keyErr error, held map[K]V, change func(n, old *V) record.Change) (record.Change, error) {
	if keyErr != nil {
		if gone {
			return nil, nil
		}
		return nil, keyErr
	}
	n, err := decode[V](kv, gone)
	if err == nil && n != nil {
		err = plausible(n)
	}
	if err != nil {
		return nil, err
	}
	if v, ok := held[key]; ok {
		return change(n, &v), nil
	}
	if n == nil {
		return nil, nil
	}
	return change(n, nil), nil
}

// decode reads a record as encoding/json does, duplicate keys, keys in another case
// and all: by its successor, which takes less than half of the time for that.
func decode[T any](kv *mvccpb.KeyValue, gone bool) (*T, error) {
	if gone {
		return nil, nil
	}
	v := new(T)
	if err := jsonv1.Unmarshal(kv.Value, v); err != nil {
		return nil, err
	}
	return v, nil
}

func fileChange(h unit.Hash, kv *mvccpb.KeyValue, gone bool, held map[unit.Hash][]byte) (record.Change, error) {
	if gone {
		if held[h] == nil {
			return nil, nil
		}
		return record.FileChange{Hash: h}, nil
	}
	if err := sound(h, kv.Value); err != nil {
		return nil, err
	}
	// Never nil, also for an empty file: nil means gone.
	return record.FileChange{Hash: h, Text: append([]byte{}, kv.Value...)}, nil
}

// sound refuses a text that was changed by hand: agents tell texts by their
// hashes.
func sound(h unit.Hash, text []byte) error {
	if unit.HashOf(text) != h {
		return errors.New("a text whose hash is not its name: submit changed units through fleetctl")
	}
	return nil
}

func unitOnMachine(rest string) (record.Key, error) {
	id, name, _ := strings.Cut(rest, "/")
	n, err := unit.ParseName(name)
	if err != nil {
		return record.Key{}, err
	}
	m, err := machineID(id)
	return record.Key{Machine: m, Unit: n}, err
}

func machineID(s string) (machine.ID, error) {
	if s == "" || strings.Contains(s, "/") {
		return "", fmt.Errorf("%q is no machine's id", s)
	}
	return machine.ID(s), nil
}
