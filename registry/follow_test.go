package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync"
	"testing"

	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func seeded(t *testing.T, r *Registry, from, to int) (rev int64) {
	t.Helper()
	for i := from; i < to; i++ {
		_, at, err := r.SubmitUnit(t.Context(), unit.Name(fmt.Sprintf("u%d.service", i)), []byte(webUnit), unit.TargetLoaded)
		ok(t, err)
		rev = at
	}
	return rev
}

// snapshotted gives what a new follower would begin with.
func snapshotted(t testing.TB, r *Registry) *record.View {
	t.Helper()
	return must(r.snapshot(t.Context(), []keyRange{prefixed(string(r.keys))}))(t)
}

func sameView(t testing.TB, got, want *record.View) {
	t.Helper()
	a, b := copyOf(got), copyOf(want)
	a.Revision, b.Revision = 0, 0
	if diff := cmp.Diff(b, a); diff != "" {
		t.Errorf("the followed view (+) differs from a fresh snapshot (-):\n%s", diff)
	}
}

func TestFollowTellsASnapshotThenEveryChangeInOrder(t *testing.T) {
	r, _ := fresh(t)
	seeded(t, r, 0, 3)
	f := follow(t, r.Follow)
	f.wait(t, "the snapshot", func(v *record.View) bool { return len(v.Units) == 3 })
	var rev int64
	for range 20 {
		rev = must(r.RestartUnit(t.Context(), "u1.service"))(t)
	}
	f.reached(t, rev)
	var restarts []uint64
	for _, c := range f.changes() {
		u := c.(record.UnitChange)
		if u.Old == nil || u.New.Restart != u.Old.Restart+1 {
			t.Errorf("from %+v to %+v", u.Old, u.New)
		}
		restarts = append(restarts, u.New.Restart)
	}
	if len(restarts) != 20 || restarts[19] != 20 {
		t.Errorf("restarts in the order told: %v", restarts)
	}
	for i, u := range f.all() {
		if u.Reset != (i == 0) || u.Reset && u.Changes != nil {
			t.Errorf("update %d: %+v", i, u)
		}
	}
	sameView(t, f.view(), snapshotted(t, r))
}

func TestFollowStartsOverAfterCompaction(t *testing.T) {
	s := etcd.Server(t)
	for name, lose := range map[string]func(*etcdtest.Link){"cut": (*etcdtest.Link).Cut, "frozen": (*etcdtest.Link).Freeze} {
		t.Run(name, func(t *testing.T) {
			link := s.Link(t)
			prefix := etcdtest.Prefix()
			writer, _ := connect(t, s.Endpoints(), prefix)
			reader, _ := connect(t, link.Endpoints(), prefix)
			seeded(t, writer, 0, 1)
			f := follow(t, reader.Follow)
			f.wait(t, "the snapshot", func(v *record.View) bool { return len(v.Units) == 1 })
			lose(link)
			seeded(t, writer, 1, 3)
			_, err := writer.DestroyUnit(t.Context(), "u0.service")
			ok(t, err)
			s.Delete(t, writer.keys.unit("u2.service"))
			s.Compact(t)
			if name == "frozen" {
				link.Cut() // what the frozen connection holds back is lost
			}
			link.Mend()
			f.wait(t, "a second snapshot", func(v *record.View) bool { return len(v.Units) == 2 })
			if n := f.resets(); n != 2 {
				t.Errorf("%d resets", n)
			}
			rev := seeded(t, writer, 3, 4)
			f.reached(t, rev)
			sameView(t, f.view(), snapshotted(t, writer))
		})
	}
}

func TestFollowASlowFollowerMissesNothing(t *testing.T) {
	r, s := fresh(t)
	seeded(t, r, 0, 1)
	f := follow(t, r.Follow)
	f.wait(t, "the snapshot", func(v *record.View) bool { return len(v.Units) == 1 })
	resume := f.pause()
	rev := seeded(t, r, 1, 50)
	s.Compact(t)
	resume()
	f.reached(t, rev)
	sameView(t, f.view(), snapshotted(t, r))
}

func TestFollowOutlivesEtcd(t *testing.T) {
	t.Parallel()
	s := etcdtest.New(t)
	r, _ := connect(t, s.Endpoints(), "")
	seeded(t, r, 0, 2)
	f, m := follow(t, r.Follow), follow(t, func(ctx context.Context, fn func(Update) error) error { return r.FollowMachine(ctx, "m", fn) })
	f.wait(t, "the snapshot", func(v *record.View) bool { return len(v.Units) == 2 })
	m.wait(t, "the snapshot", func(*record.View) bool { return true })
	s.Stop()
	s.Start(t)
	s.Put(t, r.keys.placement(record.Key{Machine: "m", Unit: "u0.service"}), `{"target":"loaded"}`)
	for _, f := range []*follower{f, m} {
		f.wait(t, "the placement", func(v *record.View) bool { return len(v.Schedule) == 1 })
		if n := f.resets(); n != 1 {
			t.Errorf("%d resets for an etcd that lost nothing", n)
		}
	}
}

