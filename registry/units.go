package registry

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// SubmitUnit stores a unit's text and what is wanted of it, both or nothing. A
// unit that exists gets the new text and target; one that is being destroyed
// is created anew, which a machine that still runs it takes as a restart.
// Without a target it is to be inactive, unless it is there with this very text:
// then it stays as it is. It returns whether the unit is new and the revision at which all is true.
func (r *Registry) SubmitUnit(ctx context.Context, name unit.Name, text []byte, target unit.Target) (created bool, rev int64, err error) {
	hash := unit.HashOf(text)
	put := clientv3.OpPut(r.keys.file(hash), string(text))
	unchanged := false
	rev, err = r.updateUnit(ctx, name, func(old *record.Unit) (*record.Unit, []clientv3.Op, error) {
		unchanged = false
		created = old == nil || old.Target == unit.TargetDestroyed
		aim := target
		switch {
		case aim != "":
		case !created && old.File == hash: // perhaps since the caller looked
			aim = old.Target
		default:
			aim = unit.TargetInactive
		}
		next := record.Unit{File: hash, Target: aim}
		if old != nil {
			next = old.Aim(aim)
			next.File = hash
			if created {
				next = next.Restarted()
			}
			if old.Equal(next) {
				unchanged = true
				return nil, nil, nil
			}
		}
		// The text is put even if it is there: that guards it from the engine
		// collecting it as unused at this very moment.
		return &next, []clientv3.Op{put}, nil
	})
	if err == nil && unchanged {
		rev, err = r.keepText(ctx, hash, put)
	}
	return created, rev, err
}

// keepText puts a text if it isn't there any more, or isn't the one that its name
// says.
func (r *Registry) keepText(ctx context.Context, hash unit.Hash, put clientv3.Op) (rev int64, err error) {
	key := r.keys.file(hash)
	resp, err := r.txn(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(key), "=", 0)}, []clientv3.Op{put}, clientv3.OpGet(key))
	if err != nil {
		return 0, unconfirmed(err)
	}
	if !resp.Succeeded && sound(hash, resp.Responses[0].GetResponseRange().Kvs[0].Value) != nil {
		if resp, err = r.txn(ctx, nil, []clientv3.Op{put}); err != nil {
			return 0, unconfirmed(err)
		}
	}
	return resp.Header.Revision, nil
}

// SetTarget says what is wanted of a unit that exists. ErrNotFound if it does
// not.
func (r *Registry) SetTarget(ctx context.Context, name unit.Name, target unit.Target) (rev int64, err error) {
	return r.updateUnit(ctx, name, func(old *record.Unit) (*record.Unit, []clientv3.Op, error) {
		if err := known(old); err != nil {
			return nil, nil, err
		}
		if old.Target == target {
			return nil, nil, nil
		}
		next := old.Aim(target)
		return &next, nil, nil
	})
}

// RestartUnit counts one more restart: each machine that has launched the unit
// restarts it once.
func (r *Registry) RestartUnit(ctx context.Context, name unit.Name) (rev int64, err error) {
	return r.updateUnit(ctx, name, func(old *record.Unit) (*record.Unit, []clientv3.Op, error) {
		if err := known(old); err != nil {
			return nil, nil, err
		}
		next := old.Restarted()
		return &next, nil, nil
	})
}

