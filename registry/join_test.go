package registry

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	clientv3 "go.etcd.io/etcd/client/v3"
)

func joined(t testing.TB, r *Registry, m machine.Machine, ttl time.Duration) *Presence {
	t.Helper()
	return must(r.Join(t.Context(), m, ttl))(t)
}

func put(t testing.TB, p *Presence, name unit.Name, s *record.State) {
	t.Helper()
	ok(t, p.PutStates(t.Context(), map[unit.Name]*record.State{name: s}))
}

func TestJoinFresh(t *testing.T) {
	r, s := fresh(t)
	p := joined(t, r, host("m", "b"), steady)
	e, found := s.Get(t, r.keys.machine("m"))
	if !found || e.Lease == clientv3.NoLease || e.Lease != p.lease {
		t.Errorf("presence: %+v", e)
	}
	if p.Resumed() || len(p.said()) > 0 || time.Since(p.RenewedAt()) > time.Minute {
		t.Errorf("resumed %v, states %v, renewed %s", p.Resumed(), p.said(), p.RenewedAt())
	}
}

func TestJoinResumesTheSameBoot(t *testing.T) {
	r, s := fresh(t)
	first := joined(t, r, host("m", "b"), steady)
	put(t, first, "a.service", state(unit.TargetLaunched))
	s.Put(t, r.keys.statesOf("m")+"junk", "{")
	before := s.All(t, string(r.keys))
	var vanished []record.Change
	f := follow(t, func(ctx context.Context, fn func(Update) error) error {
		return r.Follow(ctx, func(u Update) error {
			for _, c := range u.Changes {
				if m, ok := c.(record.MachineChange); ok && m.New == nil {
					vanished = append(vanished, c)
				}
			}
			return fn(u)
		})
	})
	f.wait(t, "the snapshot", func(v *record.View) bool { return len(v.Machines) == 1 })
	upgraded := host("m", "b")
	upgraded.Version = "2"
	second := joined(t, r, upgraded, steady)
	if !second.Resumed() || second.lease != first.lease {
		t.Errorf("resumed %v, lease %x, was %x", second.Resumed(), second.lease, first.lease)
	}
	if got := second.said(); len(got) != 1 || got["a.service"] != *state(unit.TargetLaunched) {
		t.Errorf("states: %+v", got)
	}
	f.wait(t, "the new version", func(v *record.View) bool { return v.Machines["m"].Version == "2" })
	if len(vanished) > 0 {
		t.Errorf("the presence vanished: %+v", vanished)
	}
	key := r.keys.state(record.Key{Machine: "m", Unit: "a.service"})
	if after := s.All(t, string(r.keys)); after[key] != before[key] {
		t.Errorf("a state was written though nothing changed: %+v, was %+v", after[key], before[key])
	}
}

func TestJoinWithAnotherTTL(t *testing.T) {
	r, s := fresh(t)
	first := joined(t, r, host("m", "b"), 2*steady)
	put(t, first, "a.service", state(unit.TargetLaunched))
	second := joined(t, r, host("m", "b"), steady)
	if second.lease == first.lease || second.Resumed() {
		t.Errorf("lease %x of another TTL was resumed", second.lease)
	}
	ok(t, second.renew(t.Context()))
	s.Revoke(t, first.lease)
	for key, e := range s.All(t, string(r.keys)) {
		if e.Lease != second.lease {
			t.Errorf("%s stayed on the old lease", key)
		}
	}
	if n := len(s.All(t, string(r.keys))); n != 2 {
		t.Errorf("%d keys are left", n)
	}
}

// etcd may grant no lease as short as agent_ttl; that isn't another TTL.
func TestJoinResumesBelowEtcdsFloor(t *testing.T) {
	r, s := fresh(t)
	first := joined(t, r, host("m", "b"), time.Second)
	leases := len(s.Leases(t))
	second := joined(t, r, host("m", "b"), time.Second)
	if !second.Resumed() || second.lease != first.lease {
		t.Error("not resumed")
	}
	if n := len(s.Leases(t)); n > leases {
		t.Errorf("%d leases were left lying about", n-leases)
	}
	for ttl, want := range map[time.Duration]int64{0: 2, time.Second: 2, 2 * time.Second: 2, 2001 * time.Millisecond: 3, 30 * time.Second: 30} {
		if got := seconds(ttl); got != want {
			t.Errorf("seconds(%s) = %d, want %d", ttl, got, want)
		}
	}
}

