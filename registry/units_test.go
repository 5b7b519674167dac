package registry

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

const webUnit = "[Service]\nExecStart=/bin/web\n"

// act is one verb on the unit web.service.
type act struct {
	do    func(context.Context, *Registry) (int64, error)
	err   error
	wrote bool
}

func submit(text string, target unit.Target, created, wrote bool) act {
	return act{do: func(ctx context.Context, r *Registry) (int64, error) {
		got, rev, err := r.SubmitUnit(ctx, "web.service", []byte(text), target)
		if err == nil && got != created {
			err = fmt.Errorf("created = %v", got)
		}
		return rev, err
	}, wrote: wrote}
}

func setTarget(to unit.Target, err error, wrote bool) act {
	return act{do: func(ctx context.Context, r *Registry) (int64, error) { return r.SetTarget(ctx, "web.service", to) }, err: err, wrote: wrote}
}

func restart(err error) act {
	return act{do: func(ctx context.Context, r *Registry) (int64, error) { return r.RestartUnit(ctx, "web.service") }, err: err, wrote: err == nil}
}

func restartOn(id machine.ID, err error, inUse ...machine.ID) act {
	return act{do: func(ctx context.Context, r *Registry) (int64, error) {
		return r.RestartUnitOn(ctx, "web.service", id, func(id machine.ID) bool { return slices.Contains(inUse, id) })
	}, err: err, wrote: err == nil}
}

func destroy(err error) act {
	return act{do: func(ctx context.Context, r *Registry) (int64, error) { return r.DestroyUnit(ctx, "web.service") }, err: err, wrote: err == nil}
}