// An etcd that lost everything is at an earlier revision: its watches would be
// silent until it is as far again. The lease is gone too, and that is noticed.
func TestFollowAnEtcdThatLostItsData(t *testing.T) {
	t.Parallel()
	s := etcdtest.New(t)
	r, _ := connect(t, s.Endpoints(), "")
	seeded(t, r, 0, 50)
	f, m := follow(t, r.Follow), follow(t, func(ctx context.Context, fn func(Update) error) error { return r.FollowMachine(ctx, "m", fn) })
	running(t, must(r.Join(t.Context(), host("m", "b"), ttl))(t))
	f.wait(t, "the machine", func(v *record.View) bool { return len(v.Machines) == 1 })
	m.wait(t, "the snapshot", func(*record.View) bool { return true })
	s.Wipe(t)
	s.Start(t)
	f.wait(t, "an empty cluster", func(v *record.View) bool { return len(v.Units) == 0 && len(v.Machines) == 1 })
	s.Put(t, r.keys.placement(record.Key{Machine: "m", Unit: "u0.service"}), `{"target":"loaded"}`)
	m.wait(t, "a placement", func(v *record.View) bool { return len(v.Schedule) == 1 })
}

// An etcd that is restored from a backup is at an earlier revision, too, but has the
// leases that it had: nobody is told that anything was lost.
func TestFollowAnEtcdThatWasRestored(t *testing.T) {
	t.Parallel()
	s := etcdtest.New(t)
	r, book := connect(t, s.Endpoints(), "")
	seeded(t, r, 0, 2)
	running(t, must(r.Join(t.Context(), host("m", "b"), ttl))(t))
	saved := s.Save(t)
	seeded(t, r, 2, 50)
	f, m := follow(t, r.Follow), follow(t, func(ctx context.Context, fn func(Update) error) error { return r.FollowMachine(ctx, "m", fn) })
	f.wait(t, "all units", func(v *record.View) bool { return len(v.Units) == 50 })
	m.wait(t, "the snapshot", func(*record.View) bool { return true })
	s.Restore(t, saved)
	s.Start(t)
	f.wait(t, "the units of the backup", func(v *record.View) bool { return len(v.Units) == 2 })
	s.Put(t, r.keys.placement(record.Key{Machine: "m", Unit: "u0.service"}), `{"target":"loaded"}`)
	m.wait(t, "a placement", func(v *record.View) bool { return len(v.Schedule) == 1 })
	if n := book.count("history went back"); n != 1 {
		t.Errorf("said %d times that etcd went back", n)
	}
}

func TestFollowWaitsForEtcd(t *testing.T) {
	t.Parallel()
	s := etcdtest.New(t)
	s.Stop()
	r, book := connect(t, s.Endpoints(), "")
	if r.Health() == nil {
		t.Error("etcd never answered, and yet its health is good")
	}
	f := follow(t, r.Follow)
	s.Start(t)
	f.wait(t, "the snapshot", func(v *record.View) bool { return v.Revision > 0 })
	ok(t, r.Health())
	s.Stop()
	eventually(t, "the loss is noted", func() bool { _, err := r.Revision(t.Context()); return err != nil && r.Health() != nil })
	_, _ = r.Revision(t.Context())
	s.Start(t)
	eventually(t, "etcd is back", func() bool { _, err := r.Revision(t.Context()); return err == nil && r.Health() == nil })
	if lost, back := book.count("lost touch"), book.count("in touch"); lost != 1 || back != 1 {
		t.Errorf("said %d times that etcd is lost and %d times that it is back", lost, back)
	}
}

func TestRequestProgress(t *testing.T) {
	r, s := fresh(t)
	f := follow(t, r.Follow)
	f.wait(t, "the snapshot", func(*record.View) bool { return true })
	s.Put(t, "/elsewhere", "x")
	rev := must(r.Revision(t.Context()))(t)
	// A watch that is not at the head yet answers no request: callers repeat it.
	eventually(t, "a callback with the later revision", func() bool {
		ok(t, r.RequestProgress(t.Context()))
		return f.view().Revision >= rev
	})
	for _, c := range f.changes() {
		t.Errorf("a change: %+v", c)
	}
}

