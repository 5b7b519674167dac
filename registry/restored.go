package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// An etcd that is restored from a backup tells of the past: which machine was to run
// what, who led, who was there. Whoever believed it would start what has moved
// elsewhere since. So all of that is taken out of a backup before anybody reads it,
// and the cluster's key with it: without, engines and agents change nothing, and
// agents say anew what they run. When all of them have, FinishRestore puts it back,
// and the engine leaves every unit where it runs.

// Restored is what is kept of the cluster's past meanwhile, in a key of its own.
type Restored struct {
	Cluster record.Cluster `json:"cluster"`
	// Machines are those that were there, or had anything to do, by host names.
	Machines map[machine.ID]string `json:"machines"`

	// at is etcd's revision of the restore, which tells it from any other.
	at int64
	// since are the units that were written since, by people: they stay as written.
	since map[unit.Name]bool
}

var (
	// ErrNotRestoring says that no restore is to be finished.
	ErrNotRestoring = errors.New("no restore of etcd is to be finished: its units are scheduled as ever")
	// ErrWrittenMeanwhile says that somebody has written units since they were read:
	// what is to become of them must be decided anew.
	ErrWrittenMeanwhile = errors.New("units were changed meanwhile")
)

// KeyRange is the keys from Key up to End, or Key alone if End is empty.
type KeyRange struct{ Key, End string }

// KeyValue is a key of a backup.
type KeyValue struct{ Key, Value string }

// HoldBack says what to do to a backup under a prefix before anybody reads it: which
// keys to remove, and which one to put. read gives what the backup has in a range.
func HoldBack(prefix string, read func(KeyRange) ([]KeyValue, error)) (remove []KeyRange, put KeyValue, err error) {
	k := keyspaceOf(prefix)
	below := func(prefix string) KeyRange { return KeyRange{prefix, clientv3.GetPrefixRangeEnd(prefix)} }
	held := Restored{Machines: map[machine.ID]string{}}
	kept, err := read(KeyRange{Key: k.restored()})
	if err != nil {
		return nil, put, err
	}
	cluster, err := read(KeyRange{Key: k.cluster()})
	if err != nil {
		return nil, put, err
	}
	switch {
	case len(cluster) > 0:
		err = json.Unmarshal([]byte(cluster[0].Value), &held.Cluster)
	case len(kept) > 0: // it was made while another restore was not finished
		err = json.Unmarshal([]byte(kept[0].Value), &held)
	default:
		return nil, put, fmt.Errorf("the backup holds no cluster of fleet's (there is no key %s): is etcd_key_prefix another?", k.cluster())
	}
	if err != nil {
		return nil, put, fmt.Errorf("key %s of the backup: %w", k.cluster(), err)
	}
	for _, room := range []string{k.schedule(), k.machines()} {
		kvs, err := read(below(room))
		if err != nil {
			return nil, put, err
		}
		for _, kv := range kvs {
			held.note(k, kv)
		}
	}
	for _, room := range []string{k.schedule(), k.states(), k.machines(), k.leader() + "/"} {
		remove = append(remove, below(room))
	}
	return append(remove, KeyRange{Key: k.cluster()}), KeyValue{k.restored(), encode(held)}, nil
}

// note remembers whose key it is.
func (h *Restored) note(k keyspace, kv KeyValue) {
	switch room, rest := k.split([]byte(kv.Key)); room {
	case "schedule":
		if key, err := unitOnMachine(rest); err == nil && h.Machines[key.Machine] == "" {
			h.Machines[key.Machine] = key.Machine.Short()
		}
	case "machines":
		var m machine.Machine
		if json.Unmarshal([]byte(kv.Value), &m) == nil {
			h.Machines[machine.ID(rest)] = fmt.Sprintf("%s (%s, %s)", m.Hostname, m.IP, machine.ID(rest).Short())
		}
	}
}

// Missing are the machines that haven't come back yet, by their names for people.
func (h *Restored) Missing(v *record.View) map[machine.ID]string {
	missing := maps.Clone(h.Machines)
	for id := range v.Machines {
		delete(missing, id)
	}
	return missing
}

