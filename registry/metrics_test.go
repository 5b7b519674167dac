package registry

import (
	"context"
	"testing"
	"time"

	"github.com/fleet-project/fleet/registry/etcdtest"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/prometheus/client_golang/prometheus"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// measured is a registry whose metrics a test reads.
func measured(t *testing.T, endpoints []string) (*Registry, func(name, label string) float64) {
	t.Helper()
	gatherer := prometheus.NewRegistry()
	r, err := Dial(Config{Endpoints: endpoints, Prefix: etcdtest.Prefix(), RequestTimeout: 3 * time.Second, Metrics: gatherer})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	return r, func(name, label string) float64 {
		t.Helper()
		return valueOf(t, gatherer, name, label)
	}
}

// valueOf gives one series' value, a histogram's count; with the value of its
// only label, "" if it has none.
func valueOf(t *testing.T, g prometheus.Gatherer, name, label string) float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		if f.GetName() != name {
			continue
		}
		for _, m := range f.GetMetric() {
			if l := m.GetLabel(); len(l) == 0 && label == "" || len(l) == 1 && l[0].GetValue() == label {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
			}
		}
	}
	t.Fatalf("no %s with %q", name, label)
	return 0
}

func TestMetricsCountRoundTrips(t *testing.T) {
	t.Parallel()
	r, value := measured(t, etcd.Server(t).Endpoints())
	count := func(op string) float64 { return value("fleet_registry_operation_count_total", op) }
	if n := value("fleet_registry_etcd_up", ""); n != 0 {
		t.Errorf("before the first answer etcd is said to be up: %v", n)
	}
	before := count("set")
	if _, _, err := r.SubmitUnit(t.Context(), "a.service", []byte("[Service]\nExecStart=/bin/true\n"), unit.TargetInactive); err != nil {
		t.Fatal(err)
	}
	if n := count("set") - before; n != 1 {
		t.Errorf("submitting a new unit took %v writes, want 1", n)
	}
	before = count("get")
	must(r.Revision(t.Context()))(t)
	if n := count("get") - before; n != 1 {
		t.Errorf("asking for the revision took %v reads, want 1", n)
	}
	if n := value("fleet_registry_operation_duration_second", "get"); n != count("get") {
		t.Errorf("%v reads timed, %v counted", n, count("get"))
	}
	if n := value("fleet_registry_etcd_up", ""); n != 1 {
		t.Errorf("etcd answers and is said to be down")
	}
	f := follow(t, r.Follow)
	f.wait(t, "the snapshot", func(v *record.View) bool { return len(v.Units) == 1 })
	if n := count("get_all"); n != 1 {
		t.Errorf("a snapshot took %v reads of many keys, want 1", n)
	}
	must(r.SetTarget(t.Context(), "a.service", unit.TargetLaunched))(t)
	f.wait(t, "the change", func(v *record.View) bool { return v.Units["a.service"].Target == unit.TargetLaunched })
	if n := value("fleet_registry_events_total", "unit"); n != 1 {
		t.Errorf("%v changes of units counted, want 1", n)
	}
}

func TestMetricsCountFailures(t *testing.T) {
	t.Parallel()
	s := etcdtest.New(t)
	r, value := measured(t, s.Endpoints())
	failed := func() float64 { return value("fleet_registry_operation_failed_count_total", "get") }
	must(r.Revision(t.Context()))(t)
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := r.Revision(cancelled); err == nil {
		t.Error("a cancelled request was answered")
	}
	if n := failed(); n != 0 {
		t.Errorf("a request that its caller gave up counts as etcd's failure (%v)", n)
	}
	s.Stop()
	if _, err := r.Revision(t.Context()); err == nil {
		t.Fatal("an etcd that is stopped answered")
	}
	if failed() == 0 {
		t.Error("a request that etcd did not answer isn't counted")
	}
	if n := value("fleet_registry_etcd_up", ""); n != 0 {
		t.Error("etcd is stopped and said to be up")
	}
}

func TestMetricsTellTheLease(t *testing.T) {
	t.Parallel()
	s := etcd.Server(t)
	r, value := measured(t, s.Endpoints())
	const remaining = "fleet_registry_lease_remaining_seconds"
	if n := value(remaining, ""); n != 0 {
		t.Errorf("%v seconds left of no lease", n)
	}
	p := must(r.Join(t.Context(), host("m", "b"), time.Minute))(t)
	if n := value(remaining, ""); n <= 0 || n > 60 {
		t.Errorf("%v seconds left of a minute", n)
	}
	if n := value("fleet_registry_lease_ttl_seconds", ""); n != 60 {
		t.Errorf("the lease's time is %v seconds, want 60", n)
	}
	running(t, p)
	eventually(t, "a renewal", func() bool { return value("fleet_registry_lease_renewals_total", "ok") > 0 })
	s.Revoke(t, leaseOfPresence(p))
	eventually(t, "the loss is seen", func() bool { return value("fleet_registry_lease_losses_total", "") == 1 })
	eventually(t, "the host is back", func() bool { return value(remaining, "") > 0 })
	ok(t, p.Leave(t.Context()))
	if n := value(remaining, ""); n != 0 {
		t.Errorf("%v seconds left of a lease that was given up", n)
	}
}

func leaseOfPresence(p *Presence) clientv3.LeaseID {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.lease
}

func TestMetricsCountWatchRestarts(t *testing.T) {
	t.Parallel()
	s := etcdtest.New(t)
	r, value := measured(t, s.Endpoints())
	f := follow(t, r.Follow)
	f.wait(t, "the snapshot", func(*record.View) bool { return true })
	r.doubt()
	eventually(t, "the restart", func() bool { return value("fleet_registry_watch_restarts_total", "doubted") == 1 })
}
