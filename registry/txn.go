package registry

import (
	"context"
	"iter"

	clientv3 "go.etcd.io/etcd/client/v3"
)

const (
	// maxOps is how many operations one transaction holds: etcd's default
	// limit (--max-txn-ops).
	maxOps = 128
	// manyOps is how many one of the leader's holds, unless etcd refuses it: the
	// limit that fleetd etcd sets. Of 50,000 placements, four times as many in a
	// transaction are written 1.4 times as fast; still more gain nothing.
	manyOps = 512
	// maxBytes is how much one transaction carries, unless a single value is
	// larger: well within etcd's default limit on a request (1.5 MiB).
	maxBytes = 1 << 20
)

// txn runs one transaction within the request time-out and notes how etcd did.
func (r *Registry) txn(ctx context.Context, when []clientv3.Cmp, then []clientv3.Op, otherwise ...clientv3.Op) (*clientv3.TxnResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeoutFor(ctx))
	defer cancel()
	resp, err := r.etcd.Txn(ctx).If(when...).Then(then...).Else(otherwise...).Commit()
	return resp, r.noted(ctx, err)
}

// batches cuts a slice into pieces that fit into a transaction each. Elements
// stay whole: the operations of one happen together. A nested transaction is one
// operation; etcd counts what is in it along with those around it. most is how
// many it takes.
func batches[T any](s []T, most int, ops func(T) []clientv3.Op) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		first, sum := 0, extent{}
		for i, v := range s {
			own := extentOf(ops(v))
			if i > first && !sum.plus(own).fits(most) {
				if !yield(s[first:i:i]) {
					return
				}
				first, sum = i, extent{}
			}
			sum = sum.plus(own)
		}
		if first < len(s) {
			yield(s[first:])
		}
	}
}

// alone is for slices of single operations.
func alone(op clientv3.Op) []clientv3.Op { return []clientv3.Op{op} }

// extent is how large a transaction is: its own operations, the most of a nested
// one, and the bytes of all.
type extent struct{ ops, nested, bytes int }

func extentOf(ops []clientv3.Op) (e extent) {
	for _, op := range ops {
		e.ops++
		e.bytes += len(op.KeyBytes()) + len(op.ValueBytes())
		if op.IsTxn() {
			_, then, _ := op.Txn()
			in := extentOf(then)
			e.nested, e.bytes = max(e.nested, in.ops+in.nested), e.bytes+in.bytes
		}
	}
	return e
}

func (e extent) plus(o extent) extent {
	return extent{e.ops + o.ops, max(e.nested, o.nested), e.bytes + o.bytes}
}

func (e extent) fits(most int) bool { return e.ops+e.nested <= most && e.bytes <= maxBytes }
