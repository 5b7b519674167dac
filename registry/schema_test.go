package registry

import (
	"errors"
	"slices"
	"sync"
	"testing"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// speaking is another fleetd's registry on the same state, of a version that
// speaks that schema.
func speaking(t *testing.T, r *Registry, schema string) *Registry {
	t.Helper()
	other, _ := connect(t, etcd.Server(t).Endpoints(), string(r.keys))
	other.schema = schema
	return other
}

// What a fleetd that speaks one schema does in a cluster of another. It reads,
// joins and follows its schedule wherever the major version is its own.
func TestSchemasOfFleetdAndCluster(t *testing.T) {
	for name, tc := range map[string]struct {
		fleetd, cluster string
		works           bool // follows what it is told (CheckCluster)
		writes          bool // leads, and takes changes
		says            string
	}{
		"the same":                    {"1.2.0", "1.2.0", true, true, ""},
		"another patch":               {"1.2.0", "1.2.7", true, true, ""},
		"a later fleetd":              {"1.2.0", "1.0.0", true, true, ""},
		"an earlier fleetd":           {"1.2.0", "1.3.0", true, false, "it runs this host's units as it is told, but it neither leads nor takes changes: upgrade fleet on this host"},
		"a later fleetd by a major":   {"2.0.0", "1.3.0", false, false, "changes nothing and keeps every unit running: run the fleetd version that the rest of the cluster runs; docs/"},
		"an earlier one by a major":   {"1.3.0", "2.0.0", false, false, "changes nothing and keeps every unit running: run the fleetd version that the rest of the cluster runs: upgrade"},
		"a schema that is no version": {"1.2.0", "new", false, false, "no version"},
	} {
		t.Run(name, func(t *testing.T) {
			first, s := fresh(t)
			r := speaking(t, first, tc.fleetd)
			const text = "[Unit]\nDescription=a\n"
			put := func(name string) (string, string) { // a unit of a later version's, with what this one doesn't know
				key := r.keys.unit(unit.Name(name))
				value := `{"file":"` + string(unit.HashOf([]byte(text))) + `","target":"inactive","priority":{"of":["later"]}}`
				s.Put(t, key, value)
				return key, value
			}
			s.Put(t, r.keys.file(unit.HashOf([]byte(text))), text)
			key, value := put("a.service")
			words := r.keys.overrides("m")
			s.Put(t, words, `{"cordoned":true,"since":"later"}`)
			s.Put(t, r.keys.cluster(), `{"id":"c1","schema":"`+tc.cluster+`","since":"later"}`)

			if err := r.CheckCluster(&record.Cluster{ID: "c1", Schema: tc.cluster}, "c1"); (err == nil) != tc.works {
				t.Errorf("CheckCluster: %v", err)
			}
			refused := func(what string, err error) {
				t.Helper()
				var c *ClusterError
				if tc.writes {
					if err != nil {
						t.Errorf("%s: %v", what, err)
					}
					return
				}
				if !errors.As(err, &c) || !c.OtherSchema {
					t.Errorf("%s: %v", what, err)
				}
				mentions(t, err, tc.says, tc.cluster, "c1")
			}
			refused("AskWriter", r.AskWriter(t.Context()))
			l := leading(t, r)
			refused("EnsureCluster", l.EnsureCluster(t.Context(), "c1"))
			writes := map[string]func() error{
				"SubmitUnit anew": func() error {
					_, _, err := r.SubmitUnit(t.Context(), "b.service", []byte(text), unit.TargetLoaded)
					return err
				},
				"SubmitUnit": func() error {
					_, _, err := r.SubmitUnit(t.Context(), "a.service", []byte(text), unit.TargetLoaded)
					return err
				},
				"SetTarget":   func() error { _, err := r.SetTarget(t.Context(), "a.service", unit.TargetLaunched); return err },
				"RestartUnit": func() error { _, err := r.RestartUnit(t.Context(), "a.service"); return err },
				"RestartUnitOn": func() error {
					_, err := r.RestartUnitOn(t.Context(), "a.service", "m", func(machine.ID) bool { return true })
					return err
				},
				"DestroyUnit": func() error { _, err := r.DestroyUnit(t.Context(), "a.service"); return err },
				"UpdateOverrides": func() error {
					_, err := r.UpdateOverrides(t.Context(), []machine.ID{"m"}, func(_ machine.ID, o *record.Overrides) error {
						o.Metadata = map[string]string{"k": "v"}
						return nil
					})
					return err
				},
				"UpdateOverrides of as many as go together": func() error {
					ids := make([]machine.ID, MaxOverridesTogether)
					for i := range ids {
						ids[i] = machine.ID("m" + string(rune('A'+i)))
					}
					_, err := r.UpdateOverrides(t.Context(), ids, func(_ machine.ID, o *record.Overrides) error { o.Cordoned = true; return nil })
					return err
				},
			}
			for what, write := range writes {
				if tc.writes {
					put("a.service")
				}
				refused(what, write())
			}
			if tc.writes {
				return
			}
			for k, want := range map[string]string{key: value, words: `{"cordoned":true,"since":"later"}`} {
				if got, _ := s.Get(t, k); string(got.Value) != want {
					t.Errorf("%s was %s, is %s", k, want, got.Value)
				}
			}
			if n := len(s.All(t, string(r.keys)+"units/")); n != 1 {
				t.Errorf("%d units", n)
			}
			// Its own machine it tells of all the same.
			p := must(r.Join(t.Context(), machine.Machine{ID: "m", BootID: "b"}, steady))(t)
			ok(t, p.PutStates(t.Context(), map[unit.Name]*record.State{"a.service": {}}))
			if got := stored[machine.Machine](t, s, r.keys.machine("m")); got.Schema != tc.fleetd {
				t.Errorf("the machine says that it speaks %q", got.Schema)
			}
		})
	}
}

// A cluster may become a later one at any moment: also between what a write read
// and what it writes, and together with many others.
func TestRaisedSchemaStopsWritesUnderWay(t *testing.T) {
	r, s := fresh(t)
	s.Put(t, r.keys.cluster(), `{"id":"c1","schema":"1.0.0"}`)
	ok(t, r.AskWriter(t.Context())) // and now it knows
	created, _, err := r.SubmitUnit(t.Context(), "a.service", []byte("[Unit]\n"), unit.TargetInactive)
	if err != nil || !created {
		t.Fatal(err)
	}
	s.Put(t, r.keys.cluster(), `{"id":"c1","schema":"1.0.1"}`) // no reason to refuse, but to ask again
	_, _, err = r.SubmitUnit(t.Context(), "b.service", []byte("[Unit]\n"), unit.TargetInactive)
	ok(t, err)

	s.Put(t, r.keys.cluster(), `{"id":"c1","schema":"1.1.0"}`)
	before := s.All(t, string(r.keys)+"units/")
	var all sync.WaitGroup
	for i := range 50 {
		all.Go(func() {
			_, _, err := r.SubmitUnit(t.Context(), unit.Name("u"+string(rune('A'+i))+".service"), []byte("[Unit]\n"), unit.TargetInactive)
			var c *ClusterError
			if !errors.As(err, &c) {
				t.Errorf("not refused: %v", err)
			}
		})
	}
	all.Wait()
	_, err = r.SetTarget(t.Context(), "a.service", unit.TargetLaunched)
	mentions(t, err, "upgrade fleet on this host")
	_, err = r.UpdateOverrides(t.Context(), []machine.ID{"m"}, func(_ machine.ID, o *record.Overrides) error { o.Cordoned = true; return nil })
	mentions(t, err, "upgrade fleet on this host")
	if got := s.All(t, string(r.keys)+"units/"); len(got) != len(before) {
		t.Errorf("%d units, were %d", len(got), len(before))
	}
	s.Put(t, r.keys.cluster(), `{"id":"c1","schema":"1.0.0"}`) // by hand
	_, err = r.SetTarget(t.Context(), "a.service", unit.TargetLaunched)
	ok(t, err)
}

func TestSchemaToRaise(t *testing.T) {
	for name, tc := range map[string]struct {
		own, cluster string
		machines     []string
		want         string
	}{
		"all speak it":              {"1.2.0", "1.0.0", []string{"1.2.0", "1.2.0"}, "1.2.0"},
		"nobody is there":           {"1.2.0", "1.0.0", nil, "1.2.0"},
		"it is there already":       {"1.2.0", "1.2.0", []string{"1.2.0"}, ""},
		"one is older":              {"1.2.0", "1.0.0", []string{"1.2.0", "1.0.0"}, ""},
		"one says nothing":          {"1.2.0", "1.0.0", []string{"", "1.2.0"}, ""},
		"one is in between":         {"1.2.0", "1.0.0", []string{"1.2.0", "1.1.0"}, "1.1.0"},
		"one is later than this":    {"1.2.0", "1.0.0", []string{"1.3.0"}, "1.2.0"},
		"another patch":             {"1.2.1", "1.2.0", []string{"1.2.1"}, ""},
		"one says rubbish":          {"1.2.0", "1.0.0", []string{"new", "1.2.0"}, ""},
		"the cluster's is rubbish":  {"1.2.0", "old", []string{"1.2.0"}, ""},
		"never from major to major": {"2.0.0", "1.0.0", []string{"2.0.0"}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := &Registry{schema: tc.own}
			if got := r.SchemaToRaise(tc.cluster, slices.Values(tc.machines)); got != tc.want {
				t.Errorf("raises it to %q, want %q", got, tc.want)
			}
		})
	}
}

