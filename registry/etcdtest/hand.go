package etcdtest

import (
	"crypto/rand"
	"errors"
	"testing"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What an operator's hands do with etcdctl, behind fleet's back.

// Prefix gives a key prefix that nothing else uses, with its trailing slash.
func Prefix() string { return "/test/" + rand.Text() + "/" }

// Put writes a key, on no lease.
func (s *Server) Put(t testing.TB, key, value string) {
	t.Helper()
	if _, err := s.client.Put(within(t), key, value); err != nil {
		t.Fatal(err)
	}
}

// Delete deletes keys.
func (s *Server) Delete(t testing.TB, keys ...string) {
	t.Helper()
	for _, key := range keys {
		if _, err := s.client.Delete(within(t), key); err != nil {
			t.Fatal(err)
		}
	}
}

// DeletePrefix deletes all keys that begin so.
func (s *Server) DeletePrefix(t testing.TB, prefix string) {
	t.Helper()
	if _, err := s.client.Delete(within(t), prefix, clientv3.WithPrefix()); err != nil {
		t.Fatal(err)
	}
}

// Entry is what one key holds.
type Entry struct {
	Value    string
	Lease    clientv3.LeaseID
	Created  int64
	Modified int64
}

// All gives all keys that begin so.
func (s *Server) All(t testing.TB, prefix string) map[string]Entry {
	t.Helper()
	resp, err := s.client.Get(within(t), prefix, clientv3.WithPrefix())
	if err != nil {
		t.Fatal(err)
	}
	out := make(map[string]Entry, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		out[string(kv.Key)] = Entry{
			Value: string(kv.Value), Lease: clientv3.LeaseID(kv.Lease), Created: kv.CreateRevision, Modified: kv.ModRevision,
		}
	}
	return out
}

// Get gives one key; ok is false when it is absent.
func (s *Server) Get(t testing.TB, key string) (e Entry, ok bool) {
	t.Helper()
	e, ok = s.All(t, key)[key]
	return e, ok
}

// Revision gives the store's revision: it grows with every write.
func (s *Server) Revision(t testing.TB) int64 {
	t.Helper()
	resp, err := s.client.Get(within(t), "/", clientv3.WithCountOnly())
	if err != nil {
		t.Fatal(err)
	}
	return resp.Header.Revision
}

// Compact forgets all history before now.
func (s *Server) Compact(t testing.TB) {
	t.Helper()
	_, err := s.client.Compact(within(t), s.Revision(t), clientv3.WithCompactPhysical())
	if err != nil && !errors.Is(err, rpctypes.ErrCompacted) { // nothing to forget since the last time
		t.Fatal(err)
	}
}

// Revoke ends a lease, with its keys, as its expiry would.
func (s *Server) Revoke(t testing.TB, lease clientv3.LeaseID) {
	t.Helper()
	if _, err := s.client.Revoke(within(t), lease); err != nil {
		t.Fatal(err)
	}
}

// Leases lists the leases that live.
func (s *Server) Leases(t testing.TB) []clientv3.LeaseID {
	t.Helper()
	resp, err := s.client.Leases(within(t))
	if err != nil {
		t.Fatal(err)
	}
	out := make([]clientv3.LeaseID, len(resp.Leases))
	for i, l := range resp.Leases {
		out[i] = l.ID
	}
	return out
}

// Fill writes until the server's database is full. MakeRoom ends that.
func (s *Server) Fill(t testing.TB) {
	t.Helper()
	large := make([]byte, 256<<10)
	for {
		if _, err := s.client.Put(within(t), "/filler", string(large)); errors.Is(err, rpctypes.ErrNoSpace) {
			return
		} else if err != nil {
			t.Fatal(err)
		}
	}
}

// MakeRoom does what an operator does when the database is full: forget history,
// give the space back, and lift the alarm.
func (s *Server) MakeRoom(t testing.TB) {
	t.Helper()
	s.Compact(t)
	if _, err := s.client.Defragment(within(t), s.client.Endpoints()[0]); err != nil {
		t.Fatal(err)
	}
	alarms, err := s.client.AlarmList(within(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range alarms.Alarms {
		if _, err := s.client.AlarmDisarm(within(t), (*clientv3.AlarmMember)(a)); err != nil {
			t.Fatal(err)
		}
	}
}
