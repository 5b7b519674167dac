package etcdmodel

import (
	"maps"
	"slices"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
)

// lease is one that lives.
type lease struct {
	ttl  time.Duration
	end  time.Time
	keys map[string]bool
}

// Pass tells the time: leases that are granted or renewed count from then.
func (s *Store) Pass(now time.Time) { s.now = now }

// Advance tells the time, too: leases whose time is over end, and their keys with them.
func (s *Store) Advance(now time.Time) {
	s.Pass(now)
	if s.frozen {
		return
	}
	var over []int64
	for id, l := range s.leases {
		if !now.Before(l.end) {
			over = append(over, id)
		}
	}
	slices.Sort(over)
	for _, id := range over {
		s.revoke(id)
	}
}

// Freeze takes etcd's quorum away: until Elect, no lease ends.
func (s *Store) Freeze() { s.frozen = true }

// Elect gives etcd a new leader: it extends every lease.
func (s *Store) Elect() {
	s.frozen = false
	s.term++
	for _, l := range s.leases {
		l.end = s.now.Add(l.ttl)
	}
}

// Lives reports whether a lease has not ended.
func (s *Store) Lives(id int64) bool { return s.leases[id] != nil }

func (s *Store) grant(r *pb.LeaseGrantRequest) (*pb.LeaseGrantResponse, error) {
	s.lastLease++
	ttl := max(2, r.TTL)
	s.leases[s.lastLease] = &lease{ttl: time.Duration(ttl) * time.Second, end: s.now.Add(time.Duration(ttl) * time.Second), keys: map[string]bool{}}
	return &pb.LeaseGrantResponse{Header: s.header(), ID: s.lastLease, TTL: ttl}, nil
}

func (s *Store) revoke(id int64) {
	keys := slices.Sorted(maps.Keys(s.leases[id].keys))
	delete(s.leases, id)
	s.Delete(keys...)
}

func (s *Store) revoked(r *pb.LeaseRevokeRequest) (*pb.LeaseRevokeResponse, error) {
	if s.leases[r.ID] == nil {
		return nil, rpctypes.ErrLeaseNotFound
	}
	s.revoke(r.ID)
	return &pb.LeaseRevokeResponse{Header: s.header()}, nil
}

func (s *Store) renew(r *pb.LeaseKeepAliveRequest) (*pb.LeaseKeepAliveResponse, error) {
	out := &pb.LeaseKeepAliveResponse{Header: s.header(), ID: r.ID}
	if l := s.leases[r.ID]; l != nil {
		l.end = s.now.Add(l.ttl)
		out.TTL = int64(l.ttl / time.Second)
	}
	return out, nil
}

func (s *Store) timeToLive(r *pb.LeaseTimeToLiveRequest) (*pb.LeaseTimeToLiveResponse, error) {
	out := &pb.LeaseTimeToLiveResponse{Header: s.header(), ID: r.ID, TTL: -1}
	if l := s.leases[r.ID]; l != nil {
		out.TTL, out.GrantedTTL = int64(l.end.Sub(s.now)/time.Second), int64(l.ttl/time.Second)
	}
	return out, nil
}
