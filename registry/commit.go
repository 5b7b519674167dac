package registry

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// inFlight is how many transactions of one stage are on their way at a time.
const inFlight = 4

// stage says when in a commit a write is made: all of a stage is there before
// the next begins. A leader may die in between, and its successor must not read
// that a unit is still to run somewhere which has been released, nor a machine
// that comes back be told to run what another runs.
type stage int

const (
	early  stage = iota // restored, or taken away
	placed              // told to a machine
	late                // gone for good
	stageCount
)

// Write is one thing a leader writes.
type Write struct {
	stage stage
	ops   []clientv3.Op
	// away are machines that must be away still, as they were at a revision.
	away []machine.ID
	at   int64
}

// maxAway is how many machines a transaction looks for one by one. It is kept well
// below what etcd takes; of more it is asked whether any machine at all has come.
const maxAway = 16

// conditions hold as long as the machines are away.
func (r *Registry) conditions(w Write) []clientv3.Cmp {
	if len(w.away) > maxAway {
		return []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(r.keys.machines()).WithPrefix(), "<", w.at+1)}
	}
	var all []clientv3.Cmp
	for _, id := range w.away {
		// Whoever lives puts what nobody can read right at once.
		key := r.keys.machine(id)
		all = append(all, clientv3.Compare(clientv3.ModRevision(key), "=", r.rubbish(key)))
	}
	return all
}

// guarded is a write that must not undo what somebody else wrote meanwhile: it is
// dropped when the guard fails. It is a transaction of its own, nested into the one
// that it goes with, so that one guard's failure is no other write's.
func guarded(at stage, guard clientv3.Cmp, op clientv3.Op) Write {
	return Write{stage: at, ops: []clientv3.Op{clientv3.OpTxn([]clientv3.Cmp{guard}, []clientv3.Op{op}, nil)}}
}

// PutPlacement tells a machine what to do with a unit.
func (l *Leadership) PutPlacement(key record.Key, spec record.Spec) Write {
	w := Write{stage: placed, ops: []clientv3.Op{clientv3.OpPut(l.r.keys.placement(key), encode(spec))}}
	if spec.Target == unit.TargetNone {
		w.stage = early
	}
	return w
}

// TakeFromAway tells a machine that is away, by a view of that revision, to take a
// unit away when it is back. Should it have come back unseen, nothing is written of
// what goes along in the commit, nor of what comes after: it may have read that it
// is to run the unit, which is about to be given to another.
func (l *Leadership) TakeFromAway(key record.Key, at int64) Write {
	w := l.PutPlacement(key, record.Spec{Target: unit.TargetNone})
	w.away, w.at = []machine.ID{key.Machine}, at
	return w
}

// Forget deletes an acknowledged withdrawal, with the acknowledgement.
func (l *Leadership) Forget(key record.Key) Write {
	return Write{ops: []clientv3.Op{
		clientv3.OpDelete(l.r.keys.placement(key)),
		clientv3.OpDelete(l.r.keys.state(key)),
	}}
}

// ReleaseUnit deletes a destroyed unit, unless it was created anew.
func (l *Leadership) ReleaseUnit(name unit.Name, tombstone record.Unit) Write {
	key := l.r.keys.unit(name)
	return guarded(late, clientv3.Compare(clientv3.Value(key), "=", encode(tombstone)), clientv3.OpDelete(key))
}

// RestoreUnit writes a unit that vanished by hand, or was overwritten with what
// nobody can read, unless it is back.
func (l *Leadership) RestoreUnit(name unit.Name, u record.Unit) Write {
	key := l.r.keys.unit(name)
	return guarded(early, clientv3.Compare(clientv3.ModRevision(key), "=", l.r.rubbish(key)), clientv3.OpPut(key, encode(u)))
}

// CollectFile deletes a text that nothing used at the given revision, unless
// it was submitted again since.
func (l *Leadership) CollectFile(h unit.Hash, at int64) Write {
	key := l.r.keys.file(h)
	return guarded(late, clientv3.Compare(clientv3.ModRevision(key), "<", at+1), clientv3.OpDelete(key))
}

// RestoreFile writes a text that vanished by hand.
func (l *Leadership) RestoreFile(h unit.Hash, text []byte) Write {
	return Write{ops: []clientv3.Op{clientv3.OpPut(l.r.keys.file(h), string(text))}}
}

