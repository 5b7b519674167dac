package registry

import (
	"context"
	"encoding/json"
	"fmt"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// SubmitUnit stores a unit's text and what is wanted of it, both or nothing. A
// unit that exists gets the new text and target; one that is being destroyed
// is created anew, which a machine that still runs it takes as a restart.
// It returns whether the unit is new and the revision at which all is true.
func (r *Registry) SubmitUnit(ctx context.Context, name unit.Name, text []byte, target unit.Target) (created bool, rev int64, err error) {
	hash := unit.HashOf(text)
	rev, err = r.updateUnit(ctx, name, func(old *record.Unit) (*record.Unit, []clientv3.Op, error) {
		created = old == nil || old.Target == unit.TargetDestroyed
		next := record.Unit{File: hash, Target: target}
		if old != nil {
			next.Restart = old.Restart
			if created {
				next.Restart++
			}
			if *old == next {
				return nil, nil, nil
			}
		}
		// The text is put even if it is there: that guards it from the engine
		// collecting it as unused at this very moment.
		return &next, []clientv3.Op{clientv3.OpPut(r.keys.file(hash), string(text))}, nil
	})
	return created, rev, err
}

// SetTarget says what is wanted of a unit that exists. ErrNotFound if it does
// not.
func (r *Registry) SetTarget(ctx context.Context, name unit.Name, target unit.Target) (rev int64, err error) {
	return r.updateUnit(ctx, name, func(old *record.Unit) (*record.Unit, []clientv3.Op, error) {
		if old == nil || old.Target == unit.TargetDestroyed {
			return nil, nil, ErrNotFound
		}
		if old.Target == target {
			return nil, nil, nil
		}
		next := *old
		next.Target = target
		return &next, nil, nil
	})
}

// RestartUnit counts one more restart: each machine that has launched the unit
// restarts it once.
func (r *Registry) RestartUnit(ctx context.Context, name unit.Name) (rev int64, err error) {
	return r.updateUnit(ctx, name, func(old *record.Unit) (*record.Unit, []clientv3.Op, error) {
		if old == nil || old.Target == unit.TargetDestroyed {
			return nil, nil, ErrNotFound
		}
		next := *old
		next.Restart++
		return &next, nil, nil
	})
}

// DestroyUnit writes the tombstone. The engine withdraws the unit everywhere
// and then deletes it: a unit is never taken away by a key that is missing.
func (r *Registry) DestroyUnit(ctx context.Context, name unit.Name) (rev int64, err error) {
	return r.updateUnit(ctx, name, func(old *record.Unit) (*record.Unit, []clientv3.Op, error) {
		if old == nil || old.Target == unit.TargetDestroyed {
			return nil, nil, ErrNotFound
		}
		next := *old
		next.Target = unit.TargetDestroyed
		return &next, nil, nil
	})
}

// UpdateOverrides changes the operator's words on a machine.
func (r *Registry) UpdateOverrides(ctx context.Context, id machine.ID, change func(*record.Overrides) error) (rev int64, err error) {
	return update(ctx, r, r.keys.overrides(id), func(old *record.Overrides) (*record.Overrides, []clientv3.Op, error) {
		next := record.Overrides{}
		if old != nil {
			next = *old
		}
		if err := change(&next); err != nil {
			return nil, nil, err
		}
		return &next, nil, nil
	})
}

func (r *Registry) updateUnit(ctx context.Context, name unit.Name, change func(old *record.Unit) (*record.Unit, []clientv3.Op, error)) (int64, error) {
	return update(ctx, r, r.keys.unit(name), change)
}

// update reads a key, asks change for its next value (nil: leave it), and
// writes that, with further operations, only if nobody came between; else it
// starts over. It bets that the key is new, so that creating one costs a single
// round trip.
func update[T any](ctx context.Context, r *Registry, key string, change func(old *T) (next *T, with []clientv3.Op, err error)) (rev int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	var old *T
	var modified int64 // revision of old's last change; 0 when there is none
	read := false
	for {
		next, with, err := change(old)
		if err == nil && next == nil && read {
			return rev, nil
		}
		if err != nil && read {
			return 0, err
		}
		txn := r.etcd.Txn(ctx)
		if err == nil && next != nil {
			txn = txn.If(clientv3.Compare(clientv3.ModRevision(key), "=", modified)).
				Then(append(with, clientv3.OpPut(key, encode(next)))...)
		} else { // the bet was refused: look before believing it
			txn = txn.If(clientv3.Compare(clientv3.ModRevision(key), "=", -1))
		}
		resp, err := txn.Else(clientv3.OpGet(key)).Commit()
		if r.noted(ctx, err) != nil {
			return 0, fmt.Errorf("etcd did not confirm the write (it may or may not have happened): %w", err)
		}
		if resp.Succeeded {
			return resp.Header.Revision, nil
		}
		read, old, modified, rev = true, nil, 0, resp.Header.Revision
		if kvs := resp.Responses[0].GetResponseRange().Kvs; len(kvs) > 0 {
			old, modified = new(T), kvs[0].ModRevision
			if err := json.Unmarshal(kvs[0].Value, old); err != nil {
				return 0, fmt.Errorf("etcd key %s holds what fleet cannot read (%w): put a sound value there or delete it", key, err)
			}
		}
	}
}

// Files gives the texts of unit files by their hashes. A text that is not
// stored is absent from the result.
func (r *Registry) Files(ctx context.Context, hashes []unit.Hash) (map[unit.Hash][]byte, error) {
	out := make(map[unit.Hash][]byte, len(hashes))
	for batch := range batches(hashes, maxOps) {
		ops := make([]clientv3.Op, len(batch))
		for i, h := range batch {
			ops[i] = clientv3.OpGet(r.keys.file(h))
		}
		resp, err := r.txn(ctx, nil, ops)
		if err != nil {
			return nil, fmt.Errorf("reading unit files from etcd: %w", err)
		}
		for i, h := range batch {
			if kvs := resp.Responses[i].GetResponseRange().Kvs; len(kvs) > 0 {
				out[h] = kvs[0].Value
			}
		}
	}
	return out, nil
}
