package agent

import (
	"time"

	"github.com/fleet-project/fleet/unit"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one agent; nil counts nothing.
type metrics struct {
	operations *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	repairs    prometheus.Counter
	pending    prometheus.Gauge
	units      *prometheus.GaugeVec
	suspended  prometheus.Gauge
	cutOff     prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) *metrics {
	if r == nil {
		return nil
	}
	m := &metrics{
		operations: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_agent_operations_total",
			Help: "Operations on this host's units, by verb and result (ok, error).",
		}, []string{"verb", "result"}),
		durations: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "fleet_agent_operation_duration_seconds",
			Help:    "How long an operation took until systemd had accepted it, by verb.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 4, 9), // 0.5 ms to 33 s
		}, []string{"verb"}),
		repairs: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fleet_agent_reconcile_repairs_total",
			Help: "What the agent's safety net found wrong that events should have told it. It must stay 0.",
		}),
		pending: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fleet_agent_operations_pending",
			Help: "Operations and questions to systemd and etcd that are under way or wait for their turn.",
		}),
		units: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "fleet_agent_units",
			Help: "Units of fleet's that are on this host, by systemd's active state; other if systemd has not told.",
		}, []string{"active"}),
		suspended: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fleet_agent_suspended",
			Help: "1 while etcd doesn't hold this host's cluster, so that nothing is changed on the host.",
		}),
		cutOff: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fleet_agent_cut_off",
			Help: "1 while this host's lease is about to end, so that its units with Isolation=stop are stopped.",
		}),
	}
	for _, v := range []verb{doInstall, doStart, doRestart, doStop, doKill, doRemove, doNote, doExamine} {
		m.operations.WithLabelValues(string(v), resultOK)
		m.operations.WithLabelValues(string(v), resultError)
		m.durations.WithLabelValues(string(v))
	}
	r.MustRegister(m.operations, m.durations, m.repairs, m.pending, m.units, m.suspended, m.cutOff)
	return m
}

// Results of operations.
const (
	resultOK    = "ok"
	resultError = "error"
)

// activeOther stands for a state that systemd has not told.
const activeOther = "other"

// told says how the host is.
func (m *metrics) told(suspended, cutOff bool, pending int) {
	if m == nil {
		return
	}
	m.suspended.Set(flag(suspended))
	m.cutOff.Set(flag(cutOff))
	m.pending.Set(float64(pending))
}

// repaired counts what the safety net has found.
func (m *metrics) repaired() {
	if m != nil {
		m.repairs.Inc()
	}
}

// counted says how many units are on this host.
func (m *metrics) counted(active map[string]int) {
	if m == nil {
		return
	}
	for _, word := range unit.ActiveStates() {
		m.units.WithLabelValues(word).Set(float64(active[word]))
		delete(active, word)
	}
	other := 0
	for _, n := range active {
		other += n
	}
	m.units.WithLabelValues(activeOther).Set(float64(other))
}

// flag is 1 for true.
func flag(b bool) float64 {
	if b {
		return 1
	}
	return 0
}

// operated counts n operations that took the time since start together.
func (m *metrics) operated(v verb, n, failed int, start time.Time) {
	if m == nil {
		return
	}
	m.operations.WithLabelValues(string(v), resultOK).Add(float64(n - failed))
	m.operations.WithLabelValues(string(v), resultError).Add(float64(failed))
	m.durations.WithLabelValues(string(v)).Observe(time.Since(start).Seconds())
}
