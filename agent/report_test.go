package agent

import (
	"context"
	"testing"
	"time"

	"github.com/fleet-project/fleet/unit"
)

func TestReport(t *testing.T) {
	r := newRig(t).start()
	r.cluster.tell(place("b.service", launched(r.cluster.file(sleeper))), place("a.service", launched("of no file")))
	r.cluster.await(t, "launched", is("b.service", unit.TargetLaunched, "active"))
	r.idle()
	report, err := r.agent.Report(t.Context())
	if err != nil || len(report.Units) != 2 || report.Health != "" || report.Reach != "ok" {
		t.Fatalf("%v, %+v", err, report)
	}
	a, b := report.Units[0], report.Units[1]
	if a.Name != "a.service" || a.Target != unit.TargetLaunched || a.Done != "" {
		t.Errorf("%+v", a)
	}
	if b.Done != unit.TargetLaunched || b.Active != "active" || b.File != unit.HashOf([]byte(sleeper)) {
		t.Errorf("%+v", b)
	}
	if n := r.agent.Units(); n != 1 {
		t.Errorf("%d units on this host", n)
	}
}

// A report is read while the loop goes on.
func TestReportIsACopy(t *testing.T) {
	at := time.Unix(1, 0)
	h := &held{name: "a.service", retry: at}
	a := &Agent{core: &core{units: map[unit.Name]*held{h.name: h}}}
	report := a.reportNow()
	h.retry = time.Time{}
	if got := report.Units[0].RetryAt; got == nil || !got.Equal(at) {
		t.Errorf("to be tried again at %v, want %v", got, at)
	}
}

func TestAlive(t *testing.T) {
	r := newRig(t).start()
	if err := r.agent.Alive(t.Context()); err != nil {
		t.Error(err)
	}
	stuck, release := make(chan struct{}), make(chan struct{})
	r.agent.post(func(time.Time) { close(stuck); <-release })
	<-stuck
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Millisecond)
	defer cancel()
	if err := r.agent.Alive(ctx); err == nil || ctx.Err() == nil {
		t.Errorf("of a loop that is stuck: %v", err)
	}
	close(release)
	if err := r.agent.Alive(t.Context()); err != nil {
		t.Error(err)
	}
	r.stop()
	if err := r.agent.Alive(t.Context()); err != errNotRunning {
		t.Errorf("of one that has ended: %v", err)
	}
}

// fleetd is stopped before the host could join: what an earlier one left would
// run twice once that one's lease has ended.
func TestAbandonStopsWhatAnEarlierFleetdLeft(t *testing.T) {
	r := newRig(t).start()
	r.cluster.tell(place("a.service", launched(r.cluster.file(sleeper))))
	r.cluster.await(t, "launched", is("a.service", unit.TargetLaunched, "active"))
	r.stop()
	if active := r.sys.get("a.service").active; active != "active" {
		t.Fatalf("before: %s", active)
	}
	if err := Abandon(t.Context(), r.opts); err != nil {
		t.Error(err)
	}
	if active := r.sys.get("a.service").active; active != "inactive" || len(r.sys.files) > 0 {
		t.Errorf("after: %s, files %v", active, r.sys.files)
	}
	if err := Abandon(t.Context(), r.opts); err != nil { // with nothing left to do
		t.Error(err)
	}
	r.start()
	r.cluster.await(t, "launched again", is("a.service", unit.TargetLaunched, "active"))
}