func TestFollowSkipsWhatItCannotReadAndSaysSoOnce(t *testing.T) {
	s := etcd.Server(t)
	r, book := connect(t, s.Endpoints(), etcdtest.Prefix())
	rev := seeded(t, r, 0, 1)
	garbage := []string{
		r.keys.unit("bad.service"), r.keys.unit("no-unit's-name"), r.keys.unit("../escape.service"), r.keys.schedule() + "m", r.keys.states() + "/u.service",
		r.keys.machine("m"), r.keys.machine(""), r.keys.overrides("m"), r.keys.cluster(), r.keys.file("beef"),
	}
	for _, key := range garbage {
		s.Put(t, key, "{garbage")
	}
	s.Put(t, string(r.keys)+"unknown/room", "{garbage") // of a later version: no matter
	f, g := follow(t, r.Follow), follow(t, r.Follow)
	for _, f := range []*follower{f, g} {
		f.wait(t, "the snapshot", func(v *record.View) bool { return v.Revision > rev })
		if n := len(f.view().Changes()); n != 2 {
			t.Errorf("%d changes make the view: %+v", n, f.view())
		}
	}
	s.Put(t, r.keys.unit("u0.service"), "{garbage")
	rev = seeded(t, r, 1, 2)
	for _, f := range []*follower{f, g} {
		f.reached(t, rev)
		if len(f.view().Units) != 2 {
			t.Errorf("garbage took a unit away: %+v", f.view().Units)
		}
	}
	for _, key := range append(garbage, r.keys.unit("u0.service")) {
		if n := book.count("etcd key " + key + " holds"); n != 1 {
			t.Errorf("said %d times that %s is unreadable", n, key)
		}
	}
	if n := book.count("unknown"); n != 0 {
		t.Errorf("complained about a room of another version")
	}
}

func TestFollowEnds(t *testing.T) {
	shared := etcd.Server(t)
	before := goleak.IgnoreCurrent()
	r, err := Dial(Config{Endpoints: shared.Endpoints(), Prefix: etcdtest.Prefix()})
	ok(t, err)
	mine := errors.New("mine")
	for name, run := range map[string]func(context.Context, func(Update) error) error{
		"whole":   r.Follow,
		"machine": func(ctx context.Context, fn func(Update) error) error { return r.FollowMachine(ctx, "m", fn) },
	} {
		t.Run(name, func(t *testing.T) {
			if err := run(t.Context(), func(Update) error { return mine }); err != mine {
				t.Errorf("with fn's error on the snapshot: %v", err)
			}
			var putting sync.WaitGroup
			if err := run(t.Context(), func(u Update) error {
				if u.Reset {
					putting.Go(func() {
						shared.Put(t, r.keys.placement(record.Key{Machine: "m", Unit: "a.service"}), `{"target":"loaded"}`)
					})
					return nil
				}
				return mine
			}); err != mine {
				t.Errorf("with fn's error on a change: %v", err)
			}
			putting.Wait()
			ctx, cancel := context.WithCancel(t.Context())
			if err := run(ctx, func(Update) error { cancel(); return nil }); err != context.Canceled {
				t.Errorf("with ctx: %v", err)
			}
		})
	}
	// clientv3 keeps its stream for the next watch. What is ours has ended.
	stacks := make([]byte, 1<<20)
	if stacks = stacks[:runtime.Stack(stacks, true)]; bytes.Contains(stacks, []byte("registry.forward(")) {
		t.Errorf("a follower left a goroutine behind:\n%s", stacks)
	}
	ok(t, r.Close())
	goleak.VerifyNone(t, before)
}

func TestFollowMachineSeesOnlyItsOwn(t *testing.T) {
	r, s := fresh(t)
	rev := seeded(t, r, 0, 2)
	fill := func(id string) {
		s.Put(t, string(r.keys)+"machines/"+id, `{"id":"`+id+`"}`)
		s.Put(t, string(r.keys)+"metadata/"+id, `{"cordoned":true}`)
		s.Put(t, string(r.keys)+"schedule/"+id+"/u0.service", `{"target":"loaded"}`)
		s.Put(t, string(r.keys)+"states/"+id+"/u0.service", `{"target":"loaded"}`)
	}
	check := func(states int) func(v *record.View) bool {
		return func(v *record.View) bool {
			if len(v.Units)+len(v.Files)+len(v.Overrides)+len(v.Machines) > 0 || len(v.Schedule) > 1 || len(v.States) > states {
				t.Fatalf("too much: %+v", v)
			}
			_, told := v.Schedule[record.Key{Machine: "m", Unit: "u0.service"}]
			return v.Cluster != nil && told && len(v.States) == states
		}
	}
	s.Put(t, r.keys.cluster(), `{"id":"c","schema":"1.0.0"}`)
	f := follow(t, func(ctx context.Context, fn func(Update) error) error { return r.FollowMachine(ctx, "m", fn) })
	f.reached(t, rev)
	for _, id := range []string{"m1", "m", "l", "mm"} {
		fill(id)
	}
	f.wait(t, "its own keys", check(0))
	again := follow(t, func(ctx context.Context, fn func(Update) error) error { return r.FollowMachine(ctx, "m", fn) })
	again.wait(t, "its own keys in a snapshot", check(1))
	s.Delete(t, r.keys.cluster())
	f.wait(t, "the cluster key's loss", func(v *record.View) bool { return v.Cluster == nil && len(v.Schedule) == 1 })
}
