package registry

import (
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
)

// TestRestore follows a cluster through its restore: what of a backup is held back,
// and what it becomes when its machines have said what they run.
func TestRestore(t *testing.T) {
	r, s := fresh(t)
	k := r.keys
	for key, value := range map[string]string{
		"cluster": `{"id":"c1","schema":"1.0.0"}`, "leader/1": "m1", "files/f": "x", "metadata/m1": "{}",
		"machines/m1": `{"id":"m1","hostname":"n1","ip":"10.0.0.1"}`, "schedule/m2/a.service": `{"target":"launched","file":"f"}`,
		"states/m1/a.service": `{"target":"launched"}`,
		"units/a.service":     `{"file":"f","target":"launched"}`, // ran on m2, and does on m1
		"units/b.service":     `{"file":"f","target":"loaded","restart":1}`,
		"units/c.service":     `{"file":"f","target":"launched"}`,
		"units/d.service":     `{"file":"f","target":"inactive"}`,
	} {
		s.Put(t, string(k)+key, value)
	}
	read := func(of KeyRange) (found []KeyValue, err error) {
		for key, e := range s.All(t, string(k)) {
			if key == of.Key || of.End != "" && key > of.Key && key < of.End {
				found = append(found, KeyValue{key, e.Value})
			}
		}
		return found, nil
	}
	for range 2 { // the second is of a backup that was made meanwhile
		remove, put, err := HoldBack(string(k), read)
		ok(t, err)
		for _, gone := range remove {
			for _, kv := range must(read(gone))(t) {
				s.Delete(t, kv.Key)
			}
		}
		s.Put(t, put.Key, put.Value)
	}
	var left []string
	for key := range s.All(t, string(k)) {
		left = append(left, strings.TrimPrefix(key, string(k)))
	}
	slices.Sort(left)
	if d := cmp.Diff([]string{"files/f", "metadata/m1", "restored", "units/a.service", "units/b.service", "units/c.service", "units/d.service"}, left); d != "" {
		t.Error(d)
	}
	// An engine on a host that knows no cluster yet must not found another.
	var trouble *ClusterError
	if err := leading(t, r).EnsureCluster(t.Context(), ""); !errors.As(err, &trouble) || !strings.Contains(trouble.Remedy, "--finish") {
		t.Errorf("an engine that finds a restore says %v", err)
	}

	for key, value := range map[string]string{
		"machines/m1":         `{"id":"m1","hostname":"n1"}`,
		"states/m1/a.service": `{"target":"launched","file":"f"}`,
		"states/m1/b.service": `{"target":"launched","file":"f","restart":3}`, // started after the backup
		"states/m1/d.service": `{"target":"loaded","file":"f"}`,
		"states/m1/e.service": `{"target":"launched","file":"g"}`, // handed in after the backup
	} {
		s.Put(t, string(k)+key, value)
	}
	held, view, err := r.Restoring(t.Context())
	ok(t, err)
	if d := cmp.Diff(map[machine.ID]string{"m2": "m2"}, held.Missing(view)); d != "" {
		t.Errorf("missing: %s", d)
	}
	is := held.Reality(view)
	if d := cmp.Diff(Reality{
		Run:     map[unit.Name]record.Unit{"b.service": {File: "f", Target: unit.TargetLaunched, Restart: 3}},
		Unknown: []unit.Name{"e.service"}, Again: []unit.Name{"c.service"},
	}, is); d != "" {
		t.Error(d)
	}
	ok(t, r.FinishRestore(t.Context(), held, is))
	if got := stored[record.Cluster](t, s, k.cluster()); got != (record.Cluster{ID: "c1", Schema: "1.0.0"}) {
		t.Errorf("the cluster is %+v", got)
	}
	if got := stored[record.Unit](t, s, k.unit("b.service")); got.Target != unit.TargetLaunched {
		t.Errorf("a unit that runs is to be %s", got.Target)
	}
	if _, _, err := r.Restoring(t.Context()); !errors.Is(err, ErrNotRestoring) {
		t.Errorf("finished, and %v", err)
	}
}

func TestHoldBackOfNothing(t *testing.T) {
	_, _, err := HoldBack(etcdtest.Prefix(), func(KeyRange) ([]KeyValue, error) { return nil, nil })
	mentions(t, err, "no cluster of fleet's", "etcd_key_prefix")
}