// RestartUnitOn counts one more restart on one machine: that restarts the unit
// once if it has launched it, and no other does. What other machines were told to
// do alone is remembered of those that inUse reports.
func (r *Registry) RestartUnitOn(ctx context.Context, name unit.Name, on machine.ID, inUse func(machine.ID) bool) (rev int64, err error) {
	return r.updateUnit(ctx, name, func(old *record.Unit) (*record.Unit, []clientv3.Op, error) {
		if err := known(old); err != nil {
			return nil, nil, err
		}
		next := old.RestartedOn(on, inUse)
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

// errUnsound is what can't be done to a unit whose key holds what can't be read.
// It can be submitted anew, and destroyed.
var errUnsound = errors.New("it isn't known what the unit is")

// known refuses to change what isn't there, or can't be read.
func known(u *record.Unit) error {
	switch {
	case u == nil || u.Target == unit.TargetDestroyed:
		return ErrNotFound
	case u.Target == "":
		return errUnsound
	}
	return nil
}

func (r *Registry) updateUnit(ctx context.Context, name unit.Name, change func(old *record.Unit) (*record.Unit, []clientv3.Op, error)) (int64, error) {
	return update(ctx, r, r.keys.unit(name), change)
}

// update reads a key, asks change for its next value (nil: leave it), and
// writes that, with texts, only if nobody came between; else it starts over. It
// bets that the key is new, so that creating one costs a single round trip. Of a
// key that can't be read, change is given an empty value.
func update[T any](ctx context.Context, r *Registry, key string, change func(old *T) (next *T, with []clientv3.Op, err error)) (rev int64, err error) {
	var old *T
	var stored string  // old as etcd holds it
	var modified int64 // revision of old's last change; 0 when there is none
	var unsound error  // why old can't be read
	read := false
	for {
		next, with, err := change(old)
		sure := read || err == nil && next != nil // a refusal is believed only once the key was read
		switch {
		case sure && errors.Is(err, errUnsound):
			return 0, unsound
		case sure && err != nil:
			return 0, err
		case sure && (next == nil || len(with) == 0 && modified != 0 && encode(next) == stored):
			return rev, nil
		}
		if ctx.Err() != nil { // a contended key must not outlive its caller
			return 0, ctx.Err()
		}
		c := &conditional{key: key}
		if sure {
			c.when, c.put, c.texts = clientv3.Compare(clientv3.ModRevision(key), "=", modified), clientv3.OpPut(key, encode(next)), with
			err = r.writeTogether(ctx, c)
		} else {
			err = r.look(ctx, c)
		}
		if err != nil {
			return 0, unconfirmed(err)
		}
		if c.held {
			return c.rev, nil
		}
		read, old, stored, modified, rev = true, nil, "", 0, c.rev
		if len(c.found) > 0 {
			kv := c.found[0]
			old, stored, modified = new(T), string(kv.Value), kv.ModRevision
			err := json.Unmarshal(kv.Value, old)
			if err == nil {
				err = plausible(old)
			}
			if unsound = nil; err != nil {
				old, unsound = new(T), &UnreadableError{Key: key, Err: err, Remedy: "submit the unit anew, or destroy it"}
			}
		}
	}
}

// look finds out what a key holds, and writes nothing.
func (r *Registry) look(ctx context.Context, c *conditional) error {
	resp, err := r.txn(ctx, nil, []clientv3.Op{clientv3.OpGet(c.key)})
	if err == nil {
		c.rev, c.found = resp.Header.Revision, resp.Responses[0].GetResponseRange().Kvs
	}
	return err
}

func unconfirmed(err error) error {
	if refused := new(ClusterError); errors.As(err, &refused) {
		return err
	}
	return fmt.Errorf("etcd did not confirm the write (it may or may not have happened): %w", err)
}

// Files gives the texts of unit files by their hashes. A text that is not
// stored, or was changed by hand, is absent from the result.
func (r *Registry) Files(ctx context.Context, hashes []unit.Hash) (map[unit.Hash][]byte, error) {
	out := make(map[unit.Hash][]byte, len(hashes))
	for batch := range slices.Chunk(hashes, maxOps) {
		// What a text is, its hash says: any member's word for it will do, and that
		// is to be had without asking the others. That there is none, it may not
		// know better.
		if err := r.files(ctx, batch, out, true); err != nil {
			return nil, err
		}
		missing := slices.DeleteFunc(slices.Clone(batch), func(h unit.Hash) bool { return out[h] != nil })
		if len(missing) == 0 {
			continue
		}
		if err := r.files(ctx, missing, out, false); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// files adds the texts that etcd has to out, or with local, those that one of its
// members has.
func (r *Registry) files(ctx context.Context, hashes []unit.Hash, out map[unit.Hash][]byte, local bool) error {
	var opts []clientv3.OpOption
	if local {
		opts = append(opts, clientv3.WithSerializable())
	}
	ops := make([]clientv3.Op, len(hashes))
	for i, h := range hashes {
		ops[i] = clientv3.OpGet(r.keys.file(h), opts...)
	}
	resp, err := r.txn(ctx, nil, ops)
	if err != nil {
		return fmt.Errorf("reading unit files from etcd: %w", err)
	}
	for i, h := range hashes {
		kvs := resp.Responses[i].GetResponseRange().Kvs
		if len(kvs) == 0 {
			continue
		}
		if err := sound(h, kvs[0].Value); err == nil {
			out[h] = append([]byte{}, kvs[0].Value...) // never nil, though it may be empty
		} else if !local {
			r.unreadable(kvs[0], err)
		}
	}
	return nil
}
