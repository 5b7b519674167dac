package registry

import (
	"sync/atomic"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// history notices that etcd's went back: it was restored from a backup, or lost its
// data and got other. Watches tell nothing of that. They would wait in silence until
// etcd is as far again, and never tell what happened until then.
type history struct {
	// reached is the latest revision that etcd has told of.
	reached atomic.Int64
}

// told takes note of a revision that etcd has told of.
func (h *history) told(rev int64) {
	for {
		was := h.reached.Load()
		if rev <= was || h.reached.CompareAndSwap(was, rev) {
			return
		}
	}
}

// answered takes note of the answer to a request that was made when reached was
// before, and reports whether etcd went back. An answer that is surely not older
// than the request can't be of an earlier revision.
func (h *history) answered(before int64, req, reply any) (back bool) {
	answer, ok := reply.(interface{ GetHeader() *pb.ResponseHeader })
	if !ok || !current(req) {
		return false
	}
	rev := answer.GetHeader().GetRevision()
	if rev <= 0 || rev >= before {
		h.told(rev)
		return false
	}
	return h.reached.CompareAndSwap(before, rev) // else another answer has told
}

// current reports whether the answer to a request is what most members know, not
// what the one that was asked does.
func current(req any) bool {
	switch req := req.(type) {
	case *pb.RangeRequest:
		return !req.Serializable
	case *pb.PutRequest, *pb.DeleteRangeRequest:
		return true
	case *pb.TxnRequest:
		for _, ops := range [][]*pb.RequestOp{req.Success, req.Failure} {
			for _, op := range ops {
				if read := op.GetRequestRange(); read == nil || !read.Serializable {
					return true
				}
			}
		}
	}
	return false
}

// wentBack has all that was read of etcd read anew.
func (r *Registry) wentBack() {
	r.log.Warn("etcd's history went back: it was restored from a backup; reading everything anew")
	r.doubt()
}