// restoring is a cluster with two units that run, though its backup has them stopped.
func restoring(t *testing.T) (*Registry, *etcdtest.Server) {
	t.Helper()
	r, s := fresh(t)
	k := r.keys
	for _, kv := range [][2]string{
		{k.unit("a.service"), `{"file":"f","target":"loaded"}`}, {k.unit("b.service"), `{"file":"f","target":"loaded"}`},
		{k.restored(), `{"cluster":{"id":"c1","schema":"1.0.0"},"machines":{"m1":"n1"}}`},
		{k.machine("m1"), `{"id":"m1"}`},
		{k.statesOf("m1") + "a.service", `{"target":"launched","file":"f"}`}, {k.statesOf("m1") + "b.service", `{"target":"launched","file":"f"}`},
	} {
		s.Put(t, kv[0], kv[1])
	}
	return r, s
}

// What people want of a unit while a cluster is restored is newer than its backup.
func TestRestoreAndWhatIsWrittenMeanwhile(t *testing.T) {
	for _, tt := range []struct {
		name  string
		write func(*testing.T, *Registry, *etcdtest.Server) error
		want  unit.Target
	}{
		{"stopped", func(t *testing.T, r *Registry, _ *etcdtest.Server) error {
			_, err := r.SetTarget(t.Context(), "a.service", unit.TargetInactive)
			return err
		}, unit.TargetInactive},
		{"destroyed", func(t *testing.T, r *Registry, _ *etcdtest.Server) error {
			_, err := r.DestroyUnit(t.Context(), "a.service")
			return err
		}, unit.TargetDestroyed},
		{"deleted by hand", func(t *testing.T, r *Registry, s *etcdtest.Server) error {
			s.Delete(t, r.keys.unit("a.service"))
			return nil
		}, ""},
	} {
		check := func(t *testing.T, r *Registry, s *etcdtest.Server) {
			t.Helper()
			held, view, err := r.Restoring(t.Context())
			ok(t, err)
			is := held.Reality(view)
			if _, touched := is.Run["a.service"]; touched {
				t.Error("what was written is to be undone")
			}
			ok(t, r.FinishRestore(t.Context(), held, is))
			var a record.Unit
			if e, there := s.All(t, r.keys.unit("a.service"))[r.keys.unit("a.service")]; there {
				ok(t, json.Unmarshal([]byte(e.Value), &a))
			}
			if b := stored[record.Unit](t, s, r.keys.unit("b.service")); a.Target != tt.want || b.Target != unit.TargetLaunched {
				t.Errorf("a.service is to be %q, b.service %q", a.Target, b.Target)
			}
		}
		t.Run(tt.name+" before it is read", func(t *testing.T) {
			r, s := restoring(t)
			ok(t, tt.write(t, r, s))
			check(t, r, s)
		})
		t.Run(tt.name+" after", func(t *testing.T) {
			r, s := restoring(t)
			held, view, err := r.Restoring(t.Context())
			ok(t, err)
			ok(t, tt.write(t, r, s))
			if err := r.FinishRestore(t.Context(), held, held.Reality(view)); !errors.Is(err, ErrWrittenMeanwhile) || !strings.Contains(err.Error(), "[a.service]") {
				t.Errorf("finished: %v", err)
			}
			if _, there := s.All(t, r.keys.cluster())[r.keys.cluster()]; there {
				t.Error("the cluster goes on by what was read before")
			}
			check(t, r, s)
		})
	}
}

func TestFinishRestoreTwice(t *testing.T) {
	r, s := restoring(t)
	held, view, err := r.Restoring(t.Context())
	ok(t, err)
	is := held.Reality(view)
	ok(t, r.FinishRestore(t.Context(), held, is))
	_, err = r.SetTarget(t.Context(), "a.service", unit.TargetInactive)
	ok(t, err)
	before := s.All(t, string(r.keys))
	for what, is := range map[string]Reality{"units to write": is, "none": {}} {
		if err := r.FinishRestore(t.Context(), held, is); !errors.Is(err, ErrNotRestoring) {
			t.Errorf("the second, with %s: %v", what, err)
		}
	}
	// Nor by what was read in a restore before this one.
	s.Put(t, r.keys.restored(), encode(held))
	if err := r.FinishRestore(t.Context(), held, is); !errors.Is(err, ErrNotRestoring) {
		t.Errorf("of another restore: %v", err)
	}
	s.Delete(t, r.keys.restored())
	if d := cmp.Diff(before, s.All(t, string(r.keys))); d != "" {
		t.Errorf("it wrote: %s", d)
	}
}
