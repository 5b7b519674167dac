package registry

import (
	"fmt"
	"maps"
	"slices"
	"testing"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"pgregory.net/rapid"
)

// Whatever happens to etcd, by fleet's verbs or by hand, a follower's view is
// what a fresh snapshot would show. Only of a key that holds garbage by now may
// it still know the last readable value.
func TestFollowedViewIsASnapshot(t *testing.T) {
	t.Parallel()
	s := etcd.Server(t)
	rapid.Check(t, func(rt *rapid.T) {
		prefix := etcdtest.Prefix()
		writer, _ := connect(t, s.Endpoints(), prefix)
		link := s.Link(t)
		reader, _ := connect(t, link.Endpoints(), prefix)
		defer link.Cut()
		defer writer.Close()
		defer reader.Close()
		if rapid.Bool().Draw(rt, "something there") {
			_, _, err := writer.SubmitUnit(t.Context(), "a.service", []byte(webUnit), unit.TargetLoaded)
			ok(t, err)
		}
		f := follow(t, reader.Follow)
		defer f.cancel()
		f.wait(t, "the snapshot", func(*record.View) bool { return true })

		for range rapid.IntRange(1, 20).Draw(rt, "ops") {
			operate(rt, t, writer, s, link)
		}
		link.Mend()
		settled(t, rt, s, writer, f)
	})
}

// operate does one thing. Verbs may refuse, for the unit is absent or garbage.
func operate(rt *rapid.T, t *testing.T, r *Registry, s *etcdtest.Server, link *etcdtest.Link) {
	name := unit.Name(rapid.SampledFrom([]string{"a.service", "b@1.service", "c.timer"}).Draw(rt, "unit"))
	id := machine.ID(rapid.SampledFrom([]string{"m1", "m2"}).Draw(rt, "machine"))
	key := record.Key{Machine: id, Unit: name}
	switch op := rapid.SampledFrom([]string{
		"submit", "target", "restart", "restart on", "destroy", "cordon", "place", "state", "machine", "delete", "garbage", "prefix", "compact", "cut", "mend",
	}).Draw(rt, "op"); op {
	case "submit":
		_, _, _ = r.SubmitUnit(t.Context(), name, []byte(rapid.SampledFrom([]string{"", webUnit}).Draw(rt, "text")), unit.TargetLaunched)
	case "target":
		_, _ = r.SetTarget(t.Context(), name, unit.TargetInactive)
	case "restart":
		_, _ = r.RestartUnit(t.Context(), name)
	case "restart on":
		_, _ = r.RestartUnitOn(t.Context(), name, key.Machine, func(machine.ID) bool { return true })
	case "destroy":
		_, _ = r.DestroyUnit(t.Context(), name)
	case "cordon":
		_, _ = r.UpdateOverrides(t.Context(), []machine.ID{id}, func(_ machine.ID, o *record.Overrides) error { o.Cordoned = !o.Cordoned; return nil })
	case "place":
		s.Put(t, r.keys.placement(key), encode(record.Spec{Target: unit.TargetLaunched, Restart: rapid.Uint64Range(0, 3).Draw(rt, "restart")}))
	case "state":
		s.Put(t, r.keys.state(key), encode(state(unit.TargetLaunched)))
	case "machine":
		s.Put(t, r.keys.machine(id), encode(host(id, "b")))
	case "delete", "garbage":
		all := slices.Sorted(maps.Keys(s.All(t, string(r.keys))))
		if len(all) == 0 {
			return
		}
		victim := rapid.SampledFrom(all).Draw(rt, "key")
		if op == "delete" {
			s.Delete(t, victim)
		} else {
			s.Put(t, victim, rapid.SampledFrom([]string{"", "{", "[]", `{"target":1}`, "null "}).Draw(rt, "garbage"))
		}
	case "prefix":
		s.DeletePrefix(t, string(r.keys)+rapid.SampledFrom([]string{"units/", "schedule/m1/", "states/", ""}).Draw(rt, "room"))
	case "compact":
		s.Compact(t)
	case "cut":
		link.Cut()
	case "mend":
		link.Mend()
	}
}

// settled waits for the follower to catch up, and compares.
func settled(t *testing.T, rt *rapid.T, s *etcdtest.Server, r *Registry, f *follower) {
	_, rev, err := r.SubmitUnit(t.Context(), "last.service", fmt.Appendf(nil, "# %d", s.Revision(t)), unit.TargetLoaded)
	if err != nil {
		rt.Fatal(err)
	}
	f.reached(t, rev)
	got, want := f.view(), snapshotted(t, r)
	for key := range s.All(t, string(r.keys)) {
		forgive(r, key, got, want)
	}
	sameView(t, got, want)
	if t.Failed() {
		rt.Fatal("see above")
	}
}

// forgive drops from the followed view what only it can know: keys that exist
// and that the snapshot could not read.
func forgive(r *Registry, key string, got, want *record.View) {
	for _, c := range got.Changes() {
		if keyOf(r.keys, c) != key {
			continue
		}
		for _, w := range want.Changes() {
			if keyOf(r.keys, w) == key {
				return
			}
		}
		switch c := c.(type) {
		case record.FileChange:
			got.Apply(record.FileChange{Hash: c.Hash})
		case record.UnitChange:
			got.Apply(record.UnitChange{Name: c.Name})
		case record.PlacementChange:
			got.Apply(record.PlacementChange{Key: c.Key})
		case record.StateChange:
			got.Apply(record.StateChange{Key: c.Key})
		case record.MachineChange:
			got.Apply(record.MachineChange{ID: c.ID})
		case record.OverridesChange:
			got.Apply(record.OverridesChange{ID: c.ID})
		}
		return
	}
}

func keyOf(k keyspace, c record.Change) string {
	switch c := c.(type) {
	case record.FileChange:
		return k.file(c.Hash)
	case record.UnitChange:
		return k.unit(c.Name)
	case record.PlacementChange:
		return k.placement(c.Key)
	case record.StateChange:
		return k.state(c.Key)
	case record.MachineChange:
		return k.machine(c.ID)
	case record.OverridesChange:
		return k.overrides(c.ID)
	}
	return k.cluster()
}
