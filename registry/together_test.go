package registry

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// held has a registry whose way to etcd lets nothing through until release.
func held(t *testing.T, s *etcdtest.Server, prefix string) (r *Registry, freeze, release func()) {
	t.Helper()
	link := s.Link(t)
	r, _ = connect(t, link.Endpoints(), prefix)
	r.SetRequestTimeout(time.Minute) // what is held up must not be given up
	must(r.Revision(t.Context()))(t)
	return r, link.Freeze, link.Mend
}

// gathered gives how many writes wait for those that are on their way.
func (r *Registry) gathered() int {
	r.together.mu.Lock()
	defer r.together.mu.Unlock()
	return len(r.together.waiting)
}

// busy fills what may be on its way, with units that it names.
func busy(t *testing.T, r *Registry, wg *sync.WaitGroup) {
	t.Helper()
	for i := range writesInFlight {
		wg.Go(func() {
			_, _, err := r.SubmitUnit(t.Context(), unit.Name(fmt.Sprintf("first%d.service", i)), []byte(webUnit), unit.TargetLaunched)
			if err != nil {
				t.Error(err)
			}
		})
		eventually(t, "a write on its way", func() bool {
			r.together.mu.Lock()
			defer r.together.mu.Unlock()
			return r.together.inFlight == i+1 && len(r.together.waiting) == 0
		})
	}
}

// Etcd's revision counts its transactions: a thousand units that come while it
// is busy take as few as their operations fit into.
func TestUnitsThatComeTogetherTakeFewTransactions(t *testing.T) {
	for name, tc := range map[string]struct {
		texts int
		want  int64
	}{
		"one text":    {1, 8},     // 126 units and the text each
		"a text each": {1000, 16}, // 63 of each
	} {
		t.Run(name, func(t *testing.T) {
			s := etcdtest.New(t) // alone: the revision is everybody's
			r, freeze, release := held(t, s, "")
			freeze()
			var wg sync.WaitGroup
			busy(t, r, &wg)
			for i := range 1000 {
				text := fmt.Appendf(nil, "# %d\n%s", i*tc.texts/1000, webUnit)
				wg.Go(func() {
					created, _, err := r.SubmitUnit(t.Context(), unit.Name(fmt.Sprintf("u%d.service", i)), text, unit.TargetLaunched)
					if err != nil || !created {
						t.Errorf("created %v, %v", created, err)
					}
				})
			}
			eventually(t, "the units to gather", func() bool { return r.gathered() == 1000 })
			before := s.Revision(t)
			release()
			wg.Wait()
			if n := s.Revision(t) - before - writesInFlight; n != tc.want {
				t.Errorf("1,000 units took %d transactions, want %d", n, tc.want)
			}
			if v := snapshotted(t, r); len(v.Units) != 1000+writesInFlight || len(v.Files) != tc.texts+1 {
				t.Errorf("%d units and %d texts are stored", len(v.Units), len(v.Files))
			}
		})
	}
}

// In company, each write is what it would be alone.
func TestEachWriteIsItsOwnInCompany(t *testing.T) {
	s := etcd.Server(t)
	r, freeze, release := held(t, s, etcdtest.Prefix())
	other := "[Service]\nExecStart=/bin/other\n"
	for _, name := range []unit.Name{"old.service", "gone.service", "twice.service"} {
		_, _, err := r.SubmitUnit(t.Context(), name, []byte(webUnit), unit.TargetLaunched)
		ok(t, err)
	}
	freeze()
	var wg sync.WaitGroup
	busy(t, r, &wg)
	do := func(what string, want error, write func() error) {
		wg.Go(func() {
			if err := write(); !errors.Is(err, want) {
				t.Errorf("%s: %v, want %v", what, err, want)
			}
		})
	}
	submit := func(name unit.Name, text string, created bool) func() error {
		return func() error {
			got, _, err := r.SubmitUnit(t.Context(), name, []byte(text), unit.TargetLaunched)
			if err == nil && got != created {
				err = fmt.Errorf("created = %v", got)
			}
			return err
		}
	}
	do("a new one", nil, submit("new.service", other, true))
	do("a new text of an old one", nil, submit("old.service", other, false))
	do("the same again", nil, submit("twice.service", webUnit, false))
	do("a new one with a text that is there", nil, submit("like.service", webUnit, true))
	eventually(t, "all to gather", func() bool { return r.gathered() == 4 })
	do("one that is not there", ErrNotFound, func() error { _, err := r.RestartUnit(t.Context(), "none.service"); return err })
	do("a restart", nil, func() error { _, err := r.RestartUnit(t.Context(), "twice.service"); return err })
	do("another restart", nil, func() error { _, err := r.RestartUnit(t.Context(), "twice.service"); return err })
	do("a target", nil, func() error { _, err := r.SetTarget(t.Context(), "gone.service", unit.TargetLoaded); return err })
	release()
	wg.Wait()
	for name, want := range map[unit.Name]record.Unit{
		"new.service":   {File: unit.HashOf([]byte(other)), Target: unit.TargetLaunched},
		"old.service":   {File: unit.HashOf([]byte(other)), Target: unit.TargetLaunched},
		"like.service":  {File: unit.HashOf([]byte(webUnit)), Target: unit.TargetLaunched},
		"twice.service": {File: unit.HashOf([]byte(webUnit)), Target: unit.TargetLaunched, Restart: 2},
		"gone.service":  {File: unit.HashOf([]byte(webUnit)), Target: unit.TargetLoaded, Restart: 1},
	} {
		if got := stored[record.Unit](t, s, r.keys.unit(name)); !got.Equal(want) {
			t.Errorf("%s is %+v, want %+v", name, got, want)
		}
	}
}