func TestUnitVerbs(t *testing.T) {
	launched := record.Unit{File: unit.HashOf([]byte(webUnit)), Target: unit.TargetLaunched}
	with := func(change func(*record.Unit)) *record.Unit { u := launched; change(&u); return &u }
	for name, tc := range map[string]struct {
		acts []act
		want *record.Unit
	}{
		"submit": {[]act{submit(webUnit, unit.TargetLaunched, true, true)}, &launched},
		"submit the same again writes nothing": {
			[]act{submit(webUnit, unit.TargetLaunched, true, true), submit(webUnit, unit.TargetLaunched, false, false)}, &launched},
		"submit another target": {
			[]act{submit(webUnit, unit.TargetLoaded, true, true), submit(webUnit, unit.TargetLaunched, false, true)}, &launched},
		"submit another text": {
			[]act{submit("[Service]\n", unit.TargetLaunched, true, true), submit(webUnit, unit.TargetLaunched, false, true)}, &launched},
		"an empty text": {
			[]act{submit("", unit.TargetLaunched, true, true)}, with(func(u *record.Unit) { u.File = unit.HashOf(nil) })},
		"a new text keeps the restarts": {
			[]act{submit("[Service]\n", unit.TargetLaunched, true, true), restart(nil), submit(webUnit, unit.TargetLaunched, false, true)},
			with(func(u *record.Unit) { u.Restart = 1 })},
		"set target": {
			[]act{submit(webUnit, unit.TargetLoaded, true, true), setTarget(unit.TargetLaunched, nil, true)}, &launched},
		"set the same target writes nothing": {
			[]act{submit(webUnit, unit.TargetLaunched, true, true), setTarget(unit.TargetLaunched, nil, false)}, &launched},
		"set target of none":             {[]act{setTarget(unit.TargetLaunched, ErrNotFound, false)}, nil},
		"restart of none":                {[]act{restart(ErrNotFound)}, nil},
		"restart of none on one machine": {[]act{restartOn("a", ErrNotFound)}, nil},
		"restarts on machines": {
			[]act{submit(webUnit, unit.TargetLaunched, true, true), restart(nil), restartOn("a", nil), restartOn("b", nil, "a")},
			with(func(u *record.Unit) { u.Restart, u.RestartOn = 1, map[machine.ID]uint64{"a": 2, "b": 3} })},
		"restarts on machines that are gone are forgotten": {
			[]act{submit(webUnit, unit.TargetLaunched, true, true), restartOn("a", nil), restartOn("b", nil, "c")},
			with(func(u *record.Unit) { u.RestartOn = map[machine.ID]uint64{"b": 2} })},
		"a new text and a new target keep restarts on machines": {
			[]act{submit("[Service]\n", unit.TargetLoaded, true, true), restartOn("a", nil), submit(webUnit, unit.TargetLaunched, false, true),
				submit(webUnit, unit.TargetLaunched, false, false)},
			with(func(u *record.Unit) { u.RestartOn = map[machine.ID]uint64{"a": 1} })},
		"a restart goes on from the highest": {
			[]act{submit(webUnit, unit.TargetLaunched, true, true), restartOn("a", nil), restartOn("a", nil), restart(nil)},
			with(func(u *record.Unit) { u.Restart = 3 })},
		"a stop goes on from the highest": {
			[]act{submit(webUnit, unit.TargetLaunched, true, true), restartOn("a", nil), setTarget(unit.TargetLoaded, nil, true)},
			with(func(u *record.Unit) { u.Target, u.Restart = unit.TargetLoaded, 2 })},
		"destroy of none": {[]act{destroy(ErrNotFound)}, nil},
		"restart counts": {
			[]act{submit(webUnit, unit.TargetLaunched, true, true), restart(nil), restart(nil)}, with(func(u *record.Unit) { u.Restart = 2 })},
		"destroy writes a tombstone": {
			[]act{submit(webUnit, unit.TargetLaunched, true, true), destroy(nil)}, with(func(u *record.Unit) { u.Target = unit.TargetDestroyed })},
		"a tombstone is no unit": {
			[]act{submit(webUnit, unit.TargetLaunched, true, true), destroy(nil),
				destroy(ErrNotFound), restart(ErrNotFound), restartOn("a", ErrNotFound), setTarget(unit.TargetLoaded, ErrNotFound, false)},
			with(func(u *record.Unit) { u.Target = unit.TargetDestroyed })},
		"over a tombstone it is created anew and restarts": {
			[]act{submit(webUnit, unit.TargetLaunched, true, true), destroy(nil), submit(webUnit, unit.TargetLaunched, true, true)},
			with(func(u *record.Unit) { u.Restart = 1 })},
		"over a tombstone it goes on from the highest": {
			[]act{submit(webUnit, unit.TargetLaunched, true, true), restartOn("a", nil), destroy(nil), submit(webUnit, unit.TargetLaunched, true, true)},
			with(func(u *record.Unit) { u.Restart = 2 })},
	} {
		t.Run(name, func(t *testing.T) {
			r, s := fresh(t)
			for i, a := range tc.acts {
				last := latest(r, s, t)
				rev, err := a.do(t.Context(), r)
				if !errors.Is(err, a.err) || a.err == nil && err != nil {
					t.Fatalf("act %d: error %v, want %v", i, err, a.err)
				}
				if wrote := latest(r, s, t) > last; wrote != a.wrote {
					t.Errorf("act %d: wrote = %v", i, wrote)
				}
				if err == nil && rev < latest(r, s, t) {
					t.Errorf("act %d: revision %d, but something was written at %d", i, rev, latest(r, s, t))
				}
			}
			if tc.want == nil {
				if all := s.All(t, string(r.keys)); len(all) > 0 {
					t.Fatalf("%v", all)
				}
				return
			}
			if got := stored[record.Unit](t, s, r.keys.unit("web.service")); !got.Equal(*tc.want) {
				t.Errorf("stored %+v, want %+v", got, *tc.want)
			}
			texts := must(r.Files(t.Context(), []unit.Hash{tc.want.File, unit.HashOf([]byte("other"))}))(t)
			if len(texts) != 1 || unit.HashOf(texts[tc.want.File]) != tc.want.File {
				t.Errorf("texts: %q", texts)
			}
		})
	}
}

// latest gives the latest revision at which a key of the registry was written.
func latest(r *Registry, s *etcdtest.Server, t *testing.T) (rev int64) {
	for _, e := range s.All(t, string(r.keys)) {
		rev = max(rev, e.Modified)
	}
	return rev
}

func TestSubmitRestoresALostText(t *testing.T) {
	r, s := fresh(t)
	h := unit.HashOf([]byte(webUnit))
	for range 2 {
		if _, _, err := r.SubmitUnit(t.Context(), "web.service", []byte(webUnit), unit.TargetLoaded); err != nil {
			t.Fatal(err)
		}
		if got := must(r.Files(t.Context(), []unit.Hash{h}))(t); string(got[h]) != webUnit {
			t.Fatalf("%q", got)
		}
		s.Delete(t, r.keys.file(h))
	}
}

