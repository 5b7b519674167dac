package registry

import (
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// A fleetd that leaves while etcd answers nobody may have its lease ended long after
// the next fleetd of the same boot has joined: that one must not lose its own.
func TestTheEndOfAnEarlierFleetdsLeaseHarmsNobody(t *testing.T) {
	for name, tc := range map[string]struct {
		told    bool // its key says already that it leaves, when etcd is gone
		before  bool // the late requests arrive before the next fleetd joins
		resumes bool
	}{
		"its key doesn't say that it leaves": {resumes: true},
		"its key says so":                    {told: true},
		"it says so late":                    {before: true},
		"its lease ended":                    {told: true, before: true},
	} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			s, r := overSlowEtcd(t)
			host := machine.Machine{ID: "m", BootID: "b"}
			p, err := r.Join(ctx, host, 10*time.Second)
			ok(t, err)
			running := record.State{Spec: record.Spec{Target: unit.TargetLaunched}}
			ok(t, p.PutStates(ctx, map[unit.Name]*record.State{"a.service": &running}))
			if tc.told {
				leaving := host
				leaving.Leaving = true
				ok(t, p.Update(ctx, leaving))
			}
			s.delay = true
			if err := p.Leave(ctx); err == nil {
				t.Fatal("etcd answered")
			}
			s.delay = false
			if tc.before {
				s.arrive()
			}
			next, err := r.Join(ctx, host, 10*time.Second)
			ok(t, err)
			ok(t, next.flush(ctx))
			s.arrive()
			if next.Resumed() != tc.resumes {
				t.Errorf("resumed: %v", next.Resumed())
			}
			if !s.store.Lives(int64(next.lease)) || s.store.Get(r.keys.machine("m")) == nil {
				t.Error("the machine is lost")
			}
			if _, there := said(t, r, "m")["a.service"]; there == (tc.told && tc.before) {
				t.Errorf("its unit's state is told: %v", there)
			}
		})
	}
}

func TestLeaveEndsTheLease(t *testing.T) {
	s, r := overSlowEtcd(t)
	p, err := r.Join(t.Context(), machine.Machine{ID: "m", BootID: "b"}, 10*time.Second)
	ok(t, err)
	ok(t, p.Leave(t.Context()))
	if s.store.Lives(int64(p.lease)) || s.store.Get(r.keys.machine("m")) != nil {
		t.Error("the machine is still there")
	}
	ok(t, p.Leave(t.Context()))
}
