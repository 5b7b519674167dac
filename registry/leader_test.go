package registry

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"go.uber.org/goleak"
)

func leading(t testing.TB, r *Registry) *Leadership {
	t.Helper()
	l := must(r.Campaign(t.Context(), "m", steady))(t)
	t.Cleanup(func() { _ = l.Resign(context.Background()) }) // deposed already, maybe
	return l
}

// standing campaigns until the test is done.
func standing(t testing.TB, r *Registry, id machine.ID) <-chan *Leadership {
	won := make(chan *Leadership, 1)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if l, err := r.Campaign(ctx, id, steady); err == nil {
			won <- l
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return won
}

func candidates(t testing.TB, r *Registry, s *etcdtest.Server) int {
	return len(s.All(t, r.keys.leader()))
}

func place(name unit.Name) (record.Key, record.Spec) {
	return record.Key{Machine: "m", Unit: name}, record.Spec{Target: unit.TargetLaunched, File: "beef"}
}

func TestOneLeaderAtATime(t *testing.T) {
	r, s := fresh(t)
	first := leading(t, r)
	second := standing(t, r, "m2")
	eventually(t, "the second stands", func() bool { return candidates(t, r, s) == 2 })
	select {
	case <-second:
		t.Fatal("two lead")
	default:
	}
	ok(t, first.Commit(t.Context(), []Write{first.PutPlacement(place("a.service"))}))
	ok(t, first.Resign(t.Context()))
	l := <-second // long before the lease would run out
	if err := first.Commit(t.Context(), []Write{first.PutPlacement(place("b.service"))}); !errors.Is(err, ErrDeposed) {
		t.Errorf("after resigning: %v", err)
	}
	ok(t, l.Commit(t.Context(), []Write{l.PutPlacement(place("c.service"))}))
	if n := len(s.All(t, r.keys.schedule())); n != 2 {
		t.Errorf("%d placements", n)
	}
	select {
	case <-first.Done():
	default:
		t.Error("the first isn't done")
	}
	ok(t, l.Resign(t.Context()))
	if n := candidates(t, r, s); n != 0 {
		t.Errorf("%d candidates are left", n)
	}
}

// What somebody has put in line by hand never ends: nobody would be elected after it.
func TestAKeyOnNoLeaseStandsInNobodysWay(t *testing.T) {
	r, s := fresh(t)
	key := r.keys.leader() + "/x"
	s.Put(t, key, "m0")
	select {
	case l := <-standing(t, r, "m"):
		ok(t, l.Commit(t.Context(), []Write{l.PutPlacement(place("a.service"))}))
		ok(t, l.Resign(t.Context()))
	case <-time.After(30 * time.Second):
		t.Fatal("nobody is elected")
	}
	if _, there := s.Get(t, key); there {
		t.Error("it is still there")
	}
}

func TestADeposedLeaderChangesNothing(t *testing.T) {
	for name, depose := range map[string]func(t *testing.T, r *Registry, s *etcdtest.Server, l *Leadership){
		"its key deleted": func(t *testing.T, _ *Registry, s *etcdtest.Server, l *Leadership) { s.Delete(t, l.term.key) },
		"its key deleted and put by hand": func(t *testing.T, _ *Registry, s *etcdtest.Server, l *Leadership) {
			s.Delete(t, l.term.key)
			s.Put(t, l.term.key, "m")
		},
		"its lease revoked": func(t *testing.T, _ *Registry, s *etcdtest.Server, l *Leadership) {
			s.Revoke(t, l.term.lease)
			<-l.Done()
		},
		"another takes over": func(t *testing.T, r *Registry, s *etcdtest.Server, l *Leadership) {
			next := standing(t, r, "m2")
			eventually(t, "it stands", func() bool { return candidates(t, r, s) == 2 })
			s.Delete(t, l.term.key)
			<-next
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, s := fresh(t)
			l := leading(t, r)
			depose(t, r, s, l)
			before := s.All(t, string(r.keys))
			var many []Write
			for i := range 5 * maxOps {
				many = append(many, l.PutPlacement(place(unit.Name(fmt.Sprintf("u%d.service", i)))))
			}
			for name, writes := range map[string][]Write{
				"one": many[:1], "many": many, "guarded": {l.RestoreUnit("a.service", record.Unit{})},
				"several guarded": {l.RestoreUnit("a.service", record.Unit{}), l.ReleaseUnit("b.service", record.Unit{}), l.CollectFile("h", 1)},
			} {
				if err := l.Commit(t.Context(), writes); !errors.Is(err, ErrDeposed) {
					t.Errorf("%s: %v", name, err)
				}
			}
			if err := l.EnsureCluster(t.Context(), ""); !errors.Is(err, ErrDeposed) {
				t.Errorf("EnsureCluster: %v", err)
			}
			after := s.All(t, string(r.keys))
			for key := range after {
				if after[key] != before[key] && !strings.HasPrefix(key, r.keys.leader()) {
					t.Errorf("wrote %s", key)
				}
			}
		})
	}
}

