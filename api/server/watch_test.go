package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/fleet-project/fleet/unit"
)

// stream is a watch's lines.
type stream struct {
	t     *testing.T
	lines chan api.Event
}

func (f *fixture) watch(query string) *stream {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://fleetd/fleet/v1/watch?"+query, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	s := &stream{t: f.t, lines: make(chan api.Event, 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			var e api.Event
			if json.Unmarshal(lines.Bytes(), &e) == nil {
				s.lines <- e
			}
		}
	}()
	f.t.Cleanup(func() {
		cancel()
		<-done
		resp.Body.Close()
	})
	return s
}

// until reads on until an event satisfies, and gives it.
func (s *stream) until(what string, holds func(api.Event) bool) api.Event {
	s.t.Helper()
	var last api.Event
	for timeout := time.After(30 * time.Second); ; {
		select {
		case e := <-s.lines:
			if holds(e) {
				return e
			}
			last = e
		case <-timeout:
			s.t.Fatalf("waited in vain for %s; last was %+v %+v", what, last, last.Status)
		}
	}
}

func (s *stream) untilStatus(what string, holds func(api.UnitStatus) bool) api.UnitStatus {
	s.t.Helper()
	return *s.until(what, func(e api.Event) bool { return e.Status != nil && holds(*e.Status) }).Status
}

func TestWatchFollowsAUnit(t *testing.T) {
	f := newFixture(t, server.Options{})
	s := f.watch("unit=web.service&unit=other.service")
	for _, want := range []unit.Name{"other.service", "web.service"} {
		if e := <-s.lines; e.Status == nil || e.Status.Unit != want || e.Status.Exists {
			t.Fatalf("first lines: %+v, want %s, not there", e.Status, want)
		}
	}
	f.want(201, "PUT", "units/unwatched.service", body(m{"text": web, "desiredState": "launched"}), "")
	f.want(201, "PUT", "units/web.service", body(m{"text": web, "desiredState": "launched"}), "")
	st := s.untilStatus("it to run", func(s api.UnitStatus) bool {
		return len(s.States) == 1 && s.States[0].Active == "active"
	})
	if st.Unit != "web.service" || !st.Exists || st.DesiredState != "launched" || st.CurrentState != "launched" || st.ServiceType != "simple" ||
		len(st.Placements) != 1 || st.Placements[0].Target != "launched" || st.States[0].PrimaryIP == "" || st.Hash != unit.HashOf([]byte(web)) {
		t.Errorf("%+v", st)
	}
	f.want(202, "POST", "units/web.service/restart", "", "")
	s.untilStatus("the restart", func(s api.UnitStatus) bool {
		return s.Restart == 1 && len(s.States) == 1 && s.States[0].Restart == 1
	})
	f.cluster.PauseAgents(true)
	f.want(204, "DELETE", "units/web.service", "", "")
	s.untilStatus("destroying", func(s api.UnitStatus) bool { return !s.Exists && s.Destroying })
	f.cluster.PauseAgents(false)
	s.untilStatus("the end", func(s api.UnitStatus) bool { return !s.Exists && !s.Destroying && len(s.Placements) == 0 })
}

func TestWatchExplainsAtOnce(t *testing.T) {
	f := newFixture(t, server.Options{})
	s := f.watch("unit=stuck.service")
	f.want(201, "PUT", "units/stuck.service", body(m{"text": web + "[X-Fleet]\nMachineMetadata=region=asia\n", "desiredState": "launched"}), "")
	x := s.untilStatus("the unit", wanted).Explanation // which comes with the first word of it
	if x == nil {
		t.Fatal("it is not explained")
	}
	if x.Fits || len(x.Machines) != 2 || x.Machines[0].PrimaryIP != "10.0.0.1" || !strings.Contains(strings.Join(x.Machines[0].Reasons, ""), "region=eu") {
		t.Errorf("%+v", x)
	}
	// It is brought up to date, and gone once the unit has a place.
	f.want(204, "PATCH", "machines", `[{"op":"replace","path":"/`+string(node1)+`/metadata/region","value":"africa"}]`, "")
	s.untilStatus("the new reason", func(s api.UnitStatus) bool {
		return s.Explanation != nil && strings.Contains(strings.Join(s.Explanation.Machines[0].Reasons, ""), "africa")
	})
	f.want(204, "PATCH", "machines", `[{"op":"replace","path":"/`+string(node1)+`/metadata/region","value":"asia"}]`, "")
	s.untilStatus("it to run", func(s api.UnitStatus) bool { return s.Explanation == nil && len(s.States) == 1 })
}

