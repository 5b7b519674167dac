package registry

import (
	"context"
	"iter"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// maxOps is how many operations one transaction holds: etcd's default limit
// (--max-txn-ops).
const maxOps = 128

// txn runs one transaction within the request time-out and notes how etcd did.
func (r *Registry) txn(ctx context.Context, when []clientv3.Cmp, then []clientv3.Op) (*clientv3.TxnResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	resp, err := r.etcd.Txn(ctx).If(when...).Then(then...).Commit()
	return resp, r.noted(ctx, err)
}

// batches cuts a slice into pieces of at most n.
func batches[T any](s []T, n int) iter.Seq[[]T] {
	return func(yield func([]T) bool) {
		for len(s) > 0 {
			k := min(n, len(s))
			if !yield(s[:k:k]) {
				return
			}
			s = s[k:]
		}
	}
}
