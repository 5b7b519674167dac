package registry

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// present is one running presence with two launched units, whose link to etcd
// can be cut.
type present struct {
	*Presence
	s    *etcdtest.Server
	link *etcdtest.Link
	stop func()
}

// newPresent is a machine that has said something, and keeps its lease.
func newPresent(t *testing.T, ttl time.Duration) *present {
	t.Helper()
	s := etcd.Server(t)
	link := s.Link(t)
	r, _ := connect(t, link.Endpoints(), etcdtest.Prefix())
	p := &present{Presence: joined(t, r, host("m", "b"), ttl), s: s, link: link}
	p.stop = running(t, p.Presence)
	for _, name := range []unit.Name{"a.service", "b.service"} {
		put(t, p.Presence, name, state(unit.TargetLaunched))
	}
	// Until its own watch runs, the guard doesn't guard.
	rev := s.Revision(t)
	probe := p.key("probe.service")
	s.Put(t, probe, "{}")
	p.mu.Lock()
	p.states["probe.service"] = *state(unit.TargetLoaded)
	p.mu.Unlock()
	s.Delete(t, probe)
	eventually(t, "the guard is awake", func() bool { e, ok := s.Get(t, probe); return ok && e.Modified > rev+2 })
	put(t, p.Presence, "probe.service", nil)
	return p
}

func (p *present) key(name unit.Name) string {
	return p.r.keys.state(record.Key{Machine: "m", Unit: name})
}

// whole reports whether etcd holds the presence and exactly these states, all
// on the presence's lease.
func (p *present) whole(t *testing.T, names ...unit.Name) bool {
	t.Helper()
	all := p.s.All(t, string(p.r.keys.statesOf("m")))
	e, there := p.s.Get(t, p.r.keys.machine("m"))
	p.mu.Lock()
	defer p.mu.Unlock()
	if !there || e.Lease != p.lease || len(all) != len(names) {
		return false
	}
	for _, name := range names {
		if e, there := all[p.key(name)]; !there || e.Lease != p.lease {
			return false
		}
	}
	return true
}

func TestPresencePutsBack(t *testing.T) {
	for name, harm := range map[string]func(t *testing.T, p *present){
		"a deleted presence":    func(t *testing.T, p *present) { p.s.Delete(t, p.r.keys.machine("m")) },
		"a deleted state":       func(t *testing.T, p *present) { p.s.Delete(t, p.key("a.service")) },
		"all, deleted":          func(t *testing.T, p *present) { p.s.DeletePrefix(t, string(p.r.keys)) },
		"a revoked lease":       func(t *testing.T, p *present) { p.s.Revoke(t, p.lease) },
		"a presence off lease":  func(t *testing.T, p *present) { p.s.Put(t, p.r.keys.machine("m"), encode(host("m", "b"))) },
		"a presence of garbage": func(t *testing.T, p *present) { p.s.Put(t, p.r.keys.machine("m"), "{") },
		"what was deleted during an outage": func(t *testing.T, p *present) {
			p.link.Cut()
			p.s.DeletePrefix(t, string(p.r.keys))
			p.s.Compact(t)
			p.link.Mend()
		},
		"what a lease that ended in an outage took along": func(t *testing.T, p *present) {
			p.link.Freeze()
			p.s.Revoke(t, p.lease)
			p.link.Cut()
			p.link.Mend()
		},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPresent(t, steady)
			if !p.whole(t, "a.service", "b.service") {
				t.Fatalf("%+v", p.s.All(t, string(p.r.keys)))
			}
			harm(t, p)
			eventually(t, "all is back", func() bool { return p.whole(t, "a.service", "b.service") })
		})
	}
}

