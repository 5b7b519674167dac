package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What a machine says must not be overtaken by what it said before. A write that
// was given up may still be on its way, in a member that is cut off or on a slow
// disk, and would put an old state in a newer one's place: an acknowledgement of a
// withdrawal, say, while the unit runs again. So every write compares the presence
// key's revision, and after one whose outcome nobody told, the key is put anew: what
// was written before then is void, whenever it comes.

// flush writes all that is dirty.
func (p *Presence) flush(ctx context.Context) error {
	p.r.clock.Lock(&p.writing)
	defer p.writing.Unlock()
	for {
		if err := p.anew(ctx); err != nil {
			return p.unwritten(nil, err)
		}
		refused, err := p.write(ctx)
		if err != nil || !refused {
			return err
		}
		p.unsure = true // the presence key is another's, or gone: see what there is
	}
}

// anew makes void what was written without a word on its outcome.
func (p *Presence) anew(ctx context.Context) error {
	for p.unsure {
		p.mu.Lock()
		if p.left {
			p.mu.Unlock()
			return nil
		}
		key, put := p.r.keys.machine(p.machine.ID), p.op("")
		p.mu.Unlock()
		resp, err := p.r.txn(ctx,
			[]clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", p.modified)}, []clientv3.Op{put}, clientv3.OpGet(key))
		switch {
		case err != nil:
			return err
		case resp.Succeeded:
			p.modified, p.unsure = resp.Header.Revision, false
		default: // it was such a write, or somebody's by hand
			p.modified = 0
			for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
				p.modified = kv.ModRevision
			}
		}
	}
	return nil
}

// write sends what is dirty. It is refused if the presence key isn't as this
// machine has last put it.
func (p *Presence) write(ctx context.Context) (refused bool, err error) {
	p.mu.Lock()
	if p.left {
		p.mu.Unlock()
		return false, nil
	}
	key := p.r.keys.machine(p.machine.ID)
	var dirty []namedOp
	for _, name := range slices.Sorted(maps.Keys(p.dirty)) {
		dirty = append(dirty, namedOp{name, p.op(name)})
	}
	clear(p.dirty)
	p.mu.Unlock()

	for batch := range batches(dirty, maxOps, func(n namedOp) []clientv3.Op { return alone(n.op) }) {
		ops := make([]clientv3.Op, len(batch))
		for i, n := range batch {
			ops[i] = n.op
		}
		resp, err := p.r.txn(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(key), "=", p.modified)}, ops)
		switch {
		case err != nil:
			p.unsure = true
			return false, p.unwritten(dirty, err)
		case !resp.Succeeded:
			return true, p.unwritten(dirty, nil)
		case batch[0].name == "":
			p.modified = resp.Header.Revision
		}
		for _, op := range ops { // guard isn't told what this machine itself puts
			p.r.readable(op.KeyBytes())
		}
		dirty = dirty[len(batch):]
	}
	return false, nil
}

// unwritten has names written again by the next flush.
func (p *Presence) unwritten(names []namedOp, err error) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, n := range names {
		p.dirty[n.name] = true
	}
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		p.seekLease()
	}
	if err == nil {
		return nil
	}
	return fmt.Errorf("publishing states: %w", err)
}

// namedOp is how one dirty name is written.
type namedOp struct {
	name unit.Name
	op   clientv3.Op
}

func (p *Presence) op(name unit.Name) clientv3.Op {
	onLease := clientv3.WithLease(p.lease)
	if name == "" {
		return clientv3.OpPut(p.r.keys.machine(p.machine.ID), encode(p.machine), onLease)
	}
	key := p.r.keys.state(record.Key{Machine: p.machine.ID, Unit: name})
	if s, ok := p.states[name]; ok {
		return clientv3.OpPut(key, encode(s), onLease)
	}
	return clientv3.OpDelete(key)
}
