package registry

import (
	"encoding/json"
	"errors"
	"reflect"
	"testing"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

const space = keyspace(DefaultPrefix)

func TestEveryRecordSurvivesItsKey(t *testing.T) {
	cluster := record.Cluster{ID: "c", Schema: schema}
	u := record.Unit{File: "beef", Target: unit.TargetLaunched, Restart: 7}
	spec := record.Spec{Target: unit.TargetLoaded, File: "beef", Restart: 1}
	st := record.State{Spec: spec, SystemdState: unit.SystemdState{Load: "loaded", Active: "failed", Sub: "failed", Result: "exit-code"}, Error: "no\n\"such\" <file>\x00"}
	m := machine.Machine{
		ID: "m", BootID: "b", Hostname: "h", IP: "::1", Metadata: map[string]string{"ö": "=,"}, Version: "1", Leaving: true,
		Capacity: machine.Capacity{CPUs: 2, MemoryBytes: 1 << 40}, Manager: machine.Manager{Scope: "user", Systemctl: []string{"systemctl", "--user"}},
	}
	o := record.Overrides{Metadata: map[string]string{"a": ""}, Removed: []string{"b"}, Cordoned: true}
	key := record.Key{Machine: "m", Unit: `a@b-\x2d:1.service`}
	for name, tc := range map[string]struct {
		key, value string
		want, gone record.Change
	}{
		"cluster":   {space.cluster(), encode(cluster), record.ClusterChange{New: &cluster}, record.ClusterChange{Old: &cluster}},
		"file":      {space.file(unit.HashOf([]byte("x"))), "x", record.FileChange{Hash: unit.HashOf([]byte("x")), Text: []byte("x")}, record.FileChange{Hash: unit.HashOf([]byte("x"))}},
		"no text":   {space.file(unit.HashOf(nil)), "", record.FileChange{Hash: unit.HashOf(nil), Text: []byte{}}, record.FileChange{Hash: unit.HashOf(nil)}},
		"unit":      {space.unit(key.Unit), encode(u), record.UnitChange{Name: key.Unit, New: &u}, record.UnitChange{Name: key.Unit, Old: &u}},
		"placement": {space.placement(key), encode(spec), record.PlacementChange{Key: key, New: &spec}, record.PlacementChange{Key: key, Old: &spec}},
		"state":     {space.state(key), encode(st), record.StateChange{Key: key, New: &st}, record.StateChange{Key: key, Old: &st}},
		"machine":   {space.machine("m"), encode(m), record.MachineChange{ID: "m", New: &m}, record.MachineChange{ID: "m", Old: &m}},
		"overrides": {space.overrides("m"), encode(o), record.OverridesChange{ID: "m", New: &o}, record.OverridesChange{ID: "m", Old: &o}},
	} {
		t.Run(name, func(t *testing.T) {
			view := record.NewView()
			kv := &mvccpb.KeyValue{Key: []byte(tc.key), Value: []byte(tc.value)}
			if c := must(space.change(kv, true, view))(t); c != nil {
				t.Errorf("the loss of what was never known: %+v", c)
			}
			got := must(space.change(kv, false, view))(t)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
			view.Apply(got)
			if n := len(view.Changes()); n != 1 {
				t.Errorf("%d changes in the view", n)
			}
			gone := must(space.change(&mvccpb.KeyValue{Key: kv.Key}, true, view))(t)
			if diff := cmp.Diff(tc.gone, gone); diff != "" {
				t.Error(diff)
			}
			view.Apply(gone)
			if n := len(view.Changes()); n != 0 {
				t.Errorf("%d changes in the view", n)
			}
		})
	}
}

// Equal values give equal bytes: guards compare them.
func TestEncodeIsCanonical(t *testing.T) {
	u := record.Unit{File: "beef", Target: unit.TargetDestroyed, Restart: 2}
	kv := &mvccpb.KeyValue{Key: []byte(space.unit("a.service")), Value: []byte(encode(u))}
	c := must(space.change(kv, false, record.NewView()))(t)
	if got := encode(*c.(record.UnitChange).New); got != encode(u) {
		t.Errorf("%s became %s", encode(u), got)
	}
}

func TestDialCompletesThePrefix(t *testing.T) {
	for prefix, want := range map[string]keyspace{"": DefaultPrefix, "/x": "/x/", "/x/": "/x/", "/": "/"} {
		r, _ := connect(t, []string{"127.0.0.1:1"}, prefix)
		if r.keys != want {
			t.Errorf("%q became %q", prefix, r.keys)
		}
	}
}

func TestBatches(t *testing.T) {
	put := func(bytes int) clientv3.Op { return clientv3.OpPut("k", string(make([]byte, bytes-1))) }
	many := func(n int, w ...clientv3.Op) (out []Write) {
		for range n {
			out = append(out, Write{ops: w})
		}
		return out
	}
	for name, tc := range map[string]struct {
		writes []Write
		want   []int
	}{
		"none":                      {nil, nil},
		"one":                       {many(1, put(1)), []int{1}},
		"as many as fit":            {many(maxOps, put(1)), []int{maxOps}},
		"one more":                  {many(maxOps+1, put(1)), []int{maxOps, 1}},
		"pairs stay together":       {append(many(1, put(1)), many(maxOps/2, put(1), put(1))...), []int{maxOps / 2, 1}},
		"large ones":                {many(5, put(maxBytes/2)), []int{2, 2, 1}},
		"one larger than all":       {many(2, put(2*maxBytes)), []int{1, 1}},
		"a large one in the middle": {append(append(many(2, put(1)), many(1, put(2*maxBytes))...), many(2, put(1))...), []int{2, 1, 2}},
	} {
		t.Run(name, func(t *testing.T) {
			var got []int
			for b := range batches(tc.writes, maxOps, func(w Write) []clientv3.Op { return w.ops }) {
				got = append(got, len(b))
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// Whatever somebody has stored is read, or refused, as encoding/json would.
func FuzzDecode(f *testing.F) {
	for _, value := range []string{
		encode(runningState), `{"file":"beef","target":"loaded","restart":2,"restartOn":{"m":3}}`,
		`{"target":"loaded","Target":"launched","FILE":"beef"}`, `{"target":"loaded","target":"launched"}`, // the last one counts, in any case
		"{\"error\":\"\xff\",\"log\":\"\\ud800 \\u00e9\"}", ` { "new" : [ { } ] , "target" : null } `, `null`, `{"restartOn":{"m":1,"m":2}}`,
		`{"restart":-1}`, `{"restart":1e3}`, `{"restart":01}`, `{"restart":18446744073709551616}`, `{"target":7}`, `{"target":"loaded"`, `{} {}`, `[]`, ``,
		`{"id":"m","metadata":{"a":null},"capacity":{"cpus":1.0},"manager":{"systemctl":["a",null]}}`, `{"removed":["a"],"removed":[],"cordoned":"true"}`,
	} {
		f.Add([]byte(value))
	}
	f.Fuzz(func(t *testing.T, value []byte) {
		decodesAsEncodingJSON[record.Unit](t, value)
		decodesAsEncodingJSON[record.Spec](t, value)
		decodesAsEncodingJSON[record.State](t, value)
		decodesAsEncodingJSON[machine.Machine](t, value)
		decodesAsEncodingJSON[record.Overrides](t, value)
	})
}

func decodesAsEncodingJSON[T any](t *testing.T, value []byte) {
	t.Helper()
	got, err := decode[T](&mvccpb.KeyValue{Value: value}, false)
	want := new(T)
	if wantErr := json.Unmarshal(value, want); (err != nil) != (wantErr != nil) {
		t.Fatalf("%q: %v, encoding/json has %v", value, err, wantErr)
	}
	if err == nil && !reflect.DeepEqual(got, want) {
		t.Fatalf("%q is read as %+v, by encoding/json as %+v", value, got, want)
	}
}

func FuzzChange(f *testing.F) {
	for _, key := range []string{
		"cluster", "cluster/x", "leader/1", "files/", "units/a.service", "units/../a.service", "schedule/m/a.service", "schedule/m", "schedule//",
		"states/m/a@1.service", "machines/m", "machines/", "metadata/m", "", "/", "units",
	} {
		f.Add(DefaultPrefix+key, []byte(`{"target":"loaded"}`), false)
		f.Add(DefaultPrefix+key, []byte("null"), true)
	}
	f.Fuzz(func(t *testing.T, key string, value []byte, gone bool) {
		view := record.NewView()
		kv := &mvccpb.KeyValue{Key: []byte(key), Value: value}
		space.owner(kv.Key)
		c, err := space.change(kv, gone, view)
		if err != nil && c != nil || gone && (c != nil || err != nil) {
			t.Fatalf("change %+v with error %v", c, err)
		}
		if c == nil {
			return
		}
		view.Apply(c)
		if len(view.Changes()) != 1 {
			t.Fatalf("%q gave %+v, which leaves no trace", key, c)
		}
		if again := keyOf(space, view.Changes()[0]); again != key {
			t.Fatalf("%q was read as %q", key, again)
		}
		lost, err := space.change(kv, true, view)
		if view.Apply(lost); err != nil || len(view.Changes()) != 0 {
			t.Fatalf("%q cannot be lost again: %+v, %v", key, lost, err)
		}
	})
}

func TestNotedTellsAnAnswerFromSilence(t *testing.T) {
	r, s := fresh(t)
	_, err := r.keepAliveOnce(t.Context(), 1)
	if err == nil || r.Health() != nil {
		t.Errorf("a lease that etcd doesn't know: %v, health %v", err, r.Health())
	}
	s.Compact(t)
	if _, err := r.page(t.Context(), "/", prefixed("/"), 1, 1); err == nil {
		t.Error("read a revision that was compacted")
	}
	if _, _, err := r.SubmitUnit(t.Context(), "a.service", make([]byte, 1<<21-1<<10), unit.TargetLoaded); err == nil || r.Health() != nil {
		t.Errorf("a text too large for etcd: %v, health %v", err, r.Health())
	}
	if err := r.noted(t.Context(), errors.New("silence")); r.Health() != err {
		t.Errorf("health %v", r.Health())
	}
}
