package registry

import (
	"errors"
	"testing"

	"github.com/fleet-project/fleet/registry/record"
)

func TestEnsureCluster(t *testing.T) {
	r, s := fresh(t)
	l := leading(t, r)
	trouble := func(err error, what ...string) {
		t.Helper()
		var c *ClusterError
		if !errors.As(err, &c) || c.Remedy == "" {
			t.Errorf("%v is no ClusterError with a remedy", err)
		}
		mentions(t, err, append(what, r.keys.cluster())...)
	}
	ok(t, l.EnsureCluster(t.Context(), ""))
	made := stored[record.Cluster](t, s, r.keys.cluster())
	if len(made.ID) != 32 || made.Schema != schema {
		t.Errorf("made %+v", made)
	}
	second := leading2(t, r, l)
	ok(t, second.EnsureCluster(t.Context(), ""))
	ok(t, second.EnsureCluster(t.Context(), made.ID))
	if got := stored[record.Cluster](t, s, r.keys.cluster()); got != made {
		t.Errorf("the second engine made it %+v", got)
	}
	trouble(second.EnsureCluster(t.Context(), "feed"), "feed", string(made.ID), "etcdctl put")

	s.Put(t, r.keys.cluster(), "{")
	mentions(t, second.EnsureCluster(t.Context(), ""), r.keys.cluster(), "cannot read")

	s.Delete(t, r.keys.cluster())
	trouble(second.EnsureCluster(t.Context(), made.ID), string(made.ID), "gone", "etcdctl put")
	s.Put(t, r.keys.schedule()+"m/a.service", "{}")
	trouble(second.EnsureCluster(t.Context(), ""), "schedule", "journalctl")
	if _, there := s.Get(t, r.keys.cluster()); there {
		t.Error("an established cluster got a second id")
	}
}

// leading2 takes over from a leader.
func leading2(t *testing.T, r *Registry, from *Leadership) *Leadership {
	t.Helper()
	ok(t, from.Resign(t.Context()))
	return leading(t, r)
}

func TestCheckCluster(t *testing.T) {
	r := &Registry{keys: DefaultPrefix}
	sound := &record.Cluster{ID: "c1", Schema: schema}
	for name, tc := range map[string]struct {
		found *record.Cluster
		known record.ClusterID
		says  []string // nothing: all is well
	}{
		"first sight":         {sound, "", nil},
		"the known one":       {sound, "c1", nil},
		"a later minor":       {&record.Cluster{ID: "c1", Schema: "1.9.0"}, "c1", nil},
		"not made yet":        {nil, "", []string{"does not exist yet", "disable_engine"}},
		"gone":                {nil, "c1", []string{"is gone", `etcdctl put /_coreos.com/fleet/cluster '{"id":"c1","schema":"1.0.0"}'`}},
		"another":             {sound, "c2", []string{"cluster c1", "cluster c2", `etcdctl put /_coreos.com/fleet/cluster '{"id":"c2","schema":"1.0.0"}'`}},
		"another major":       {&record.Cluster{ID: "c1", Schema: "2.0.0"}, "c1", []string{"schema 2.0.0", "upgrade fleet on this host"}},
		"an earlier major":    {&record.Cluster{ID: "c1", Schema: "0.9.0"}, "c1", []string{"schema 0.9.0", "docs/reliability.md#versions"}},
		"no schema":           {&record.Cluster{ID: "c1"}, "c1", []string{`schema ""`}},
		"a schema of rubbish": {&record.Cluster{ID: "c1", Schema: "one.two.three"}, "", []string{"one.two.three"}},
	} {
		t.Run(name, func(t *testing.T) {
			err := r.CheckCluster(tc.found, tc.known)
			if (err == nil) != (tc.says == nil) {
				t.Errorf("%v", err)
			}
			mentions(t, err, tc.says...)
		})
	}
}
