package registry

import (
	"context"
	"errors"
	"slices"
	"sync"

	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Users' writes come one by one, from as many requests as there are at a time.
// Those that come while others are on their way gather, and then go together in
// one transaction. Each is still compared and written by itself, nested in it,
// but to etcd all of them are one request, one proposal and one fsync: the more
// there is to write, the less each costs. One alone goes at once.

// writesInFlight is how many transactions of such writes are on their way at a
// time. With more, fewer would gather: that is quicker for nobody when etcd is busy,
// and when it isn't, one is.
const writesInFlight = 1

// conditional is a write of one key that takes place only if its condition holds.
type conditional struct {
	key  string
	when clientv3.Cmp
	put  clientv3.Op
	// texts are put along with it. What a text's key holds is the same whoever puts
	// it, so it does no harm though the condition fails: the engine collects it.
	texts []clientv3.Op

	// How it went, once done is closed.
	done  chan struct{}
	held  bool // the condition, so that it was written
	rev   int64
	found []*mvccpb.KeyValue // what the key holds instead; none if it is absent
	err   error
}

// together gathers conditional writes.
type together struct {
	mu       sync.Mutex
	waiting  []*conditional
	inFlight int
	writing  sync.WaitGroup
}

// writeTogether makes a write, along with others' if there are any. If ctx ends
// first, one that is on its way may happen or not; one that still waits does not:
// etcd may be away for long, and by then its user has changed his mind.
func (r *Registry) writeTogether(ctx context.Context, c *conditional) error {
	if r.shuffle != nil { // driven step by step: nothing is on its way meanwhile
		r.writeOne(c)
		return c.err
	}
	c.done = make(chan struct{})
	t := &r.together
	t.mu.Lock()
	t.waiting = append(t.waiting, c)
	if t.inFlight < writesInFlight {
		t.inFlight++
		t.writing.Go(r.writeWaiting)
	}
	t.mu.Unlock()
	select {
	case <-ctx.Done():
		t.giveUp(c)
		return r.noted(ctx, ctx.Err())
	case <-c.done:
		return c.err
	}
}

// giveUp takes a write back, unless it is on its way.
func (t *together) giveUp(c *conditional) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.waiting = slices.DeleteFunc(t.waiting, func(x *conditional) bool { return x == c })
}

// writeWaiting writes until nothing waits.
func (r *Registry) writeWaiting() {
	for batch := r.together.take(); len(batch) > 0; batch = r.together.take() {
		if len(batch) == 1 || !r.writeBatch(batch) {
			for _, c := range batch {
				r.writeOne(c)
			}
		}
		for _, c := range batch {
			close(c.done)
		}
	}
}

// take takes what fits into one transaction. Of two writes of a key, the second
// waits: it is to see the first. None means that the caller's turn is over.
func (t *together) take() (batch []*conditional) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var rest []*conditional
	known := map[string]bool{} // keys that the transaction puts
	count, size := 0, 0
	for i, c := range t.waiting {
		if known[c.key] {
			rest = append(rest, c)
			continue
		}
		n, bytes := 1, len(c.key)+len(c.put.ValueBytes())
		for _, text := range c.texts {
			if !known[string(text.KeyBytes())] {
				n++
				bytes += len(text.KeyBytes()) + len(text.ValueBytes())
			}
		}
		// Etcd counts what is nested from where it counted the whole: one is left for it.
		if len(batch) > 0 && (count+n > maxOps-1 || size+bytes > maxBytes) {
			rest = append(rest, t.waiting[i:]...)
			break
		}
		batch = append(batch, c)
		count, size, known[c.key] = count+n, size+bytes, true
		for _, text := range c.texts {
			known[string(text.KeyBytes())] = true
		}
	}
	t.waiting = rest
	if len(batch) == 0 {
		t.inFlight--
	}
	return batch
}

func (r *Registry) writeOne(c *conditional) {
	resp, err := r.writeGuarded([]clientv3.Op{c.op(append(slices.Clone(c.texts), c.put))})
	c.took(resp, 0, err)
}

// writeBatch reports whether etcd took them together, or may have. One with narrower
// limits than ours refuses what it would take one by one.
func (r *Registry) writeBatch(batch []*conditional) bool {
	var ops, texts []clientv3.Op
	known := map[string]bool{}
	for _, c := range batch {
		ops = append(ops, c.op([]clientv3.Op{c.put}))
		for _, text := range c.texts {
			if key := string(text.KeyBytes()); !known[key] {
				known[key] = true
				texts = append(texts, text)
			}
		}
	}
	resp, err := r.writeGuarded(append(ops, texts...))
	if errors.Is(err, rpctypes.ErrRequestTooLarge) || errors.Is(err, rpctypes.ErrTooManyOps) {
		return false
	}
	for i, c := range batch {
		c.took(resp, i, err)
	}
	return true
}

// writeGuarded makes writes, none of them on one caller's context: they may be
// everybody's. It makes none if this code is older than the cluster, which may have
// become so at any moment.
func (r *Registry) writeGuarded(ops []clientv3.Op) (*clientv3.TxnResponse, error) {
	for {
		writer, err := r.writer.unchanged(r.etcd.Ctx(), r)
		if err != nil {
			return nil, err
		}
		resp, err := r.txn(r.etcd.Ctx(), []clientv3.Cmp{writer}, ops)
		if err != nil || resp.Succeeded {
			return resp, err
		}
		r.writer.changed()
	}
}

// op is the write, nested in a transaction of several.
func (c *conditional) op(puts []clientv3.Op) clientv3.Op {
	return clientv3.OpTxn([]clientv3.Cmp{c.when}, puts, []clientv3.Op{clientv3.OpGet(c.key)})
}

// took takes note of how the write went, as one of a transaction.
func (c *conditional) took(resp *clientv3.TxnResponse, at int, err error) {
	if c.err = err; err != nil {
		return
	}
	own := resp.Responses[at].GetResponseTxn()
	c.held, c.rev = own.Succeeded, resp.Header.Revision
	if !c.held {
		c.found = own.Responses[0].GetResponseRange().Kvs
	}
}
