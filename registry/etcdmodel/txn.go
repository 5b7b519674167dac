package etcdmodel

import (
	"bytes"
	"cmp"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// txn runs a transaction, whole or not at all.
func (s *Store) txn(r *pb.TxnRequest) (*pb.TxnResponse, error) {
	if err := s.check(r, map[string]bool{}, s.MaxOps); err != nil {
		return nil, err
	}
	// All that is compared, in nested transactions too, is what was before.
	path := s.paths(r)
	if !path[0] && s.Refused != nil {
		keys := make([]string, len(r.Compare))
		for i, c := range r.Compare {
			keys[i] = string(c.Key)
		}
		s.Refused(keys)
	}
	rev := s.rev + 1
	wrote := false
	resp := s.run(r, &path, rev, &wrote)
	if wrote {
		s.rev = rev
	}
	s.stamp(resp)
	return resp, nil
}

// paths says for each transaction, in the order in which they are run, whether
// its conditions hold.
func (s *Store) paths(r *pb.TxnRequest) []bool {
	holds := true
	for _, c := range r.Compare {
		holds = holds && s.holds(c)
	}
	out := []bool{holds}
	for _, op := range branch(r, holds) {
		if in := op.GetRequestTxn(); in != nil {
			out = append(out, s.paths(in)...)
		}
	}
	return out
}

func branch(r *pb.TxnRequest, holds bool) []*pb.RequestOp {
	if holds {
		return r.Success
	}
	return r.Failure
}

func (s *Store) holds(c *pb.Compare) bool {
	if len(c.RangeEnd) == 0 {
		return compares(c, s.kvs[string(c.Key)])
	}
	for key, kv := range s.kvs {
		if key >= string(c.Key) && (key < string(c.RangeEnd) || string(c.RangeEnd) == "\x00") && !compares(c, kv) {
			return false
		}
	}
	return true
}

// compares holds a condition against one key's value, nil if it isn't there.
func compares(c *pb.Compare, kv *mvccpb.KeyValue) bool {
	if kv == nil {
		if c.Target == pb.Compare_VALUE {
			return false // etcd: a value that isn't there equals nothing, and differs from nothing
		}
		kv = &mvccpb.KeyValue{}
	}
	var d int
	switch c.Target {
	case pb.Compare_VALUE:
		d = bytes.Compare(kv.Value, c.GetValue())
	case pb.Compare_VERSION:
		d = cmp.Compare(kv.Version, c.GetVersion())
	case pb.Compare_CREATE:
		d = cmp.Compare(kv.CreateRevision, c.GetCreateRevision())
	case pb.Compare_MOD:
		d = cmp.Compare(kv.ModRevision, c.GetModRevision())
	case pb.Compare_LEASE:
		d = cmp.Compare(kv.Lease, c.GetLease())
	}
	switch c.Result {
	case pb.Compare_EQUAL:
		return d == 0
	case pb.Compare_NOT_EQUAL:
		return d != 0
	case pb.Compare_GREATER:
		return d > 0
	}
	return d < 0
}

// check refuses what etcd refuses before it begins.
func (s *Store) check(r *pb.TxnRequest, puts map[string]bool, limit int) error {
	ops := max(len(r.Compare), len(r.Success), len(r.Failure))
	if ops > limit {
		return rpctypes.ErrTooManyOps
	}
	for _, branch := range [][]*pb.RequestOp{r.Success, r.Failure} {
		for _, op := range branch {
			if in := op.GetRequestTxn(); in != nil {
				if err := s.check(in, puts, limit-ops); err != nil {
					return err
				}
			}
			put := op.GetRequestPut()
			if put == nil {
				continue
			}
			if puts[string(put.Key)] {
				return rpctypes.ErrDuplicateKey
			}
			puts[string(put.Key)] = true
			if put.Lease != 0 && s.leases[put.Lease] == nil {
				return rpctypes.ErrLeaseNotFound
			}
			if (put.IgnoreValue || put.IgnoreLease) && s.kvs[string(put.Key)] == nil && len(r.Compare) == 0 {
				return rpctypes.ErrKeyNotFound
			}
		}
	}
	return nil
}

// run runs a transaction whose conditions are known.
func (s *Store) run(r *pb.TxnRequest, path *[]bool, rev int64, wrote *bool) *pb.TxnResponse {
	out := &pb.TxnResponse{Succeeded: (*path)[0], Header: &pb.ResponseHeader{}}
	*path = (*path)[1:]
	for _, op := range branch(r, out.Succeeded) {
		resp := &pb.ResponseOp{}
		switch {
		case op.GetRequestTxn() != nil:
			in := s.run(op.GetRequestTxn(), path, rev, wrote)
			resp.Response = &pb.ResponseOp_ResponseTxn{ResponseTxn: in}
		case op.GetRequestRange() != nil:
			in, err := s.read(op.GetRequestRange())
			if err != nil {
				in = &pb.RangeResponse{Header: s.header()}
			}
			resp.Response = &pb.ResponseOp_ResponseRange{ResponseRange: in}
		case op.GetRequestPut() != nil:
			s.put(op.GetRequestPut(), rev)
			*wrote = true
			resp.Response = &pb.ResponseOp_ResponsePut{ResponsePut: &pb.PutResponse{Header: &pb.ResponseHeader{}}}
		case op.GetRequestDeleteRange() != nil:
			in := &pb.DeleteRangeResponse{Header: &pb.ResponseHeader{}}
			del := op.GetRequestDeleteRange()
			for _, key := range append([]string{}, s.between(del.Key, del.RangeEnd)...) {
				s.change(rev, key, nil)
				in.Deleted++
				*wrote = true
			}
			resp.Response = &pb.ResponseOp_ResponseDeleteRange{ResponseDeleteRange: in}
		}
		out.Responses = append(out.Responses, resp)
	}
	return out
}

func (s *Store) put(r *pb.PutRequest, rev int64) {
	kv := &mvccpb.KeyValue{Key: r.Key, Value: r.Value, Lease: r.Lease, CreateRevision: rev, ModRevision: rev, Version: 1}
	if old := s.kvs[string(r.Key)]; old != nil {
		kv.CreateRevision, kv.Version = old.CreateRevision, old.Version+1
		if r.IgnoreValue {
			kv.Value = old.Value
		}
		if r.IgnoreLease {
			kv.Lease = old.Lease
		}
	}
	s.change(rev, string(r.Key), kv)
}

// stamp says at which revision the transaction was.
func (s *Store) stamp(r *pb.TxnResponse) {
	r.Header.Revision, r.Header.RaftTerm = s.rev, s.term
	for _, op := range r.Responses {
		if in := op.GetResponseTxn(); in != nil {
			s.stamp(in)
		}
	}
}

// Put writes a key as somebody with etcdctl does.
func (s *Store) Put(key, value string) {
	s.rev++
	s.put(&pb.PutRequest{Key: []byte(key), Value: []byte(value)}, s.rev)
}

// Delete deletes keys as somebody with etcdctl does.
func (s *Store) Delete(keys ...string) {
	rev := s.rev + 1
	for _, key := range keys {
		if s.kvs[key] != nil {
			s.change(rev, key, nil)
			s.rev = rev
		}
	}
}
