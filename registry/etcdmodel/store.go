package etcdmodel

import (
	"slices"
	"strings"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// Store is what etcd's members agree on. Whoever owns it tells it the time.
type Store struct {
	rev       int64
	compacted int64
	keys      []string // in order
	kvs       map[string]*mvccpb.KeyValue
	history   []Event // after compacted
	leases    map[int64]*lease
	lastLease int64
	term      uint64
	now       time.Time
	frozen    bool // there is no quorum: no lease ends

	// MaxOps is how many operations a transaction may have (--max-txn-ops).
	MaxOps int
	// Committed is told of each event, at once; nil: nobody is.
	Committed func(Event)
	// Refused is told of each transaction whose conditions do not hold, and what
	// keys they are about; nil: nobody is.
	Refused func(keys []string)
}

// Event is one change. Kv is what the key became, with only Key and ModRevision
// if it was deleted; Prev what it was.
type Event struct {
	Kv, Prev *mvccpb.KeyValue
	Deleted  bool
}

// New makes an empty store.
func New(now time.Time) *Store {
	return &Store{rev: 1, MaxOps: 128, kvs: map[string]*mvccpb.KeyValue{}, leases: map[int64]*lease{}, term: 1, now: now}
}

// Revision is that of the latest change.
func (s *Store) Revision() int64 { return s.rev }

// Compact forgets the history up to a revision: watches and reads of it fail.
func (s *Store) Compact(rev int64) {
	if rev <= s.compacted || rev > s.rev {
		return
	}
	s.compacted = rev
	s.history = slices.Clone(s.history[s.after(rev):])
}

// after gives the place in the history of the first event after a revision.
func (s *Store) after(rev int64) int {
	at, _ := slices.BinarySearchFunc(s.history, rev+1, func(e Event, rev int64) int { return int(e.Kv.ModRevision - rev) })
	return at
}

// Since gives what happened after a revision; false if that was compacted.
func (s *Store) Since(rev int64) ([]Event, bool) {
	if rev < s.compacted {
		return nil, false
	}
	return s.history[s.after(rev):], true
}

// Get gives what a key holds; nil if it is absent.
func (s *Store) Get(key string) *mvccpb.KeyValue { return s.kvs[key] }

// Keys lists those with a prefix, in order.
func (s *Store) Keys(prefix string) []string {
	from, _ := slices.BinarySearch(s.keys, prefix)
	to := from
	for to < len(s.keys) && strings.HasPrefix(s.keys[to], prefix) {
		to++
	}
	return slices.Clone(s.keys[from:to])
}

// between lists the keys of a range as requests give it.
func (s *Store) between(key, end []byte) []string {
	if len(end) == 0 {
		if s.kvs[string(key)] == nil {
			return nil
		}
		return []string{string(key)}
	}
	from, _ := slices.BinarySearch(s.keys, string(key))
	to := len(s.keys)
	if string(end) != "\x00" {
		to, _ = slices.BinarySearch(s.keys, string(end))
	}
	return s.keys[from:max(from, to)]
}

// change makes one change at the revision rev.
func (s *Store) change(rev int64, key string, kv *mvccpb.KeyValue) {
	old := s.kvs[key]
	if old != nil && old.Lease != 0 && (kv == nil || kv.Lease != old.Lease) {
		if l := s.leases[old.Lease]; l != nil {
			delete(l.keys, key)
		}
	}
	e := Event{Kv: kv, Prev: old, Deleted: kv == nil}
	at, found := slices.BinarySearch(s.keys, key)
	switch {
	case kv == nil:
		e.Kv = &mvccpb.KeyValue{Key: []byte(key), ModRevision: rev}
		delete(s.kvs, key)
		s.keys = slices.Delete(s.keys, at, at+1)
	default:
		if !found {
			s.keys = slices.Insert(s.keys, at, key)
		}
		s.kvs[key] = kv
		if kv.Lease != 0 {
			s.leases[kv.Lease].keys[key] = true
		}
	}
	s.history = append(s.history, e)
	if s.Committed != nil {
		s.Committed(e)
	}
}

// read answers a range request.
func (s *Store) read(r *pb.RangeRequest) (*pb.RangeResponse, error) {
	switch {
	case r.Revision > s.rev:
		return nil, rpctypes.ErrFutureRev
	case r.Revision > 0 && r.Revision < s.compacted:
		return nil, rpctypes.ErrCompacted
	}
	out := &pb.RangeResponse{Header: s.header()}
	take := func(kv *mvccpb.KeyValue) {
		if r.MaxCreateRevision > 0 && kv.CreateRevision > r.MaxCreateRevision {
			return
		}
		out.Count++
		switch {
		case r.CountOnly:
		case r.Limit > 0 && int64(len(out.Kvs)) == r.Limit:
			out.More = true
		default:
			out.Kvs = append(out.Kvs, kv)
		}
	}
	if r.Revision > 0 && r.Revision < s.rev {
		for _, kv := range s.at(r.Revision, string(r.Key), string(r.RangeEnd)) {
			take(kv)
		}
		return out, nil
	}
	for _, key := range s.between(r.Key, r.RangeEnd) {
		take(s.kvs[key])
	}
	return out, nil
}

// at gives what a range held at an earlier revision, by taking back what happened
// since.
func (s *Store) at(rev int64, key, end string) []*mvccpb.KeyValue {
	was := map[string]*mvccpb.KeyValue{}
	for _, k := range s.between([]byte(key), []byte(end)) {
		was[k] = s.kvs[k]
	}
	for i := len(s.history) - 1; i >= 0 && s.history[i].Kv.ModRevision > rev; i-- {
		e := s.history[i]
		k := string(e.Kv.Key)
		if end == "" && k != key || end != "" && (k < key || end != "\x00" && k >= end) {
			continue
		}
		if e.Prev == nil {
			delete(was, k)
		} else {
			was[k] = e.Prev
		}
	}
	out := make([]*mvccpb.KeyValue, 0, len(was))
	for _, kv := range was {
		out = append(out, kv)
	}
	slices.SortFunc(out, func(a, b *mvccpb.KeyValue) int { return strings.Compare(string(a.Key), string(b.Key)) })
	return out
}

func (s *Store) header() *pb.ResponseHeader {
	return &pb.ResponseHeader{Revision: s.rev, RaftTerm: s.term}
}
