package agent

import (
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// failing is a core with one unit, a.service, that was launched and runs.
type failing struct {
	*core
	h *held
}

func newFailing() failing {
	c := newCore("boot", func(*record.Cluster, record.ClusterID) error { return nil }, record.Cluster{ID: "c"}, func(string, string, ...any) {})
	spec := launched("x")
	c.following, c.cluster = true, &record.Cluster{ID: "c"}
	h := c.get("a.service")
	h.want, h.rec = &spec, &Record{Name: h.name, Done: spec, Disk: spec.File}
	h.state.SystemdState, h.seen = unit.SystemdState{Load: "loaded", Active: "active", Sub: "running"}, true
	c.publish(h)
	return failing{c, h}
}

// becomes has systemd say how the unit is: ACTIVE/SUB[/RESULT].
func becomes(words string) func(failing) {
	return func(f failing) {
		part := append(strings.Split(words, "/"), "")
		f.observe(map[unit.Name]systemd.State{"a.service": {SystemdState: unit.SystemdState{Load: "loaded", Active: part[0], Sub: part[1], Result: part[2]}}})
	}
}

// reads has the log that was asked for latest come in.
func reads(text string) func(failing) {
	return func(f failing) {
		f.heard([]reading{{"a.service", f.h.words.job}}, map[unit.Name]string{"a.service": text})
	}
}

// again has the unit started once more.
func again(f failing) {
	f.h.begun++
	becomes("activating/start")(f)
}

// refuses has systemd not start the unit, though it accepted the job.
func refuses(f failing) {
	f.h.begun, f.h.job, f.h.starting = 1, 1, true
	becomes("inactive/dead")(f)
	f.ended(time.Time{}, "a.service", 1, systemd.JobFailed)
}

func nothing(failing) {}

func TestLastWords(t *testing.T) {
	const failed, looping = "failed/failed/exit-code", "activating/auto-restart/exit-code"
	type moment struct {
		at   time.Duration
		do   func(failing)
		asks bool   // for the log
		says string // what is published then: ACTIVE, error, log; empty: nothing
	}
	ms := time.Millisecond
	for name, moments := range map[string][]moment{
		"a failure waits for its words": {
			{0, becomes(failed), true, ""},
			{20 * ms, reads("why"), false, "failed||why"},
			{time.Hour, becomes(failed), false, ""},
		},
		"but not long": {
			{0, becomes(failed), true, ""},
			{holdBack - 1, nothing, false, ""},
			{holdBack, nothing, false, "failed||"},
			{2 * holdBack, reads("late"), false, "failed||late"},
		},
		"and not for words that there aren't": {
			{0, becomes(failed), true, ""},
			{20 * ms, reads(""), false, "failed||"},
			{2 * time.Hour, nothing, false, ""},
		},
		"they go when it runs again": {
			{0, becomes(failed), true, ""},
			{20 * ms, reads("why"), false, "failed||why"},
			{time.Minute, again, false, "activating||"},
			{time.Minute + ms, becomes("active/running"), false, "active||"},
		},
		"words of a run before the latest start are nobody's": {
			{0, becomes(failed), true, ""},
			{5 * ms, again, false, "activating||"},
			{time.Second, becomes(failed), true, ""},
			{time.Second + ms, func(f failing) {
				f.heard([]reading{{"a.service", 0}}, map[unit.Name]string{"a.service": "old"})
			}, false, ""},
			{time.Second + 2*ms, reads("new"), false, "failed||new"},
		},
		"one that runs again before its log is read tells it at its next failure": {
			{0, becomes(looping), true, ""},
			{100 * ms, becomes("active/running"), false, ""}, // as was said before
			{105 * ms, becomes(looping), false, ""},
			{150 * ms, reads("why"), false, "activating||why"},
		},
		"one that flaps is read more and more seldom": {
			{0, becomes(looping), true, ""},
			{20 * ms, reads("1"), false, "activating||1"},
			{100 * ms, becomes("active/running"), false, "active||"},
			{200 * ms, becomes(looping), false, "activating||1"},
			{300 * ms, becomes("active/running"), false, "active||"},
			{time.Second, becomes(looping), true, ""},
			{1020 * ms, reads("2"), false, "activating||2"},
			{1100 * ms, becomes("active/running"), false, "active||"},
			{2900 * ms, becomes(failed), false, "failed||2"},
			{2999 * ms, nothing, false, ""},
			{3 * time.Second, nothing, true, ""},
			{3020 * ms, reads("3"), false, "failed||3"},
		},
		"after a calm it is read at once": {
			{0, becomes(looping), true, ""},
			{20 * ms, reads("1"), false, "activating||1"},
			{100 * ms, becomes("active/running"), false, "active||"},
			{2 * calmAfter, becomes(looping), true, ""},
			{2*calmAfter + ms, reads("2"), false, "activating||2"},
		},
		"systemd's reason is in the log": {
			{0, refuses, true, ""},
			{20 * ms, reads("Nov 1 n1 systemd[1]: a.service: Socket busy, refusing.\nNov 1 n1 systemd[1]: Failed to listen."), false,
				"inactive|systemd refused to start it: Socket busy, refusing.|Nov 1 n1 systemd[1]: a.service: Socket busy, refusing.\nNov 1 n1 systemd[1]: Failed to listen."},
		},
		"or isn't": {
			{0, refuses, true, ""},
			{20 * ms, reads(""), false, "inactive|systemd refused to start it: its log says why|"},
		},
		"a oneshot that is done has nothing to explain": {
			{0, becomes("inactive/dead"), false, "inactive||"},
		},
		"one that a condition skips neither": {
			{0, becomes("inactive/dead/exec-condition"), false, "inactive||"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFailing()
			began := time.Unix(1e9, 0)
			f.settle(began)
			for _, m := range moments {
				m.do(f)
				now := began.Add(m.at)
				out := f.settle(now)
				says := ""
				if s := out.states["a.service"]; s != nil {
					says = s.Active + "|" + s.Error + "|" + s.Log
				}
				if diff := cmp.Diff(m.says, says); diff != "" {
					t.Errorf("after %s:\n%s", m.at, diff)
				}
				if asks := len(out.logs) > 0; asks != m.asks {
					t.Errorf("after %s: asks for the log: %v", m.at, asks)
				}
				if !out.wake.IsZero() && !out.wake.After(now) {
					t.Errorf("after %s: it would wake at once, for ever", m.at)
				}
			}
		})
	}
}

// A fleetd that starts anew reads and writes nothing of failures that the one
// before has told.
func TestLastWordsOfAnEarlierFleetd(t *testing.T) {
	r := newRig(t).start()
	r.sys.logs = map[unit.Name]string{"a.service": "why"}
	r.cluster.tell(place("a.service", launched(r.cluster.file(sleeper))))
	r.cluster.await(t, "launched", is("a.service", unit.TargetLaunched, "active"))
	r.sys.happens("a.service", "failed")
	explained := func(states map[unit.Name]record.State) bool { return states["a.service"].Log == "why" }
	r.cluster.await(t, "explained", explained)
	r.idle()
	r.stop()
	puts := r.cluster.puts
	r.start()
	r.idle()
	r.cluster.await(t, "still explained", explained)
	if r.cluster.puts != puts || len(r.sys.reads) != 1 {
		t.Errorf("%d puts more, logs read: %v", r.cluster.puts-puts, r.sys.reads)
	}
}

// The loop turns while a log can't be had, and one log at a time is read.
func TestLogsAreReadBesideTheLoop(t *testing.T) {
	r := newRig(t)
	asked, release := make(chan struct{}), make(chan struct{})
	r.sys.fault = func(call string, after bool) error {
		if call == "logs" {
			asked <- struct{}{}
			<-release
		}
		return nil
	}
	r.start()
	h := r.cluster.file(sleeper)
	r.cluster.tell(place("a.service", launched(h)))
	r.cluster.await(t, "launched", is("a.service", unit.TargetLaunched, "active"))
	r.sys.happens("a.service", "failed")
	<-asked
	r.cluster.tell(place("b.service", launched(h)))
	r.cluster.await(t, "b launched", is("b.service", unit.TargetLaunched, "active"))
	r.sys.happens("b.service", "failed")
	r.cluster.await(t, "told without words", is("b.service", unit.TargetLaunched, "failed"))
	select {
	case <-asked:
		t.Error("two at a time")
	default:
	}
	close(release)
	<-asked
	r.idle()
}