func TestFilesRefusesATextChangedByHand(t *testing.T) {
	r, s := fresh(t)
	h := unit.HashOf([]byte(webUnit))
	s.Put(t, r.keys.file(h), "[Service]\nExecStart=/bin/evil\n")
	if got := must(r.Files(t.Context(), []unit.Hash{h}))(t); len(got) != 0 {
		t.Fatalf("%q", got)
	}
}

func TestFilesMoreThanATransactionHolds(t *testing.T) {
	r, _ := fresh(t)
	want := map[unit.Hash][]byte{}
	var hashes []unit.Hash
	for i := range 2*maxOps + 3 {
		text := fmt.Appendf(nil, "[Service]\nExecStart=/bin/true %d\n", i)
		hashes = append(hashes, unit.HashOf(text))
		want[unit.HashOf(text)] = text
		if _, _, err := r.SubmitUnit(t.Context(), unit.Name(fmt.Sprintf("u%d.service", i)), text, unit.TargetInactive); err != nil {
			t.Fatal(err)
		}
	}
	got := must(r.Files(t.Context(), hashes))(t)
	if !maps.EqualFunc(got, want, func(a, b []byte) bool { return string(a) == string(b) }) {
		t.Fatalf("%d of %d texts", len(got), len(want))
	}
}

