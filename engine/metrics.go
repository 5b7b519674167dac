package engine

import (
	"fmt"
	"strings"
	"time"

	"github.com/fleet-project/fleet/engine/planner"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics keep fleet 1.0's names where it had them.
type metrics struct {
	leaderStart prometheus.Gauge
	tasks       *prometheus.CounterVec
	taskFails   *prometheus.CounterVec
	plans       prometheus.Counter
	duration    prometheus.Histogram
	failures    *prometheus.CounterVec
	repairs     prometheus.Counter
}

func newMetrics(reg prometheus.Registerer) *metrics {
	const ns, sub = "fleet", "engine"
	m := &metrics{
		leaderStart: prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: "leader_start_time",
			Help: "When this engine became leader, in seconds since 1970; 0 while it does not lead."}),
		tasks: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "task_count_total",
			Help: "Decisions written, by kind."}, []string{"type"}),
		taskFails: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "task_failure_count_total",
			Help: "Decisions that could not be written, by kind."}, []string{"type"}),
		plans: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "reconcile_count_total",
			Help: "Plans made."}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: "reconcile_duration_second",
			Help: "Time to plan and write, in seconds.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "reconcile_failure_count_total",
			Help: "Plans that could not be written, by reason."}, []string{"reason"}),
		repairs: prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: "safety_net_repairs_total",
			Help: "Decisions that only the comparison with a fresh snapshot found. Anything but 0 is a bug in fleet."}),
	}
	reg.MustRegister(m.leaderStart, m.tasks, m.taskFails, m.plans, m.duration, m.failures, m.repairs)
	return m
}

func (m *metrics) step(took time.Duration, decisions int) {
	if decisions == 0 {
		return
	}
	m.plans.Inc()
	m.duration.Observe(took.Seconds())
}

// committed counts what was written, or could not be.
func (m *metrics) committed(decisions []planner.Decision, err error) {
	tasks := m.tasks
	if err != nil {
		tasks = m.taskFails
		m.failures.WithLabelValues("commit").Inc()
	}
	for _, d := range decisions {
		tasks.WithLabelValues(strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", d), "planner."))).Inc()
	}
}
