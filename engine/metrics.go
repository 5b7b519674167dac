package engine

import (
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/fleet-project/fleet/engine/planner"
	"github.com/fleet-project/fleet/unit"
	"github.com/prometheus/client_golang/prometheus"
)

// metrics keep fleet 1.0's names and labels where it had them. Counters are this
// engine's own; what is told of the cluster, the leader alone tells (report).
type metrics struct {
	leaderStart prometheus.Gauge
	isLeader    prometheus.Gauge
	elected     prometheus.Counter
	suspended   prometheus.Gauge
	tasks       *prometheus.CounterVec
	taskFails   *prometheus.CounterVec
	plans       prometheus.Counter
	duration    prometheus.Histogram
	failures    *prometheus.CounterVec
	repairs     prometheus.Counter
	lost        prometheus.Counter
	starts      *prometheus.HistogramVec
	report      *report
}

// reasonSchedule is fleet 1.0's word for a decision that could not be written.
const reasonSchedule = "schedule"

func newMetrics(reg prometheus.Registerer) *metrics {
	const ns, sub = "fleet", "engine"
	counter := func(name, help string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	counters := func(name, help, label string) *prometheus.CounterVec {
		return prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help}, []string{label})
	}
	gauge := func(name, help string) prometheus.Gauge {
		return prometheus.NewGauge(prometheus.GaugeOpts{Namespace: ns, Subsystem: sub, Name: name, Help: help})
	}
	m := &metrics{
		leaderStart: gauge("leader_start_time", "When this engine became leader, in seconds since 1970; 0 while it does not lead."),
		isLeader:    gauge("is_leader", "1 while this engine leads the cluster, else 0."),
		elected:     counter("leader_changes_total", "Times this engine became leader."),
		suspended:   gauge("suspended", "1 while this engine leads but changes nothing, because the cluster's key is gone or another's."),
		tasks:       counters("task_count_total", "Decisions written, by kind.", "type"),
		taskFails:   counters("task_failure_count_total", "Decisions that could not be written, by kind.", "type"),
		plans:       counter("reconcile_count_total", "Plans that decided something and were written."),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: "reconcile_duration_second",
			Help: "Time to plan and write, in seconds.", Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14)}), // 0.5 ms to 4 s
		failures: counters("reconcile_failure_count_total", "Plans that could not be written, by reason.", "type"),
		repairs: counter("safety_net_repairs_total",
			"Decisions that only the comparison with a fresh snapshot found. Anything but 0 is a bug in fleet."),
		lost: counter("machines_lost_total", "Machines that this engine, as leader, saw go; also those that handed over and left."),
		starts: prometheus.NewHistogramVec(prometheus.HistogramOpts{Namespace: ns, Subsystem: sub, Name: "start_to_active_seconds",
			Help:    "Time from when the leader saw that a unit is to run until it saw it active, by cause: start, restart, move.",
			Buckets: prometheus.ExponentialBuckets(0.005, 2, 16)}, []string{"cause"}), // 5 ms to 164 s
		report: newReport(),
	}
	for _, d := range []planner.Decision{planner.Place{}, planner.Withdraw{}, planner.Forget{}, planner.Release{},
		planner.Restore{}, planner.CollectFile{}, planner.RestoreFile{}} {
		m.tasks.WithLabelValues(task(d))
		m.taskFails.WithLabelValues(task(d))
	}
	m.failures.WithLabelValues(reasonSchedule)
	for _, c := range []cause{causeStart, causeRestart, causeMove} {
		m.starts.WithLabelValues(string(c))
	}
	reg.MustRegister(m.leaderStart, m.isLeader, m.elected, m.suspended, m.tasks, m.taskFails, m.plans, m.duration,
		m.failures, m.repairs, m.lost, m.starts, m.report)
	return m
}

// leading notes the begin of a turn as leader; the result ends it.
func (m *metrics) leading() (c *census, end func()) {
	m.leaderStart.SetToCurrentTime()
	m.isLeader.Set(1)
	m.elected.Inc()
	c = newCensus(func(why cause, took time.Duration) { m.starts.WithLabelValues(string(why)).Observe(took.Seconds()) })
	m.report.tell(c)
	return c, func() {
		m.report.tell(nil)
		m.isLeader.Set(0)
		m.leaderStart.Set(0)
		m.suspended.Set(0)
	}
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
		m.failures.WithLabelValues(reasonSchedule).Inc()
	}
	for _, d := range decisions {
		tasks.WithLabelValues(task(d)).Inc()
	}
}

// task names a decision, as fleet 1.0 did where it had the like.
func task(d planner.Decision) string {
	switch d.(type) {
	case planner.Place:
		return "attemptscheduleunit"
	case planner.Withdraw:
		return "unscheduleunit"
	}
	return strings.ToLower(strings.TrimPrefix(fmt.Sprintf("%T", d), "planner."))
}

// report tells a scrape how the cluster is, while this engine leads; else it
// tells nothing, so that a sum over all hosts counts everything once.
type report struct {
	units, states, errors, unplaced, machines *prometheus.Desc

	mu     sync.Mutex
	census *census // nil: this engine doesn't lead
}

func newReport() *report {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc("fleet_engine_"+name, help+" Only the leader tells.", labels, nil)
	}
	return &report{
		units:    desc("units", "Units by what is wanted of them and what was carried out.", "desired", "current"),
		states:   desc("unit_states", "Units on machines, by systemd's active state; a global unit counts on each machine.", "active"),
		errors:   desc("unit_errors", "Units on machines that can't carry out what they are told."),
		unplaced: desc("unplaced_units", "Units that are wanted and have no machine: they fit on none, or theirs is away.", "reason"),
		machines: desc("machines", "Machines by what they are; absent ones are those that units are still placed on.", "state"),
	}
}

func (r *report) tell(c *census) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.census = c
}

// Describe is prometheus.Collector's.
func (r *report) Describe(out chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{r.units, r.states, r.errors, r.unplaced, r.machines} {
		out <- d
	}
}

// Collect is prometheus.Collector's. Kinds of which there are none are told as 0.
func (r *report) Collect(out chan<- prometheus.Metric) {
	r.mu.Lock()
	c := r.census
	r.mu.Unlock()
	if c == nil {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	tell := func(d *prometheus.Desc, n int, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, float64(n), labels...)
	}
	for _, desired := range []unit.Target{unit.TargetInactive, unit.TargetLoaded, unit.TargetLaunched, unit.TargetDestroyed} {
		for _, current := range []unit.Target{unit.TargetInactive, unit.TargetLoaded, unit.TargetLaunched} {
			tell(r.units, c.sums.units[unitClass{desired, current}], string(desired), string(current))
		}
	}
	for _, word := range append(unit.ActiveStates(), activeOther) {
		tell(r.states, c.sums.active[word], word)
	}
	tell(r.errors, c.sums.errors)
	for _, reason := range []string{unplacedNowhere, unplacedAbsent} {
		tell(r.unplaced, c.sums.unplaced[reason], reason)
	}
	for _, state := range []string{machineReady, machineCordoned, machineLeaving, machineAbsent} {
		tell(r.machines, c.sums.machines[state], state)
	}
}
