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
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/goleak"
)

func leading(t testing.TB, r *Registry) *Leadership {
	t.Helper()
	l := must(r.Campaign(t.Context(), "m", ttl))(t)
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
		if l, err := r.Campaign(ctx, id, ttl); err == nil {
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

func TestADeposedLeaderChangesNothing(t *testing.T) {
	for name, depose := range map[string]func(t *testing.T, r *Registry, s *etcdtest.Server, l *Leadership){
		"its key deleted": func(t *testing.T, _ *Registry, s *etcdtest.Server, l *Leadership) { s.Delete(t, l.election.Key()) },
		"its key deleted and put by hand": func(t *testing.T, _ *Registry, s *etcdtest.Server, l *Leadership) {
			s.Delete(t, l.election.Key())
			s.Put(t, l.election.Key(), "m")
		},
		"its lease revoked": func(t *testing.T, _ *Registry, s *etcdtest.Server, l *Leadership) {
			s.Revoke(t, l.session.Lease())
			<-l.Done()
		},
		"another takes over": func(t *testing.T, r *Registry, s *etcdtest.Server, l *Leadership) {
			next := standing(t, r, "m2")
			eventually(t, "it stands", func() bool { return candidates(t, r, s) == 2 })
			s.Delete(t, l.election.Key())
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

func TestCommitMoreThanATransactionHolds(t *testing.T) {
	r, s := fresh(t)
	l := leading(t, r)
	ok(t, l.Commit(t.Context(), nil))
	var writes []Write
	for i := range 3*maxOps + 5 {
		name := unit.Name(fmt.Sprintf("u%d.service", i))
		writes = append(writes, l.PutPlacement(place(name)))
		if i%3 == 0 {
			writes = append(writes, l.RestoreUnit(name, record.Unit{Target: unit.TargetLoaded}))
		}
	}
	texts := map[unit.Hash][]byte{}
	for i := range 5 { // more than one request carries
		text := []byte(strings.Repeat(fmt.Sprint(i), 700<<10))
		texts[unit.HashOf(text)] = text
		writes = append(writes, l.RestoreFile(unit.HashOf(text), text))
	}
	ok(t, l.Commit(t.Context(), writes))
	if n := len(s.All(t, r.keys.schedule())); n != 3*maxOps+5 {
		t.Errorf("%d placements", n)
	}
	if n := len(s.All(t, string(r.keys)+"units/")); n != maxOps+2 {
		t.Errorf("%d units", n)
	}
	for h := range texts {
		if _, found := s.Get(t, r.keys.file(h)); !found {
			t.Errorf("text %s is missing", h.Short())
		}
	}
}

// A successor must find nothing that reads otherwise than it was meant.
func TestCommitGoesByStages(t *testing.T) {
	r, s := fresh(t)
	l := leading(t, r)
	tombstone := record.Unit{Target: unit.TargetDestroyed}
	var writes []Write
	for i := range 3 * maxOps {
		name := unit.Name(fmt.Sprintf("u%d.service", i))
		gone := record.Key{Machine: "gone", Unit: name}
		if i%maxOps == 0 {
			s.Put(t, r.keys.unit(name), encode(tombstone))
			writes = append(writes, l.ReleaseUnit(name, tombstone))
		}
		writes = append(writes, l.PutPlacement(place(name)), l.PutPlacement(gone, record.Spec{Target: unit.TargetNone}))
	}
	w := s.Client(t).Watch(t.Context(), string(r.keys), clientv3.WithPrefix(), clientv3.WithRev(s.Revision(t)+1))
	ok(t, l.Commit(t.Context(), writes))
	stage, seen := "", 0
	order := map[string]string{"": "taken", "taken": "placed", "placed": "released"}
	for seen < len(writes) {
		for _, ev := range (<-w).Events {
			now := "placed"
			switch key := string(ev.Kv.Key); {
			case strings.HasPrefix(key, r.keys.scheduleOf("gone")):
				now = "taken"
			case ev.Type == clientv3.EventTypeDelete:
				now = "released"
			}
			if seen++; now != stage && now != order[stage] {
				t.Fatalf("%s is %s after others were %s", ev.Kv.Key, now, stage)
			}
			stage = now
		}
	}
}

func TestAMoveIsOneTransaction(t *testing.T) {
	r, s := fresh(t)
	l := leading(t, r)
	key, spec := place("a.service")
	ok(t, l.Commit(t.Context(), []Write{
		l.PutPlacement(record.Key{Machine: "gone", Unit: "a.service"}, record.Spec{Target: unit.TargetNone}), l.PutPlacement(key, spec),
	}))
	var revisions []int64
	for _, e := range s.All(t, r.keys.schedule()) {
		revisions = append(revisions, e.Modified)
	}
	if len(revisions) != 2 || revisions[0] != revisions[1] {
		t.Errorf("written at revisions %v", revisions)
	}
}

// What is guarded goes together too, and the guard of one is no other's business.
func TestGuardedWritesGoTogether(t *testing.T) {
	r, s := fresh(t)
	l := leading(t, r)
	tombstone := record.Unit{Target: unit.TargetDestroyed}
	var writes []Write
	for i := range 2 * maxOps {
		name := unit.Name(fmt.Sprintf("u%d.service", i))
		stored := tombstone
		if i%10 == 0 { // created anew
			stored.Target = unit.TargetLoaded
		}
		s.Put(t, r.keys.unit(name), encode(stored))
		writes = append(writes, l.ReleaseUnit(name, tombstone))
	}
	before := s.Revision(t)
	ok(t, l.Commit(t.Context(), writes))
	if n := s.Revision(t) - before; n != 3 { // each transaction holds one less than maxOps
		t.Errorf("%d transactions", n)
	}
	if n := len(s.All(t, string(r.keys)+"units/")); n != (2*maxOps+9)/10 {
		t.Errorf("%d units are left", n)
	}
}

// Instruction and acknowledgement go together, wherever transactions are cut.
func TestForgetIsAtomic(t *testing.T) {
	r, s := fresh(t)
	l := leading(t, r)
	writes := []Write{l.PutPlacement(place("odd.service"))}
	for i := range maxOps {
		key := record.Key{Machine: "m", Unit: unit.Name(fmt.Sprintf("u%d.service", i))}
		s.Put(t, r.keys.placement(key), `{"target":"none"}`)
		s.Put(t, r.keys.state(key), `{"target":"none"}`)
		writes = append(writes, l.Forget(key))
	}
	c := s.Client(t)
	w := c.Watch(t.Context(), string(r.keys), clientv3.WithPrefix(), clientv3.WithRev(s.Revision(t)+1))
	ok(t, l.Commit(t.Context(), writes))
	deleted := map[string]int64{}
	for len(deleted) < 2*maxOps {
		for _, ev := range (<-w).Events {
			if ev.Type == clientv3.EventTypeDelete {
				deleted[string(ev.Kv.Key)] = ev.Kv.ModRevision
			}
		}
	}
	for key, rev := range deleted {
		if name, state := strings.CutPrefix(key, r.keys.statesOf("m")); state && deleted[r.keys.scheduleOf("m")+name] != rev {
			t.Errorf("%s went at another revision than its instruction", name)
		}
	}
}

func TestGuardedWrites(t *testing.T) {
	tombstone := record.Unit{File: unit.HashOf([]byte(webUnit)), Target: unit.TargetDestroyed}
	const name = unit.Name("web.service")
	submitted := func(t *testing.T, r *Registry) (rev int64) {
		_, rev, err := r.SubmitUnit(t.Context(), name, []byte(webUnit), unit.TargetLoaded)
		ok(t, err)
		return rev
	}
	for what, tc := range map[string]struct {
		before func(t *testing.T, r *Registry) (rev int64)
		write  func(l *Leadership, rev int64) Write
		key    func(keyspace) string
		exists bool
	}{
		"release a destroyed unit": {
			func(t *testing.T, r *Registry) int64 {
				submitted(t, r)
				return must(r.DestroyUnit(t.Context(), name))(t)
			},
			func(l *Leadership, _ int64) Write { return l.ReleaseUnit(name, tombstone) }, func(k keyspace) string { return k.unit(name) }, false},
		"release one created anew": {
			func(t *testing.T, r *Registry) int64 {
				submitted(t, r)
				must(r.DestroyUnit(t.Context(), name))(t)
				return submitted(t, r)
			},
			func(l *Leadership, _ int64) Write { return l.ReleaseUnit(name, tombstone) }, func(k keyspace) string { return k.unit(name) }, true},
		"release one destroyed again": {
			func(t *testing.T, r *Registry) int64 {
				submitted(t, r)
				must(r.DestroyUnit(t.Context(), name))(t)
				submitted(t, r)
				return must(r.DestroyUnit(t.Context(), name))(t)
			},
			func(l *Leadership, _ int64) Write { return l.ReleaseUnit(name, tombstone) }, func(k keyspace) string { return k.unit(name) }, true},
		"restore a lost unit": {
			func(*testing.T, *Registry) int64 { return 0 },
			func(l *Leadership, _ int64) Write { return l.RestoreUnit(name, tombstone) }, func(k keyspace) string { return k.unit(name) }, true},
		"collect an unused text": {
			submitted,
			func(l *Leadership, rev int64) Write { return l.CollectFile(tombstone.File, rev) }, func(k keyspace) string { return k.file(tombstone.File) }, false},
		"collect one submitted since": {
			func(t *testing.T, r *Registry) int64 {
				rev := submitted(t, r)
				_, _, err := r.SubmitUnit(t.Context(), "other.service", []byte(webUnit), unit.TargetLoaded)
				ok(t, err)
				return rev
			},
			func(l *Leadership, rev int64) Write { return l.CollectFile(tombstone.File, rev) }, func(k keyspace) string { return k.file(tombstone.File) }, true},
		"collect one that is gone": {
			func(*testing.T, *Registry) int64 { return 1 },
			func(l *Leadership, rev int64) Write { return l.CollectFile(tombstone.File, rev) }, func(k keyspace) string { return k.file(tombstone.File) }, false},
	} {
		t.Run(what, func(t *testing.T) {
			r, s := fresh(t)
			l := leading(t, r)
			rev := tc.before(t, r)
			ok(t, l.Commit(t.Context(), []Write{tc.write(l, rev)}))
			if _, exists := s.Get(t, tc.key(r.keys)); exists != tc.exists {
				t.Errorf("exists = %v", exists)
			}
		})
	}
	t.Run("restore a unit that is back", func(t *testing.T) {
		r, s := fresh(t)
		l := leading(t, r)
		submitted(t, r)
		ok(t, l.Commit(t.Context(), []Write{l.RestoreUnit(name, tombstone)}))
		if got := stored[record.Unit](t, s, r.keys.unit(name)); got.Target != unit.TargetLoaded {
			t.Errorf("%+v", got)
		}
	})
}

func TestCampaignEnds(t *testing.T) {
	r, s := fresh(t)
	leading(t, r)
	t.Run("with its context", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { _, err := r.Campaign(ctx, "m2", ttl); done <- err }()
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
		go func() { _, err := r.Campaign(t.Context(), "m2", ttl); done <- err }()
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
		leader := must(r.Campaign(t.Context(), "m", ttl))(t)
		done := make(chan error, 1)
		go func() { _, err := r.Campaign(t.Context(), "m2", ttl); done <- err }()
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
		l := must(r.Campaign(t.Context(), "m", ttl))(t)
		ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := r.Campaign(ctx, "m2", ttl); !errors.Is(err, context.DeadlineExceeded) {
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
	l := must(r.Campaign(t.Context(), "m", ttl))(t)
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

// An etcd that isn't ours takes fewer operations in a transaction. The leader
// finds that out once, and nothing is lost over it.
func TestCommitLearnsHowMuchEtcdTakes(t *testing.T) {
	for name, tt := range map[string]struct {
		server       *etcdtest.Server
		transactions int64 // for 1,000 placements; each has room for what is nested
		said         int
	}{
		"fleetd etcd":      {etcdtest.NewWithTxnOps(t, manyOps), 2, 0},
		"etcd's defaults":  {etcdtest.New(t), 8, 1},
		"a generous other": {etcdtest.NewWithTxnOps(t, 10000), 2, 0},
	} {
		t.Run(name, func(t *testing.T) {
			r, book := connect(t, tt.server.Endpoints(), "/fleet")
			l := leading(t, r)
			for round := range uint64(3) {
				var writes []Write
				for i := range 1000 {
					key, spec := place(unit.Name(fmt.Sprintf("u%d.service", i)))
					spec.Restart = round
					writes = append(writes, l.PutPlacement(key, spec))
				}
				before := tt.server.Revision(t)
				ok(t, l.Commit(t.Context(), writes))
				if n := tt.server.Revision(t) - before; n != tt.transactions {
					t.Errorf("%d transactions, want %d", n, tt.transactions)
				}
			}
			if n := len(tt.server.All(t, r.keys.schedule())); n != 1000 {
				t.Errorf("%d placements", n)
			}
			if n := book.count("few operations"); n != tt.said {
				t.Errorf("said %d times", n)
			}
		})
	}
}