func TestWatchExplainsAnIdleEngine(t *testing.T) {
	f := newFixture(t, server.Options{})
	f.cluster.PauseEngine(true)
	s := f.watch("unit=web.service")
	f.want(201, "PUT", "units/web.service", body(m{"text": web, "desiredState": "launched"}), "")
	if x := s.untilStatus("the unit", wanted).Explanation; x != nil {
		t.Errorf("before the engine had any time: %+v", x)
	}
	st := s.untilStatus("the explanation", func(s api.UnitStatus) bool { return s.Explanation != nil })
	if !st.Explanation.Fits {
		t.Errorf("%+v", st.Explanation)
	}
}

func wanted(s api.UnitStatus) bool { return s.DesiredState == unit.TargetLaunched }

func TestWatchTellsOfTrouble(t *testing.T) {
	f := newFixture(t, server.Options{})
	s := f.watch("unit=web.service")
	f.cluster.Break(errors.New("cut the cable"))
	s.until("the trouble", func(e api.Event) bool { return strings.Contains(e.Trouble, "cut the cable") })
	f.cluster.Break(nil)
	s.until("its end", func(e api.Event) bool { return e.Recovered })
}

// However much changes, a watcher that doesn't read has at most one entry a unit
// waiting, and reads the latest in the end.
func TestSlowWatcherGetsTheLatest(t *testing.T) {
	f := newFixture(t, server.Options{})
	f.want(201, "PUT", "units/web.service", body(m{"text": web, "desiredState": "launched"}), "")
	s := f.watch("unit=web.service")
	<-s.lines
	const restarts = 300
	for range restarts {
		f.want(202, "POST", "units/web.service/restart", "", "")
	}
	lines := 0
	s.until("the last restart", func(e api.Event) bool {
		lines++
		return e.Status != nil && e.Status.Restart == restarts && len(e.Status.States) == 1 && e.Status.States[0].Restart == restarts
	})
	t.Logf("%d lines for %d restarts", lines, restarts)
}

func TestScriptedStart(t *testing.T) {
	f := newFixture(t, server.Options{})
	f.cluster.Script("slow.service",
		servertest.Moment{State: unit.SystemdState{Load: "loaded", Active: "activating", Sub: "start-pre"}},
		servertest.Moment{After: 50 * time.Millisecond, State: unit.SystemdState{Load: "loaded", Active: "failed", Sub: "failed", Result: "exit-code"}})
	s := f.watch("unit=slow.service")
	f.want(201, "PUT", "units/slow.service", body(m{"text": web, "desiredState": "launched"}), "")
	s.untilStatus("its beginning", func(s api.UnitStatus) bool { return len(s.States) == 1 && s.States[0].Sub == "start-pre" })
	s.untilStatus("its failure", func(s api.UnitStatus) bool { return len(s.States) == 1 && s.States[0].Result == "exit-code" })
}

func TestManyWatchersComeAndGo(t *testing.T) {
	f := newFixture(t, server.Options{})
	for i := range 30 {
		t.Run(fmt.Sprint(i), func(t *testing.T) {
			t.Parallel()
			f := &fixture{t: t, cluster: f.cluster, client: f.client}
			name := fmt.Sprintf("u%d.service", i%7)
			s := f.watch("unit=" + name)
			<-s.lines
			if resp, text := f.do("PUT", "units/"+name, body(m{"text": web + fmt.Sprintf("#%d\n", i), "desiredState": "launched"})); resp.StatusCode > 204 {
				t.Fatalf("%d %s", resp.StatusCode, text)
			}
			s.untilStatus("it to run", func(s api.UnitStatus) bool { return len(s.States) == 1 && s.States[0].Active == "active" })
		})
	}
}
