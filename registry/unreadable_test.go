package registry

import (
	"context"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// What another program has put over a sound value is named, counted and skipped:
// what was there before counts, also if the new value is sound JSON.
func TestCorruptedValuesChangeNothing(t *testing.T) {
	s := etcd.Server(t)
	metrics, book, log := prometheus.NewRegistry(), &logbook{}, logrus.New()
	log.SetOutput(book)
	r, err := Dial(Config{Endpoints: s.Endpoints(), Prefix: etcdtest.Prefix(), Metrics: metrics, Log: logrus.NewEntry(log)})
	ok(t, err)
	t.Cleanup(func() { r.Close() })
	key := record.Key{Machine: "m", Unit: "a.service"}
	text := []byte("[Service]\n")
	sound := map[string]string{
		r.keys.cluster():               encode(record.Cluster{ID: "c", Schema: schema}),
		r.keys.file(unit.HashOf(text)): string(text),
		r.keys.unit("a.service"):       encode(record.Unit{File: unit.HashOf(text), Target: unit.TargetLaunched}),
		r.keys.placement(key):          encode(record.Spec{File: unit.HashOf(text), Target: unit.TargetLaunched}),
		r.keys.state(key):              encode(record.State{Spec: record.Spec{Target: unit.TargetLaunched}}),
		r.keys.machine("m"):            encode(machine.Machine{ID: "m"}),
		r.keys.overrides("m"):          encode(record.Overrides{Cordoned: true}),
	}
	for key, value := range sound {
		s.Put(t, key, value)
	}
	f := follow(t, r.Follow)
	f.wait(t, "all of it", func(v *record.View) bool { return len(v.Changes()) == len(sound) })
	before := copyOf(f.view())

	bad := []string{"", "{garbage", "[]", `"x"`, "7", "\xff\xfe\x00", `{"target":7,"id":7,"metadata":7}`, strings.Repeat("x", 1<<20)}
	// Sound JSON that means nothing; where is what it means nothing for.
	worse := map[string][]string{
		"null":                  {"cluster", "units", "schedule", "machines"},
		"{}":                    {"cluster", "units", "schedule", "machines"},
		`{"target":"bogus"}`:    {"cluster", "units", "schedule", "states", "machines"},
		`{"target":"Launched"}`: {"units", "schedule", "states"},
		`{"target":"none"}`:     {"units"},
		`{"target":"inactive"}`: {"schedule"},
		`{"id":"another"}`:      {"machines", "units", "schedule"},
	}
	for key := range sound {
		t.Run(strings.TrimPrefix(key, string(r.keys)), func(t *testing.T) {
			room, _ := r.keys.split([]byte(key))
			values := slices.Clone(bad)
			for value, where := range worse {
				if slices.Contains(where, room) {
					values = append(values, value)
				}
			}
			for _, value := range values {
				said := book.count("etcd key " + key + " holds")
				s.Put(t, key, value)
				f.reached(t, latest(r, s, t))
				if diff := cmp.Diff(before, f.view(), cmpopts.IgnoreFields(record.View{}, "Revision")); diff != "" {
					t.Errorf("%.40q changed the view: %s", value, diff)
				}
				if book.count("etcd key "+key+" holds") != said+1 {
					t.Errorf("%.40q was not said", value)
				}
				if got := valueOf(t, metrics, "fleet_registry_unreadable_keys", ""); got != 1 {
					t.Errorf("%.40q: %v keys are unreadable", value, got)
				}
			}
			s.Put(t, key, sound[key])
			f.reached(t, latest(r, s, t))
			if got := valueOf(t, metrics, "fleet_registry_unreadable_keys", ""); got != 0 {
				t.Errorf("%v keys are unreadable, and all were put right", got)
			}
		})
	}
}

// All that an agent says of units is read, whatever became of its instruction.
func TestWhatAgentsSayIsPlausible(t *testing.T) {
	for name, target := range map[string]unit.Target{
		"nothing was carried out yet": "", "nothing could be": unit.TargetInactive, "taken away": unit.TargetNone,
		"loaded": unit.TargetLoaded, "launched": unit.TargetLaunched,
	} {
		t.Run(name, func(t *testing.T) {
			if err := plausible(&record.State{Spec: record.Spec{Target: target}}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A key that nobody follows until it is gone is not counted for ever.
func TestUnreadableKeyIsForgottenWithIt(t *testing.T) {
	r, s := fresh(t)
	s.Put(t, r.keys.unit("a.service"), "null")
	s.Put(t, r.keys.unit("b.service"), "null")
	ctx, end := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- r.Follow(ctx, func(Update) error { end(); return nil }) }()
	<-done
	if n := r.unsounds.Load(); n != 2 {
		t.Errorf("%d are unreadable", n)
	}
	s.Delete(t, r.keys.unit("a.service"))
	f := follow(t, r.Follow)
	f.wait(t, "the snapshot", func(*record.View) bool { return true })
	if n := r.unsounds.Load(); n != 1 {
		t.Errorf("%d are unreadable, and one was deleted", n)
	}
	s.Delete(t, r.keys.unit("b.service"))
	f.reached(t, must(r.Revision(t.Context()))(t))
	if n := r.unsounds.Load(); n != 0 {
		t.Errorf("%d are unreadable, and both were deleted", n)
	}
}

// What can't be read can't be changed, but submitted anew, and destroyed: that needs
// no etcdctl.
func TestUnreadableUnitIsMendedOrDestroyed(t *testing.T) {
	for _, value := range []string{"{", "null", `{"file":"beef","target":"bogus"}`} {
		t.Run(value, func(t *testing.T) {
			r, s := fresh(t)
			name, key := unit.Name("web.service"), r.keys.unit("web.service")
			s.Put(t, key, value)
			_, restarted := r.RestartUnit(t.Context(), name)
			_, loaded := r.SetTarget(t.Context(), name, unit.TargetLoaded)
			_, alone := r.RestartUnitOn(t.Context(), name, "m", func(machine.ID) bool { return true })
			for _, err := range []error{restarted, loaded, alone} {
				mentions(t, err, key, "cannot read", "submit the unit anew, or destroy it")
			}
			if e, _ := s.Get(t, key); e.Value != value {
				t.Errorf("it became %s", e.Value)
			}
			_, _, err := r.SubmitUnit(t.Context(), name, []byte("[Service]\n"), unit.TargetLoaded)
			ok(t, err)
			if u := stored[record.Unit](t, s, key); u.Target != unit.TargetLoaded || u.File == "" {
				t.Errorf("submitted anew: %+v", u)
			}
			s.Put(t, key, value)
			_, err = r.DestroyUnit(t.Context(), name)
			ok(t, err)
			if u := stored[record.Unit](t, s, key); u.Target != unit.TargetDestroyed {
				t.Errorf("destroyed: %+v", u)
			}
		})
	}
}

func TestSubmitRestoresACorruptedText(t *testing.T) {
	r, s := fresh(t)
	text := []byte(strings.Repeat("# as large as they come\n", 40_000))
	_, _, err := r.SubmitUnit(t.Context(), "a.service", text, unit.TargetLoaded)
	ok(t, err)
	s.Put(t, r.keys.file(unit.HashOf(text)), "something else")
	_, rev, err := r.SubmitUnit(t.Context(), "a.service", text, unit.TargetLoaded)
	ok(t, err)
	if e, _ := s.Get(t, r.keys.file(unit.HashOf(text))); e.Value != string(text) || e.Modified != rev {
		t.Errorf("the text is %.20q of revision %d, submitted at %d", e.Value, e.Modified, rev)
	}
}

// A key that is no candidate's must not hold up an election: it would for ever.
func TestStrayKeyHoldsUpNoElection(t *testing.T) {
	r, s := fresh(t)
	s.Put(t, r.keys.leader()+"/nobody", "garbage")
	first := leading(t, r)
	second := standing(t, r, "m2")
	eventually(t, "the second stands", func() bool { return candidates(t, r, s) == 2 })
	// The leader's own key, overwritten, which takes it off its lease.
	s.Put(t, first.term.key, "garbage")
	if err := first.Commit(t.Context(), []Write{first.PutPlacement(place("a.service"))}); !errors.Is(err, ErrDeposed) {
		t.Errorf("a leader whose key somebody has overwritten: %v", err)
	}
	ok(t, first.Resign(t.Context()))
	third := standing(t, r, "m")
	select {
	case l := <-second:
		ok(t, l.Resign(t.Context()))
		ok(t, (<-third).Resign(t.Context()))
	case l := <-third:
		ok(t, l.Resign(t.Context()))
		ok(t, (<-second).Resign(t.Context()))
	}
}

// Also when a host begins with it.
func TestJoinOverAPresenceThatSomebodyHasWritten(t *testing.T) {
	for _, value := range []string{"{", "null", `{"id":"another"}`} {
		r, s := fresh(t)
		s.Put(t, r.keys.machine("m"), value)
		p := must(r.Join(t.Context(), host("m", "b"), steady))(t)
		if m := stored[machine.Machine](t, s, r.keys.machine("m")); m.BootID != "b" {
			t.Errorf("%s: it joined as %+v", value, m)
		}
		ok(t, p.Leave(t.Context()))
	}
}

// Nor when it is overwritten so that it stays on the host's lease.
func TestPresenceIsPutRightOnItsLease(t *testing.T) {
	r, s := fresh(t)
	p := must(r.Join(t.Context(), host("m", "b"), steady))(t)
	ctx, end := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- p.Run(ctx) }()
	defer func() { end(); <-ended }()
	key := r.keys.machine("m")
	if _, err := s.Client(t).Put(t.Context(), key, "{", clientv3.WithIgnoreLease()); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is put right", func() bool {
		e, there := s.Get(t, key)
		return there && e.Value == encode(p.Machine())
	})
}

// A leader that doesn't know what a unit was restores it from what its machine says
// of it, over rubbish too, but not over what another version may have written.
func TestRestoredOverRubbish(t *testing.T) {
	for value, restored := range map[string]bool{"{": true, "null": true, `{"target":"paused"}`: false, `{"file":"f00d","target":"inactive"}`: false} {
		t.Run(value, func(t *testing.T) {
			r, s := fresh(t)
			key := r.keys.unit("a.service")
			s.Put(t, key, value)
			l := leading(t, r)
			f := follow(t, r.Follow)
			f.wait(t, "the snapshot", func(*record.View) bool { return true })
			ok(t, l.Commit(t.Context(), []Write{l.RestoreUnit("a.service", record.Unit{File: "beef", Target: unit.TargetLoaded})}))
			if e, _ := s.Get(t, key); (e.Value != value) != restored {
				t.Errorf("it is %s", e.Value)
			}
			f.reached(t, latest(r, s, t))
			if n := r.unsounds.Load(); restored && n != 0 {
				t.Errorf("%d are unreadable still", n)
			}
		})
	}
}