// The engine deletes an acknowledgement together with the instruction. One that
// vanished otherwise is still to be read.
func TestPresenceAndAcknowledgements(t *testing.T) {
	for name, tc := range map[string]struct {
		harm func(t *testing.T, p *present, ack, placement string)
		back bool
	}{
		"taken note of": {func(t *testing.T, p *present, ack, placement string) { p.s.Delete(t, placement, ack) }, false},
		"taken note of during an outage": {func(t *testing.T, p *present, ack, placement string) {
			p.link.Cut()
			p.s.Delete(t, placement, ack)
			p.s.Compact(t)
			p.link.Mend()
		}, false},
		"deleted by hand":     {func(t *testing.T, p *present, ack, _ string) { p.s.Delete(t, ack) }, true},
		"gone with its lease": {func(t *testing.T, p *present, _, _ string) { p.s.Revoke(t, p.lease) }, true},
		"noted, and the lease": {func(t *testing.T, p *present, ack, placement string) {
			p.link.Cut()
			p.s.Delete(t, placement, ack)
			p.s.Revoke(t, p.lease)
			p.link.Mend()
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newPresent(t, steady)
			ack, placement := p.key("old.service"), p.r.keys.placement(record.Key{Machine: "m", Unit: "old.service"})
			p.s.Put(t, placement, `{"target":"none"}`)
			put(t, p.Presence, "old.service", state(unit.TargetNone))
			tc.harm(t, p, ack, placement)
			if tc.back {
				eventually(t, "it is back", func() bool { return p.whole(t, "a.service", "b.service", "old.service") })
				return
			}
			eventually(t, "it is forgotten", func() bool { _, held := p.said()["old.service"]; return !held })
			eventually(t, "the rest is whole", func() bool { return p.whole(t, "a.service", "b.service") })
		})
	}
}

func TestPresenceAfterAnOutage(t *testing.T) {
	t.Parallel()
	s := etcdtest.New(t)
	r, _ := connect(t, s.Endpoints(), "")
	joinedOnce := joined(t, r, host("m", "b"), steady)
	p := &present{Presence: joinedOnce, s: s}
	running(t, p.Presence)
	put(t, p.Presence, "a.service", state(unit.TargetLaunched))
	put(t, p.Presence, "b.service", state(unit.TargetLaunched))
	s.Stop()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if err := p.PutStates(ctx, map[unit.Name]*record.State{"a.service": nil, "c.service": state(unit.TargetLoaded)}); err == nil {
		t.Error("states were published to an etcd that is down")
	}
	eventually(t, "the loss is noted", func() bool { return r.Health() != nil })
	s.Start(t)
	eventually(t, "the outage's states", func() bool { return p.whole(t, "b.service", "c.service") })
	if p.lease != joinedOnce.lease {
		t.Error("the lease outlived the outage and yet was replaced")
	}
}

func TestPresenceOutageLongerThanTheTTL(t *testing.T) {
	t.Parallel()
	p := newPresent(t, ttl)
	p.link.Cut()
	eventually(t, "the lease runs out", func() bool { return len(p.s.All(t, string(p.r.keys))) == 0 })
	_ = p.PutStates(t.Context(), map[unit.Name]*record.State{"a.service": nil})
	p.link.Mend()
	eventually(t, "all is back", func() bool { return p.whole(t, "b.service") })
	if p.Resumed() {
		t.Error("the lease was lost, not resumed")
	}
}

func TestPresenceFindsItsIDTaken(t *testing.T) {
	t.Parallel()
	r, s := fresh(t)
	p := joined(t, r, host("m", "b"), ttl)
	s.Revoke(t, p.lease)
	running(t, joined(t, r, host("m", "clone"), steady))
	var duplicate *DuplicateMachineError
	if err := p.Run(t.Context()); !errors.As(err, &duplicate) || duplicate.Other.BootID != "clone" {
		t.Errorf("%v", err)
	}
	if got := stored[machine.Machine](t, s, r.keys.machine("m")); got.BootID != "clone" {
		t.Errorf("%+v", got)
	}
}

