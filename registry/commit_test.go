package registry

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	clientv3 "go.etcd.io/etcd/client/v3"
)

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