// A write that was given up may still be on its way. Once its leader has begun anew,
// it changes nothing, though the same one leads.
func TestWhatWasGivenUpIsVoid(t *testing.T) {
	r, s := fresh(t)
	l := leading(t, r)
	w := l.PutPlacement(place("a.service"))
	late := l.fence()
	for range 2 {
		ok(t, l.Anew(t.Context()))
		resp := must(r.txn(t.Context(), late, w.ops))(t)
		if _, there := s.Get(t, r.keys.placement(record.Key{Machine: "m", Unit: "a.service"})); resp.Succeeded || there {
			t.Fatal("it was written after all")
		}
		late = l.fence()
	}
	ok(t, l.Commit(t.Context(), []Write{w}))
	ok(t, l.Resign(t.Context()))
	if err := l.Anew(t.Context()); !errors.Is(err, ErrDeposed) {
		t.Errorf("deposed, it begins anew: %v", err)
	}
}

func TestCampaignEnds(t *testing.T) {
	r, s := fresh(t)
	leading(t, r)
	t.Run("with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { _, err := r.Campaign(ctx, "m2", steady); done <- err }()
		eventually(t, "it stands", func() bool { return candidates(t, r, s) == 2 })
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("%v", err)
		}
		if n := candidates(t, r, s); n != 1 {
			t.Errorf("%d candidates are left", n)
		}
	})
	t.Run("with its lease", func(t *testing.T) {
		done := make(chan error, 1)
		go func() { _, err := r.Campaign(t.Context(), "m2", 3*ttl); done <- err }() // a third of that until it notices
		eventually(t, "it stands", func() bool { return candidates(t, r, s) == 2 })
		for _, e := range s.All(t, r.keys.leader()) {
			if e.Value == "m2" {
				s.Revoke(t, e.Lease)
			}
		}
		mentions(t, <-done, "lease ran out")
	})
	t.Run("with its lease, while the leader goes", func(t *testing.T) {
		r, s := fresh(t)
		leader := must(r.Campaign(t.Context(), "m", steady))(t)
		done := make(chan error, 1)
		go func() { _, err := r.Campaign(t.Context(), "m2", steady); done <- err }()
		eventually(t, "it stands", func() bool { return candidates(t, r, s) == 2 })
		for _, e := range s.All(t, r.keys.leader()) {
			if e.Value == "m2" {
				s.Revoke(t, e.Lease)
			}
		}
		ok(t, leader.Resign(t.Context())) // the candidate hears of this first
		if err := <-done; err == nil {
			t.Error("it leads on a lease that has ended")
		}
	})
	t.Run("with no goroutine left", func(t *testing.T) {
		before := goleak.IgnoreCurrent()
		r, _ := connect(t, s.Endpoints(), etcdtest.Prefix())
		l := must(r.Campaign(t.Context(), "m", steady))(t)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := r.Campaign(ctx, "m2", steady); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%v", err)
		}
		ok(t, l.Resign(t.Context()))
		ok(t, r.Close())
		goleak.VerifyNone(t, before)
	})
}

func TestLeaderWithoutEtcd(t *testing.T) {
	t.Parallel()
	s := etcd.Server(t)
	link := s.Link(t)
	r, _ := connect(t, link.Endpoints(), etcdtest.Prefix())
	l := must(r.Campaign(t.Context(), "m", 3*ttl))(t)
	link.Freeze()
	var writes []Write
	for i := range 100 * maxOps { // over a minute of time-outs, if each had its own
		writes = append(writes, l.PutPlacement(place(unit.Name(fmt.Sprintf("u%d.service", i)))))
	}
	err := l.Commit(t.Context(), writes)
	if err == nil || errors.Is(err, ErrDeposed) {
		t.Errorf("%v", err)
	}
	<-l.Done()
	mentions(t, l.Resign(t.Context()), "resigning")
}