func TestJoinWaitsForADeadBoot(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		ttl time.Duration
		end func(t *testing.T, r *Registry, s *etcdtest.Server, lease clientv3.LeaseID)
	}{
		"that expires":    {ttl, func(*testing.T, *Registry, *etcdtest.Server, clientv3.LeaseID) {}},
		"that is revoked": {steady, func(t *testing.T, _ *Registry, s *etcdtest.Server, l clientv3.LeaseID) { s.Revoke(t, l) }},
		"whose key is deleted": {steady, func(t *testing.T, r *Registry, s *etcdtest.Server, _ clientv3.LeaseID) {
			s.Delete(t, r.keys.machine("m"))
		}},
		"whose key is put by hand": {steady, func(t *testing.T, r *Registry, s *etcdtest.Server, _ clientv3.LeaseID) {
			s.Put(t, r.keys.machine("m"), encode(host("m", "other")))
		}},
		"with history compacted away": {3 * ttl, func(t *testing.T, _ *Registry, s *etcdtest.Server, _ clientv3.LeaseID) { s.Compact(t) }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := etcd.Server(t)
			r, book := connect(t, s.Endpoints(), etcdtest.Prefix())
			old := joined(t, r, host("m", "old"), tt.ttl)
			put(t, old, "a.service", state(unit.TargetLaunched))
			done := make(chan *Presence)
			go func() {
				p, err := r.Join(t.Context(), host("m", "new"), tt.ttl)
				if err != nil {
					t.Error(err)
				}
				done <- p
			}()
			eventually(t, "it waits", func() bool { return book.count("waiting to see that it isn't renewed") > 0 })
			tt.end(t, r, s, old.lease)
			p := <-done
			if p == nil {
				return
			}
			if p.Resumed() || p.lease == old.lease || len(p.said()) > 0 {
				t.Errorf("resumed %v with states %v", p.Resumed(), p.said())
			}
			if e, _ := s.Get(t, r.keys.machine("m")); e.Lease != p.lease {
				t.Errorf("the presence is on lease %x, not %x", e.Lease, p.lease)
			}
		})
	}
}

func TestJoinRefusesTheIDOfALiveHost(t *testing.T) {
	t.Parallel()
	for _, ttl := range []time.Duration{4 * time.Second, 6 * time.Second} {
		t.Run(ttl.String(), func(t *testing.T) {
			t.Parallel()
			r, s := fresh(t)
			p := joined(t, r, host("m", "alive"), ttl)
			running(t, p)
			_, err := r.Join(t.Context(), host("m", "clone"), ttl)
			var duplicate *DuplicateMachineError
			if !errors.As(err, &duplicate) || duplicate.ID != "m" || duplicate.Other.BootID != "alive" {
				t.Fatalf("%v", err)
			}
			mentions(t, err, "machine-id m", "host-m", "10.0.0.1", "alive", "systemd-machine-id-setup")
			if got := stored[machine.Machine](t, s, r.keys.machine("m")); got.BootID != "alive" {
				t.Errorf("the clone took the key: %+v", got)
			}
		})
	}
}

func TestJoinEndsWithItsContext(t *testing.T) {
	r, s := fresh(t)
	joined(t, r, host("m", "old"), time.Minute)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { _, err := r.Join(ctx, host("m", "new"), steady); done <- err }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	_ = s
}

func TestJoinWaitsForEtcd(t *testing.T) {
	t.Parallel()
	s := etcdtest.New(t)
	s.Stop()
	r, book := connect(t, s.Endpoints(), "")
	done := make(chan *Presence)
	go func() {
		p, err := r.Join(t.Context(), host("m", "b"), steady)
		if err != nil {
			t.Error(err)
		}
		done <- p
	}()
	eventually(t, "it says that it cannot join yet", func() bool { return book.count("cannot join") == 1 })
	s.Start(t)
	if p := <-done; p != nil && p.Resumed() {
		t.Error("resumed a lease that nobody held")
	}
	if n := book.count("cannot join"); n != 1 {
		t.Errorf("said so %d times", n)
	}
}

func TestJoinNamesAKeyThatItCannotRead(t *testing.T) {
	s := etcd.Server(t)
	r, book := connect(t, s.Endpoints(), etcdtest.Prefix())
	lease := must(s.Client(t).Grant(t.Context(), 60))(t).ID // somebody who lives holds it
	must(s.Client(t).Put(t.Context(), r.keys.machine("m"), "{", clientv3.WithLease(lease)))(t)
	done := make(chan error, 1)
	go func() { _, err := r.Join(t.Context(), host("m", "b"), steady); done <- err }()
	eventually(t, "it says which", func() bool { return book.count(r.keys.machine("m")) == 1 })
	s.Delete(t, r.keys.machine("m"))
	ok(t, <-done)
}
