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
	// maxBytes is how much one transaction carries, unless a single value is
	// larger: well within etcd's default limit on a request (1.5 MiB).
	maxBytes = 1 << 20
)

// txn runs one transaction within the request time-out and notes how etcd did.
func (r *Registry) txn(ctx context.Context, when []clientv3.Cmp, then []clientv3.Op, otherwise ...clientv3.Op) (*clientv3.TxnResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, r.requestTimeout())
	defer cancel()
	resp, err := r.etcd.Txn(ctx).If(when...).Then(then...).Else(otherwise...).Commit()
	return resp, r.noted(ctx, err)
}

// batches cuts a slice into pieces that fit into a transaction each. Elements
// stay whole: the operations of one happen together.
func batches[T any](s []T, ops func(T) []clientv3.Op) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		first, count, size := 0, 0, 0
		for i, v := range s {
			n, bytes := 0, 0
			for _, op := range ops(v) {
				n++
				bytes += len(op.KeyBytes()) + len(op.ValueBytes())
			}
			if i > first && (count+n > maxOps || size+bytes > maxBytes) {
				if !yield(s[first:i:i]) {
					return
				}
				first, count, size = i, 0, 0
			}
			count += n
			size += bytes
		}
		if first < len(s) {
			yield(s[first:])
		}
	}
}

// alone is for slices of single operations.
func alone(op clientv3.Op) []clientv3.Op { return []clientv3.Op{op} }
