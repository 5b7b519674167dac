package registry

import (
	"context"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/etcdmodel"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
)

// slowEtcd is a model of etcd that can have a write arrive long after it was given
// up.
type slowEtcd struct {
	store *etcdmodel.Store
	delay bool // the next writes
	late  []func()
	done  func() // is called when the next request is done, before its answer is there
}

func (s *slowEtcd) send(writes bool, do func()) error {
	if s.delay && writes {
		s.late = append(s.late, do)
		return context.DeadlineExceeded
	}
	do()
	if then := s.done; then != nil {
		s.done = nil
		then()
	}
	return nil
}

// arrive has the delayed writes arrive.
func (s *slowEtcd) arrive() {
	for _, do := range s.late {
		do()
	}
	s.late = nil
}

func overSlowEtcd(t *testing.T) (*slowEtcd, *Registry) {
	s := &slowEtcd{store: etcdmodel.New(time.Unix(1e9, 0))}
	client := &etcdmodel.Client{Store: s.store, Send: s.send}
	return s, Over(Model{KV: client, Lease: client, Watcher: etcdmodel.Silent{}, Clock: realClock{}}, Config{})
}

// said gives what etcd holds of a machine's words.
func said(t *testing.T, r *Registry, id machine.ID) map[unit.Name]record.State {
	t.Helper()
	u, err := r.FeedOfMachine(id).Snapshot(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	out := map[unit.Name]record.State{}
	for k, s := range u.View.States {
		out[k.Unit] = s
	}
	return out
}

func TestAnOldWordNeverOvertakesANewerOne(t *testing.T) {
	ctx := t.Context()
	state := func(target unit.Target) *record.State { return &record.State{Spec: record.Spec{Target: target}} }
	for name, then := range map[string]func(t *testing.T, s *slowEtcd, r *Registry, p *Presence) *Presence{
		"before the next write": func(_ *testing.T, s *slowEtcd, _ *Registry, p *Presence) *Presence { s.arrive(); return p },
		"after it":              func(_ *testing.T, _ *slowEtcd, _ *Registry, p *Presence) *Presence { return p },
		"and the next is late, too": func(t *testing.T, _ *slowEtcd, _ *Registry, p *Presence) *Presence {
			if err := p.PutStates(ctx, map[unit.Name]*record.State{"a.service": state(unit.TargetLoaded)}); err == nil {
				t.Error("it was written")
			}
			return p
		},
		"after a new fleetd has joined": func(t *testing.T, s *slowEtcd, r *Registry, p *Presence) *Presence {
			s.delay = false
			next, err := r.Join(ctx, p.Machine(), 10*time.Second)
			if err != nil || !next.Resumed() {
				t.Fatal("it doesn't resume", err)
			}
			return next
		},
	} {
		t.Run(name, func(t *testing.T) {
			s, r := overSlowEtcd(t)
			p, err := r.Join(ctx, machine.Machine{ID: "m", BootID: "b"}, 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			s.delay = true
			if err := p.PutStates(ctx, map[unit.Name]*record.State{"a.service": state(unit.TargetNone)}); err == nil {
				t.Fatal("it was written")
			}
			p = then(t, s, r, p)
			s.delay = false
			if err := p.PutStates(ctx, map[unit.Name]*record.State{"a.service": state(unit.TargetLaunched), "b.service": state(unit.TargetLoaded)}); err != nil {
				t.Fatal(err)
			}
			s.arrive()
			want := map[unit.Name]record.State{"a.service": *state(unit.TargetLaunched), "b.service": *state(unit.TargetLoaded)}
			if diff := cmp.Diff(want, said(t, r, "m")); diff != "" {
				t.Errorf("etcd holds (-want +got)\n%s", diff)
			}
		})
	}
}

// An acknowledgement that is said anew, of another withdrawal, is not forgotten because
// the engine has taken note of the one before.
func TestAnAcknowledgementSaidAnewIsNotForgotten(t *testing.T) {
	ctx := t.Context()
	s, r := overSlowEtcd(t)
	p, err := r.Join(ctx, machine.Machine{ID: "m", BootID: "b"}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	none := map[unit.Name]*record.State{"a.service": {Spec: record.Spec{Target: unit.TargetNone}}}
	ok(t, p.PutStates(ctx, none))
	s.store.Delete(p.r.keys.state(record.Key{Machine: "m", Unit: "a.service"})) // as the engine does
	s.done = func() { ok(t, p.PutStates(ctx, none)) }
	ok(t, p.settle(ctx, []unit.Name{"a.service"}))
	ok(t, p.flush(ctx))
	for where, states := range map[string]map[unit.Name]record.State{"etcd": said(t, r, "m"), "what is to be said": p.said()} {
		if _, there := states["a.service"]; !there {
			t.Errorf("it is not in %s: %v", where, states)
		}
	}
	ok(t, p.settle(ctx, []unit.Name{"a.service"}))
	if states := p.said(); len(states) > 0 {
		t.Errorf("it is never forgotten: %v", states)
	}
}

// What an earlier fleetd had on its way may come while the next one joins: that knows
// of it, as it knows of what was there before.
func TestWordsThatComeDuringAJoinAreKnown(t *testing.T) {
	ctx := t.Context()
	s, r := overSlowEtcd(t)
	p, err := r.Join(ctx, machine.Machine{ID: "m", BootID: "b"}, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	state := func(target unit.Target) *record.State { return &record.State{Spec: record.Spec{Target: target}} }
	ok(t, p.PutStates(ctx, map[unit.Name]*record.State{"a.service": state(unit.TargetLoaded), "b.service": state(unit.TargetLoaded)}))
	s.delay = true
	if err := p.PutStates(ctx, map[unit.Name]*record.State{"a.service": state(unit.TargetLaunched), "b.service": nil, "c.service": state(unit.TargetNone)}); err == nil {
		t.Fatal("it was written")
	}
	s.delay, s.done = false, s.arrive // once its successor has read
	next, err := r.Join(ctx, machine.Machine{ID: "m", BootID: "b"}, 10*time.Second)
	if err != nil || !next.Resumed() {
		t.Fatal("it doesn't resume", err)
	}
	if diff := cmp.Diff(said(t, r, "m"), next.said()); diff != "" || len(next.said()) != 2 {
		t.Errorf("etcd holds (-), the next fleetd knows (+)\n%s", diff)
	}
}

// A presence key that somebody touched is this machine's again, with what it says.
func TestWordsOutliveATouchedPresence(t *testing.T) {
	ctx := t.Context()
	for name, touch := range map[string]func(s *etcdmodel.Store, key string){
		"deleted":     func(s *etcdmodel.Store, key string) { s.Delete(key) },
		"overwritten": func(s *etcdmodel.Store, key string) { s.Put(key, `{"id":"m"}`) },
	} {
		t.Run(name, func(t *testing.T) {
			s, r := overSlowEtcd(t)
			p, err := r.Join(ctx, machine.Machine{ID: "m", BootID: "b"}, 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			key := r.keys.machine("m")
			touch(s.store, key)
			if err := p.PutStates(ctx, map[unit.Name]*record.State{"a.service": {}}); err != nil {
				t.Fatal(err)
			}
			kv := s.store.Get(key)
			if len(said(t, r, "m")) != 1 || kv == nil || kv.Lease != int64(p.lease) {
				t.Errorf("etcd holds %v, presence %v", said(t, r, "m"), kv)
			}
		})
	}
}

// Somebody deletes the presence key of a machine whose fleetd is down. The next
// fleetd says nothing of units that are as etcd has them: it must keep them there.
func TestWordsOutliveTheLeaseOfADeletedPresence(t *testing.T) {
	ctx := t.Context()
	s, r := overSlowEtcd(t)
	m := machine.Machine{ID: "m", BootID: "b"}
	first, err := r.Join(ctx, m, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	if err := first.PutStates(ctx, map[unit.Name]*record.State{"a.service": {}}); err != nil {
		t.Fatal(err)
	}
	s.store.Delete(r.keys.machine("m"))
	next, err := r.Join(ctx, m, 10*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	for at := range 3 { // the first lease ends
		s.store.Advance(time.Unix(1e9+int64(at)*5, 0))
		if _, err := next.Renew(ctx); err != nil {
			t.Fatal(err)
		}
	}
	if got := said(t, r, "m"); len(got) != 1 {
		t.Errorf("etcd holds %v", got)
	}
}
