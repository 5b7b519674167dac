package agent

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// metrics of one agent.
type metrics struct {
	operations *prometheus.CounterVec
	durations  *prometheus.HistogramVec
	repairs    prometheus.Counter
	units      prometheus.Gauge
	suspended  prometheus.Gauge
}

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
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
		units: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fleet_agent_units",
			Help: "Units of fleet's that are on this host.",
		}),
		suspended: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fleet_agent_suspended",
			Help: "1 while etcd doesn't hold this host's cluster, so that nothing is changed on the host.",
		}),
	}
	if r != nil {
		r.MustRegister(m.operations, m.durations, m.repairs, m.units, m.suspended)
	}
	return m
}

// operated counts n operations that took the time since start together.
func (m metrics) operated(v verb, n, failed int, start time.Time) {
	m.operations.WithLabelValues(string(v), "ok").Add(float64(n - failed))
	m.operations.WithLabelValues(string(v), "error").Add(float64(failed))
	m.durations.WithLabelValues(string(v)).Observe(time.Since(start).Seconds())
}
