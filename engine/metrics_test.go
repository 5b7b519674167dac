package engine

import (
	"context"
	"testing"
	"time"

	"github.com/fleet-project/fleet/unit"
	"github.com/prometheus/client_golang/prometheus"
)

// gathered gives the value of each series, by its name and its labels' values; a
// histogram's is its count.
func gathered(t *testing.T, g prometheus.Gatherer) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			series := f.GetName()
			for _, l := range m.GetLabel() {
				series += " " + l.GetValue()
			}
			out[series] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

func TestOnlyTheLeaderTellsOfTheCluster(t *testing.T) {
	b := newBench(t)
	opts, reg := b.options("e", ""), prometheus.NewRegistry()
	opts.Metrics = reg
	e := New(opts)
	if got, told := gathered(t, reg)["fleet_engine_machines ready"]; told {
		t.Errorf("before its election it tells of %v machines", got)
	}
	_, stop := b.run(e)
	b.machine("m")
	b.submit("x.service", unit.TargetLaunched)
	b.await("x on m", placed("x.service", "m", unit.TargetLaunched))
	awaitMetrics(t, reg, map[string]float64{
		"fleet_engine_is_leader":                            1,
		"fleet_engine_leader_changes_total":                 1,
		"fleet_engine_machines ready":                       1,
		"fleet_engine_units inactive launched":              1, // labels are sorted: current, desired
		"fleet_engine_unplaced_units fits_nowhere":          0,
		"fleet_engine_task_count_total attemptscheduleunit": 1,
		"fleet_engine_safety_net_repairs_total":             0,
	})
	b.submit("y.service", unit.TargetLaunched)
	stop()
	after := gathered(t, reg)
	for _, gone := range []string{"fleet_engine_machines ready", "fleet_engine_units inactive launched", "fleet_engine_unplaced_units fits_nowhere"} {
		if v, told := after[gone]; told {
			t.Errorf("it leads no more and tells %s %v", gone, v)
		}
	}
	if after["fleet_engine_is_leader"] != 0 || after["fleet_engine_leader_start_time"] != 0 {
		t.Error("it leads no more and says that it does")
	}
	if after["fleet_engine_leader_changes_total"] != 1 {
		t.Error("a counter went back")
	}
}

// awaitMetrics waits until the series have these values.
func awaitMetrics(t *testing.T, g prometheus.Gatherer, want map[string]float64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for series, v := range want {
		for {
			got, told := gathered(t, g)[series]
			if told && got == v {
				break
			}
			if (realWorld{}).Pause(ctx, 5*time.Millisecond); ctx.Err() != nil {
				t.Fatalf("%s is %v (told: %v), want %v", series, got, told, v)
			}
		}
	}
}