// The version is raised only if what the leader knew of the cluster still is so.
func TestRaiseSchema(t *testing.T) {
	const old = `{"id": "c1", "schema": "1.0.0"}` // as a person may have put it
	was := record.Cluster{ID: "c1", Schema: "1.0.0"}
	for name, tc := range map[string]struct {
		meanwhile func(t *testing.T, r *Registry, put func(key, value string))
		raised    bool
	}{
		"nothing":         {func(*testing.T, *Registry, func(string, string)) {}, true},
		"a unit":          {func(_ *testing.T, r *Registry, put func(string, string)) { put(r.keys.unit("a.service"), "{}") }, true},
		"a machine comes": {func(_ *testing.T, r *Registry, put func(string, string)) { put(r.keys.machine("n"), "{}") }, false},
		"a machine says":  {func(_ *testing.T, r *Registry, put func(string, string)) { put(r.keys.machine("m"), "{}") }, false},
		"somebody else's": {func(_ *testing.T, r *Registry, put func(string, string)) {
			put(r.keys.cluster(), `{"id":"c2","schema":"1.0.0"}`)
		}, false},
		"raised otherwise": {func(_ *testing.T, r *Registry, put func(string, string)) {
			put(r.keys.cluster(), `{"id":"c1","schema":"1.1.0"}`)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			r, s := fresh(t)
			l := leading(t, r)
			s.Put(t, r.keys.cluster(), old)
			s.Put(t, r.keys.machine("m"), `{"id":"m"}`)
			at := must(r.Revision(t.Context()))(t)
			tc.meanwhile(t, r, func(key, value string) { s.Put(t, key, value) })
			before, _ := s.Get(t, r.keys.cluster())
			raised, err := l.RaiseSchema(t.Context(), was, "1.2.0", at)
			if err != nil || raised != tc.raised {
				t.Fatalf("raised %v, %v", raised, err)
			}
			after, _ := s.Get(t, r.keys.cluster())
			if want := `{"id":"c1","schema":"1.2.0"}`; raised && string(after.Value) != want || !raised && string(after.Value) != string(before.Value) {
				t.Errorf("the cluster is %s", after.Value)
			}
		})
	}
	t.Run("another leads", func(t *testing.T) {
		r, s := fresh(t)
		l := leading(t, r)
		s.Put(t, r.keys.cluster(), old)
		at := must(r.Revision(t.Context()))(t)
		ok(t, l.Resign(t.Context()))
		if raised, err := l.RaiseSchema(t.Context(), was, "1.2.0", at); raised || err != nil && !errors.Is(err, ErrDeposed) {
			t.Errorf("raised %v, %v", raised, err)
		}
	})
}