// Texts too large to go together go one after the other, and one that etcd
// refuses takes nobody along.
func TestLargeTextsGoAlone(t *testing.T) {
	s := etcd.Server(t)
	r, freeze, release := held(t, s, etcdtest.Prefix())
	freeze()
	var wg sync.WaitGroup
	busy(t, r, &wg)
	for i, size := range []int{10, 900 << 10, 2 << 20, 900 << 10, 10} {
		wg.Go(func() {
			text := "#" + strings.Repeat(fmt.Sprint(i), size)
			_, _, err := r.SubmitUnit(t.Context(), unit.Name(fmt.Sprintf("u%d.service", i)), []byte(text), unit.TargetLoaded)
			if (err != nil) != (size == 2<<20) {
				t.Errorf("a text of %d bytes: %v", size, err)
			}
		})
	}
	eventually(t, "the units to gather", func() bool { return r.gathered() == 5 })
	release()
	wg.Wait()
}

// Who gives up is told that it may have happened; but what still waits then does
// not happen later, and those in whose company it was don't mind.
func TestGivingUpInCompany(t *testing.T) {
	s := etcd.Server(t)
	r, freeze, release := held(t, s, etcdtest.Prefix())
	freeze()
	var wg sync.WaitGroup
	busy(t, r, &wg)
	ctx, cancel := context.WithCancel(t.Context())
	gaveUp := make(chan error, 1)
	go func() {
		_, _, err := r.SubmitUnit(ctx, "impatient.service", []byte(webUnit), unit.TargetLaunched)
		gaveUp <- err
	}()
	wg.Go(func() {
		if _, _, err := r.SubmitUnit(t.Context(), "patient.service", []byte(webUnit), unit.TargetLaunched); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "both to gather", func() bool { return r.gathered() == 2 })
	cancel()
	err := <-gaveUp
	mentions(t, err, "may or may not")
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
	release()
	wg.Wait()
	if _, there := s.Get(t, r.keys.unit("patient.service")); !there {
		t.Error("the patient one's was not written")
	}
	if _, there := s.Get(t, r.keys.unit("impatient.service")); there {
		t.Error("the impatient one's was written after it had been given up")
	}
}

// An etcd may be told to take less at a time than is written together: it gets
// what it refuses one by one.
func TestWhatIsTooMuchTogetherGoesAlone(t *testing.T) {
	s := etcdtest.NewWithTxnOps(t, 16)
	r, freeze, release := held(t, s, "")
	freeze()
	var wg sync.WaitGroup
	busy(t, r, &wg)
	for i := range 50 {
		wg.Go(func() {
			_, _, err := r.SubmitUnit(t.Context(), unit.Name(fmt.Sprintf("u%d.service", i)), []byte(webUnit), unit.TargetLoaded)
			if err != nil {
				t.Error(err)
			}
		})
	}
	eventually(t, "the units to gather", func() bool { return r.gathered() == 50 })
	release()
	wg.Wait()
	if v := snapshotted(t, r); len(v.Units) != 50+writesInFlight {
		t.Errorf("%d units are stored", len(v.Units))
	}
}

// However many ask for the revision while a question is on its way, one more
// question answers them all; and never is an answer older than its question.
func TestRevisionIsAskedTogether(t *testing.T) {
	s := etcd.Server(t)
	r, freeze, release := held(t, s, etcdtest.Prefix())
	freeze()
	var wg sync.WaitGroup
	wg.Go(func() {
		if _, err := r.Revision(t.Context()); err != nil {
			t.Error(err)
		}
	})
	eventually(t, "a question on its way", func() bool {
		r.asking.mu.Lock()
		defer r.asking.mu.Unlock()
		return r.asking.busy && r.asking.next == nil
	})
	s.Put(t, r.keys.cluster(), "{}")
	acknowledged := s.Revision(t)
	for range 100 {
		wg.Go(func() {
			rev, err := r.Revision(t.Context())
			if err != nil || rev < acknowledged {
				t.Errorf("revision %d (%v), though %d was acknowledged before", rev, err, acknowledged)
			}
		})
	}
	eventually(t, "all to wait", func() bool {
		stacks := make([]byte, 1<<22)
		return bytes.Count(stacks[:runtime.Stack(stacks, true)], []byte("(*Registry).Revision(")) == 101
	})
	questions := r.metrics.operations.WithLabelValues(opGet)
	before := testutil.ToFloat64(questions)
	release()
	wg.Wait()
	if n := testutil.ToFloat64(questions) - before; n != 2 {
		t.Errorf("101 askers were answered by %v questions, want 2", n)
	}
}