// Restoring gives what is held back and what there is now; ErrNotRestoring if there
// is nothing to finish.
func (r *Registry) Restoring(ctx context.Context) (*Restored, *record.View, error) {
	resp, err := r.txn(ctx, nil, []clientv3.Op{clientv3.OpGet(r.keys.restored())})
	if err != nil {
		return nil, nil, err
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return nil, nil, ErrNotRestoring
	}
	held := &Restored{at: kvs[0].ModRevision, since: map[unit.Name]bool{}}
	if err := json.Unmarshal(kvs[0].Value, held); err != nil {
		return nil, nil, unreadableKey(r.keys.restored(), err)
	}
	view, err := r.snapshot(ctx, []keyRange{prefixed(string(r.keys))})
	if err != nil {
		return nil, nil, err
	}
	resp, err = r.txn(ctx, nil, []clientv3.Op{clientv3.OpGet(r.keys.units(), clientv3.WithPrefix(), clientv3.WithKeysOnly(), clientv3.WithMinModRev(held.at+1))})
	if err != nil {
		return nil, nil, err
	}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		_, name := r.keys.split(kv.Key)
		held.since[unit.Name(name)] = true
	}
	return held, view, nil
}

// Reality is how a restored cluster differs from what its machines run.
type Reality struct {
	// Run are units that a machine runs though the backup says less of them: what
	// they are from now on.
	Run map[unit.Name]record.Unit
	// Unknown are those that it has not got at all: they were handed in later.
	Unknown []unit.Name
	// Again are those that run nowhere now: the engine will start them.
	Again []unit.Name
}

// Reality compares a restored cluster with what its machines say. Nothing that
// runs is stopped because a backup is old; but what somebody wants since is no
// backup's word.
func (h *Restored) Reality(v *record.View) Reality {
	is := Reality{Run: map[unit.Name]record.Unit{}}
	runs := map[unit.Name]bool{}
	for key, s := range v.States {
		if s.Target != unit.TargetLaunched {
			continue
		}
		runs[key.Unit] = true
		u, known := v.Units[key.Unit]
		switch {
		case !known:
			is.Unknown = append(is.Unknown, key.Unit)
		case h.since[key.Unit]:
		case u.Target != unit.TargetLaunched:
			u.Target, u.Restart = unit.TargetLaunched, max(u.Restart, s.Restart, is.Run[key.Unit].Restart)
			is.Run[key.Unit] = u
		}
	}
	for name, u := range v.Units {
		if u.Target == unit.TargetLaunched && !runs[name] && !h.since[name] {
			is.Again = append(is.Again, name)
		}
	}
	slices.Sort(is.Unknown)
	is.Unknown = slices.Compact(is.Unknown)
	slices.Sort(is.Again)
	return is
}

// FinishRestore makes the cluster go on, with what its machines run. It changes no
// unit that somebody has written since the restore: ErrWrittenMeanwhile, if that was
// not known when it was decided. Then it isn't finished: ask Restoring anew. A restore
// that somebody else has finished is ErrNotRestoring.
func (r *Registry) FinishRestore(ctx context.Context, held *Restored, is Reality) error {
	unfinished := clientv3.Compare(clientv3.ModRevision(r.keys.restored()), "=", held.at)
	names := slices.Sorted(maps.Keys(is.Run))
	var written []unit.Name
	for batch := range batches(names, maxOps, func(name unit.Name) []clientv3.Op { return r.runOn(held, name, is.Run[name]) }) {
		var ops []clientv3.Op
		for _, name := range batch {
			ops = append(ops, r.runOn(held, name, is.Run[name])...)
		}
		resp, err := r.txn(ctx, []clientv3.Cmp{unfinished}, ops)
		switch {
		case err != nil:
			return unconfirmed(err)
		case !resp.Succeeded:
			return ErrNotRestoring
		}
		for i, name := range batch {
			if !resp.Responses[i].GetResponseTxn().Succeeded {
				written = append(written, name)
			}
		}
	}
	if len(written) > 0 {
		return fmt.Errorf("%w: %v", ErrWrittenMeanwhile, written)
	}
	resp, err := r.txn(ctx, []clientv3.Cmp{unfinished},
		[]clientv3.Op{clientv3.OpPut(r.keys.cluster(), encode(held.Cluster)), clientv3.OpDelete(r.keys.restored())})
	switch {
	case err != nil:
		return unconfirmed(err)
	case !resp.Succeeded:
		return ErrNotRestoring
	}
	return nil
}

// runOn has a unit run from now on, if it is as it was restored.
func (r *Registry) runOn(held *Restored, name unit.Name, u record.Unit) []clientv3.Op {
	key := r.keys.unit(name)
	return []clientv3.Op{clientv3.OpTxn([]clientv3.Cmp{
		clientv3.Compare(clientv3.CreateRevision(key), ">", 0),
		clientv3.Compare(clientv3.ModRevision(key), "<", held.at),
	}, []clientv3.Op{clientv3.OpPut(key, encode(u))}, nil)}
}