// Commit writes, in as few transactions as etcd's limits allow, each fenced,
// stage by stage. The transactions of a stage are on their way at the same
// time: no key may be written twice in one commit. ErrDeposed says that another
// engine leads by now: what remains was not written; ErrCameBack, that a machine is
// back that was taken for away. After that and any other error the
// caller knows nothing for sure: it makes that void (Anew) and starts over from a
// snapshot.
func (l *Leadership) Commit(ctx context.Context, writes []Write) error {
	if l.r.fewOps.Load() {
		return l.commit(ctx, writes, min(maxOps, l.r.most))
	}
	err := l.commit(ctx, writes, l.r.most)
	if errors.Is(err, rpctypes.ErrTooManyOps) {
		// An etcd that isn't ours, or a member that was started by an older fleet.
		// What of this was written is written again, and comes to the same.
		l.r.fewOps.Store(true)
		l.r.log.Infof("etcd takes few operations in a transaction: sending it %d at a time (fleetd etcd takes %d; an etcd of your own, with --max-txn-ops=%d)", maxOps, manyOps, manyOps)
		err = l.commit(ctx, writes, min(maxOps, l.r.most))
	}
	return err
}

// commit is Commit with that many operations in a transaction.
func (l *Leadership) commit(ctx context.Context, writes []Write, most int) error {
	for _, txns := range stages(writes, most) {
		if err := l.pipeline(ctx, txns); err != nil {
			return err
		}
	}
	return nil
}

// stages cuts a commit into transactions. What is taken away and what is placed
// goes together where all of it fits into one.
func stages(writes []Write, most int) (txns [stageCount][]Write) {
	if whole := packed(writes, most); len(whole) == 1 {
		txns[placed] = whole
		return txns
	}
	var of [stageCount][]Write
	for _, w := range writes {
		of[w.stage] = append(of[w.stage], w)
	}
	for s, ws := range of {
		txns[s] = packed(ws, most)
	}
	return txns
}

// packed makes one write of as many as fit into a transaction.
func packed(writes []Write, most int) (out []Write) {
	for batch := range batches(writes, most, func(w Write) []clientv3.Op { return w.ops }) {
		var one Write
		for _, w := range batch {
			one.ops = append(one.ops, w.ops...)
			for _, id := range w.away {
				if !slices.Contains(one.away, id) {
					one.away, one.at = append(one.away, id), w.at
				}
			}
		}
		out = append(out, one)
	}
	return out
}

// pipeline has several transactions on their way at a time.
func (l *Leadership) pipeline(ctx context.Context, txns []Write) error {
	if len(txns) == 1 || l.r.shuffle != nil {
		return l.inTurn(ctx, txns)
	}
	// The first error ends it: one alone may have cost a whole time-out.
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var wg sync.WaitGroup
	slots := make(chan struct{}, inFlight)
	for _, w := range txns {
		slots <- struct{}{}
		if ctx.Err() != nil {
			break
		}
		wg.Go(func() {
			defer func() { <-slots }()
			if err := l.write(ctx, w); err != nil {
				cancel(err)
			}
		})
	}
	wg.Wait()
	return context.Cause(ctx)
}

// inTurn sends transactions one after the other.
func (l *Leadership) inTurn(ctx context.Context, txns []Write) error {
	if l.r.shuffle != nil {
		l.r.shuffle(len(txns), func(i, j int) { txns[i], txns[j] = txns[j], txns[i] })
	}
	for _, w := range txns {
		if err := l.write(ctx, w); err != nil {
			return err
		}
	}
	return nil
}

func (l *Leadership) write(ctx context.Context, w Write) error {
	resp, err := l.r.txn(ctx, append(l.fence(), l.r.conditions(w)...), w.ops, clientv3.OpGet(l.term.key))
	if err != nil {
		return fmt.Errorf("etcd did not confirm the leader's write: %w", err)
	}
	if !resp.Succeeded {
		return l.refused(resp)
	}
	return nil
}

// refused says why a fenced write wasn't made, by the leader's key as it was then.
func (l *Leadership) refused(resp *clientv3.TxnResponse) error {
	kvs := resp.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 1 && kvs[0].CreateRevision == l.term.rev && kvs[0].Version == l.version {
		return ErrCameBack
	}
	return ErrDeposed
}