func TestPresenceUpdateAndManyStates(t *testing.T) {
	p := newPresent(t, steady)
	m := host("m", "b")
	m.Leaving = true
	ok(t, p.Update(t.Context(), m))
	if !stored[machine.Machine](t, p.s, p.r.keys.machine("m")).Leaving {
		t.Error("not updated")
	}
	reloaded := host("m", "b") // from before it was to leave
	reloaded.IP = "10.9.9.9"
	ok(t, p.Update(t.Context(), reloaded))
	if got := stored[machine.Machine](t, p.s, p.r.keys.machine("m")); !got.Leaving || got.IP != reloaded.IP {
		t.Errorf("%+v", got)
	}
	many := map[unit.Name]*record.State{"a.service": nil, "b.service": nil}
	var names []unit.Name
	for i := range 3*maxOps + 1 {
		name := unit.Name(fmt.Sprintf("u%d.service", i))
		many[name] = state(unit.TargetLaunched)
		many[name].Error = fmt.Sprintf("%10000d", i) // more than one request carries
		names = append(names, name)
	}
	ok(t, p.PutStates(t.Context(), many))
	if !p.whole(t, names...) {
		t.Errorf("%d keys", len(p.s.All(t, string(p.r.keys))))
	}
}

func TestLeave(t *testing.T) {
	for name, before := range map[string]func(t *testing.T, p *present){
		"while running":             func(*testing.T, *present) {},
		"after Run":                 func(_ *testing.T, p *present) { p.stop() },
		"on a lease that is gone":   func(t *testing.T, p *present) { p.s.Revoke(t, p.lease) },
		"just as its keys go":       func(t *testing.T, p *present) { p.s.DeletePrefix(t, string(p.r.keys)) },
		"with a renewal on its way": func(t *testing.T, p *present) { go func() { _ = p.renew(t.Context()) }() },
	} {
		t.Run(name, func(t *testing.T) {
			p := newPresent(t, steady)
			before(t, p)
			ok(t, p.Leave(t.Context()))
			gone := func() bool { return len(p.s.All(t, string(p.r.keys))) == 0 }
			if !gone() {
				t.Errorf("left behind: %+v", p.s.All(t, string(p.r.keys)))
			}
			rev := p.s.Revision(t)
			ok(t, p.PutStates(t.Context(), map[unit.Name]*record.State{"a.service": state(unit.TargetLaunched)}))
			ok(t, p.Update(t.Context(), host("m", "b")))
			ok(t, p.renew(t.Context()))
			ok(t, p.rejoin(t.Context())) // a renewal that found the lease gone
			f := follow(t, p.r.Follow)
			p.s.Put(t, string(p.r.keys)+"unknown", "x")
			f.reached(t, rev+1)
			p.s.Delete(t, string(p.r.keys)+"unknown")
			if !gone() {
				t.Errorf("came back: %+v", p.s.All(t, string(p.r.keys)))
			}
		})
	}
}

func TestGone(t *testing.T) {
	r, s := fresh(t)
	other, _ := connect(t, s.Endpoints(), string(r.keys)) // the engine's host
	p := joined(t, r, host("m", "b"), time.Minute)
	put(t, p, "a.service", state(unit.TargetLaunched))
	f := follow(t, other.Follow)
	f.wait(t, "the machine", func(v *record.View) bool { return len(v.Machines) == 1 })
	check := func(r *Registry, when string, want bool) {
		t.Helper()
		if gone := must(r.Gone(t.Context(), "m"))(t); gone != want {
			t.Errorf("%s: gone = %v", when, gone)
		}
	}
	check(other, "present", false)
	s.Delete(t, r.keys.machine("m"))
	f.wait(t, "the loss", func(v *record.View) bool { return len(v.Machines) == 0 })
	check(other, "its key deleted by hand", false)
	third, _ := connect(t, s.Endpoints(), string(r.keys))
	check(third, "never seen", true)
	follow(t, third.Follow).wait(t, "the state", func(v *record.View) bool { return len(v.States) == 1 })
	check(third, "seen by its states only", false)
	ok(t, p.Leave(t.Context()))
	check(other, "left", true)
	check(third, "left", true)
	link := s.Link(t)
	cut, _ := connect(t, link.Endpoints(), string(r.keys))
	cut.leases["m"] = p.lease
	link.Cut()
	if gone, err := cut.Gone(t.Context(), "m"); gone || err == nil {
		t.Errorf("without etcd: %v, %v", gone, err)
	}
}
