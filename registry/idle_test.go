package registry

import (
	"fmt"
	"testing"
	"time"

	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// An idle cluster writes nothing, and asks nothing: leases are kept alive beside
// the store.
func TestIdleWritesNothing(t *testing.T) {
	t.Parallel()
	s := etcdtest.New(t) // alone: the revision is everybody's
	r, count := measured(t, s.Endpoints())
	const ttl = 5 * time.Second // a busy test machine must not lose it
	p := joined(t, r, host("m", "b"), ttl)
	running(t, p)
	f := follow(t, r.Follow)
	l := must(r.Campaign(t.Context(), "m", ttl))(t)
	ok(t, l.EnsureCluster(t.Context(), ""))
	put(t, p, "a.service", state(unit.TargetLaunched))
	ok(t, l.Commit(t.Context(), []Write{l.PutPlacement(place("a.service"))}))
	f.wait(t, "all is told", func(v *record.View) bool { return len(v.Machines)+len(v.States)+len(v.Schedule) == 3 })
	eventually(t, "all to have been read: by who joins, who follows, and who guards the host's own keys", func() bool {
		return count("fleet_registry_operation_count_total", opGetAll) == 3
	})
	rev, updates := s.Revision(t), len(f.all())
	asked := map[string]float64{}
	for _, op := range []string{opGet, opSet, opGetAll, opGrant, opRevoke, opRemaining} {
		asked[op] = count("fleet_registry_operation_count_total", op)
	}
	for range 4 {
		last := p.RenewedAt()
		eventually(t, "a renewal", func() bool { return p.RenewedAt().After(last) })
	}
	if now := s.Revision(t); now != rev {
		t.Errorf("an idle cluster wrote %d times: %+v", now-rev, s.All(t, ""))
	}
	for op, n := range asked {
		if now := count("fleet_registry_operation_count_total", op); now != n {
			t.Errorf("an idle cluster asked etcd for %s %v times", op, now-n)
		}
	}
	if now := len(f.all()); now != updates {
		t.Errorf("%d updates told of nothing", now-updates)
	}
	select {
	case <-l.Done():
		t.Error("the lead was lost")
	default:
	}
}

func BenchmarkCommitPlacements(b *testing.B) {
	b.ReportAllocs()
	r, _ := fresh(b)
	l := leading(b, r)
	const n = 1000
	restart := uint64(0)
	for b.Loop() {
		restart++
		writes := make([]Write, n)
		for i := range writes {
			key, spec := place(unit.Name(fmt.Sprintf("u%d.service", i)))
			spec.Restart = restart
			writes[i] = l.PutPlacement(key, spec)
		}
		ok(b, l.Commit(b.Context(), writes))
	}
	b.ReportMetric(float64(b.N*n)/b.Elapsed().Seconds(), "placements/s")
}

func BenchmarkSubmitUnit(b *testing.B) {
	b.ReportAllocs()
	r, _ := fresh(b)
	began, n := time.Now(), 0
	for b.Loop() {
		n++
		name := unit.Name(fmt.Sprintf("u%d.service", n))
		if _, _, err := r.SubmitUnit(b.Context(), name, fmt.Appendf(nil, "[Service]\nExecStart=/bin/web %d\n", n), unit.TargetLaunched); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(n)/time.Since(began).Seconds(), "units/s")
}