func TestConcurrentWritersLoseNothing(t *testing.T) {
	r, s := fresh(t)
	if _, _, err := r.SubmitUnit(t.Context(), "web.service", []byte(webUnit), unit.TargetLaunched); err != nil {
		t.Fatal(err)
	}
	const n = 40
	var wg sync.WaitGroup
	for i := range n {
		wg.Go(func() {
			if _, err := r.RestartUnit(t.Context(), "web.service"); err != nil {
				t.Error(err)
			}
		})
		wg.Go(func() {
			if _, err := r.UpdateOverrides(t.Context(), []machine.ID{"m"}, func(_ machine.ID, o *record.Overrides) error {
				if o.Metadata == nil {
					o.Metadata = map[string]string{}
				}
				o.Metadata[fmt.Sprint(i)] = "x"
				return nil
			}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if got := stored[record.Unit](t, s, r.keys.unit("web.service")).Restart; got != n {
		t.Errorf("%d restarts counted, want %d", got, n)
	}
	if got := stored[record.Overrides](t, s, r.keys.overrides("m")).Metadata; len(got) != n {
		t.Errorf("%d overrides stored, want %d", len(got), n)
	}
}

func TestOneCreatorAmongMany(t *testing.T) {
	r, _ := fresh(t)
	var wg sync.WaitGroup
	created := make(chan bool, 20)
	for range cap(created) {
		wg.Go(func() {
			c, _, err := r.SubmitUnit(t.Context(), "web.service", []byte(webUnit), unit.TargetLaunched)
			if err != nil {
				t.Error(err)
			}
			created <- c
		})
	}
	wg.Wait()
	close(created)
	n := 0
	for c := range created {
		if c {
			n++
		}
	}
	if n != 1 {
		t.Errorf("%d of %d were told that they created the unit", n, cap(created))
	}
}

func TestUpdateOverrides(t *testing.T) {
	r, s := fresh(t)
	now := func() int64 {
		rev, err := r.Revision(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return rev
	}
	refused := errors.New("refused")
	for _, tc := range []struct {
		name   string
		change func(*record.Overrides) error
		err    error
		wrote  bool
	}{
		{"nothing, of nothing", func(*record.Overrides) error { return nil }, nil, false},
		{"refused, of nothing", func(*record.Overrides) error { return refused }, refused, false},
		{"set", func(o *record.Overrides) error { o.Metadata = map[string]string{"disk": "ssd"}; return nil }, nil, true},
		{"set the same in the map it was given", func(o *record.Overrides) error {
			if o.Metadata != nil {
				o.Metadata["disk"] = "ssd"
			}
			return nil
		}, nil, false},
		{"set another in the map it was given", func(o *record.Overrides) error {
			if o.Metadata != nil {
				o.Metadata["disk"] = "hdd"
			}
			return nil
		}, nil, true},
		{"refused", func(o *record.Overrides) error {
			if o.Metadata == nil {
				return nil
			}
			return refused
		}, refused, false},
		{"cordon", func(o *record.Overrides) error { o.Cordoned = true; return nil }, nil, true},
		{"clear", func(o *record.Overrides) error { *o = record.Overrides{}; return nil }, nil, true},
		{"clear again", func(o *record.Overrides) error { *o = record.Overrides{}; return nil }, nil, false},
	} {
		before := now()
		rev, err := r.UpdateOverrides(t.Context(), []machine.ID{"m"}, func(_ machine.ID, o *record.Overrides) error { return tc.change(o) })
		if !errors.Is(err, tc.err) || tc.err == nil && err != nil {
			t.Fatalf("%s: %v", tc.name, err)
		}
		if wrote := now() > before; wrote != tc.wrote {
			t.Errorf("%s: wrote = %v", tc.name, wrote)
		}
		if err == nil && rev < now() {
			t.Errorf("%s: revision %d", tc.name, rev)
		}
	}
	if left := s.All(t, r.keys.overrides("m")); len(left) > 0 {
		t.Errorf("%v is kept though nothing is left to say", left)
	}
}

func TestUpdateOverridesOfManyIsAllOrNothing(t *testing.T) {
	r, s := fresh(t)
	var ids []machine.ID
	for i := range MaxOverridesTogether {
		ids = append(ids, machine.ID(fmt.Sprintf("m%03d", i)))
	}
	set := func(value string, refuse machine.ID) func(machine.ID, *record.Overrides) error {
		return func(id machine.ID, o *record.Overrides) error {
			o.Metadata = map[string]string{"disk": value}
			if id == refuse {
				return errors.New("refused")
			}
			return nil
		}
	}
	before := latest(r, s, t)
	if _, err := r.UpdateOverrides(t.Context(), ids, set("ssd", ids[len(ids)-1])); err == nil || latest(r, s, t) != before {
		t.Errorf("%v; wrote: %v", err, latest(r, s, t) != before)
	}
	if _, err := r.UpdateOverrides(t.Context(), append(ids, "one-more"), set("ssd", "")); err == nil || latest(r, s, t) != before {
		t.Errorf("one too many: %v; wrote: %v", err, latest(r, s, t) != before)
	}
	// Two at once, over each other: one comes after the other on every machine.
	var wg sync.WaitGroup
	for _, value := range []string{"ssd", "hdd"} {
		wg.Go(func() {
			if _, err := r.UpdateOverrides(t.Context(), ids, set(value, "")); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	first := stored[record.Overrides](t, s, r.keys.overrides(ids[0])).Metadata["disk"]
	for _, id := range ids {
		if got := stored[record.Overrides](t, s, r.keys.overrides(id)).Metadata["disk"]; got != first || got == "" {
			t.Fatalf("%s has %q, %s has %q", id, got, ids[0], first)
		}
	}
}

func TestUnreadableUnitIsNamed(t *testing.T) {
	r, s := fresh(t)
	s.Put(t, r.keys.unit("web.service"), "{")
	_, err := r.RestartUnit(t.Context(), "web.service")
	mentions(t, err, r.keys.unit("web.service"), "cannot read")
}

// A text that is submitted again stops nothing, whoever has started the unit
// meanwhile; another text does.
func TestSubmitWithoutTarget(t *testing.T) {
	r, _ := fresh(t)
	for _, step := range []struct {
		text         string
		target, want unit.Target
	}{
		{"a", "", unit.TargetInactive},
		{"a", unit.TargetLaunched, unit.TargetLaunched},
		{"a", "", unit.TargetLaunched},
		{"b", "", unit.TargetInactive},
	} {
		_, _, err := r.SubmitUnit(t.Context(), "a.service", []byte(step.text), step.target)
		ok(t, err)
		view := snapshotted(t, r)
		if got := view.Units["a.service"]; got.Target != step.want || got.File != unit.HashOf([]byte(step.text)) {
			t.Errorf("%+v: it is %+v", step, got)
		}
	}
}
