package engine

import (
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

func TestReportAndAlive(t *testing.T) {
	e := New(Options{AgentTTL: time.Second, Metrics: prometheus.NewRegistry()})
	if r := e.Report(); r.Leads != nil || r.Trouble != "" || r.SafetyNet != "2m0s" {
		t.Errorf("%+v", r)
	}
	e.SetSafetyNet(time.Hour)
	if r := e.Report(); r.SafetyNet != "1h0m0s" {
		t.Errorf("%+v", r)
	}
	e.thinking(time.Now().Add(-maxThinking / 2))
	if err := e.Alive(); err != nil {
		t.Error(err)
	}
	e.thinking(time.Now().Add(-2 * maxThinking))
	if err := e.Alive(); err == nil {
		t.Error("a planner that thinks for two minutes is well")
	}
	e.thinking(time.Time{})
	if err := e.Alive(); err != nil {
		t.Error(err)
	}
}

func TestLeaderIsReported(t *testing.T) {
	b := newBench(t)
	e, stop := b.engine("a", "")
	b.machine("m")
	b.submit("x.service", "launched")
	b.await("x on m", placed("x.service", "m", "launched"))
	if e.Report().Leads == nil {
		t.Error("the leader doesn't say that it leads")
	}
	if id, err := b.registry().Leader(t.Context()); err != nil || id != "a" {
		t.Errorf("%q leads: %v", id, err)
	}
	stop()
	if e.Report().Leads != nil {
		t.Error("it says that it leads after its end")
	}
	if id, err := b.registry().Leader(t.Context()); err != nil || id != "" {
		t.Errorf("%q leads: %v", id, err)
	}
}
