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
	"github.com/fleet-project/fleet/unit"
)

// listStream is the lines of a list's watch.
type listStream[T any] struct {
	t     *testing.T
	lines chan api.ListEvent[T]
}

func watchList[T any](f *fixture, query string) *listStream[T] {
	f.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	req, err := http.NewRequestWithContext(ctx, "GET", "http://fleetd/fleet/v1/"+query, nil)
	if err != nil {
		f.t.Fatal(err)
	}
	resp, err := f.client.Do(req)
	if err != nil {
		f.t.Fatal(err)
	}
	if got := resp.Header.Get("Content-Type"); resp.StatusCode != 200 || got != "application/x-ndjson" {
		f.t.Fatalf("%s: %d %s", query, resp.StatusCode, got)
	}
	route, known := operation(described(f.t), "GET", "/fleet/v1/"+query)
	if !known {
		f.t.Fatalf("%s is not in the description", query)
	}
	schema := route.Operation.Responses.Status(200).Value.Content.Get(api.StreamType).Schema.Value
	s := &listStream[T]{t: f.t, lines: make(chan api.ListEvent[T], 1000)}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
			var e api.ListEvent[T]
			var raw any
			if err := errors.Join(json.Unmarshal(lines.Bytes(), &e), json.Unmarshal(lines.Bytes(), &raw), schema.VisitJSON(raw)); err != nil && ctx.Err() == nil {
				f.t.Errorf("%s: %s: %v", query, lines.Text(), err)
			}
			s.lines <- e
		}
	}()
	f.t.Cleanup(func() {
		cancel()
		<-done
		resp.Body.Close()
	})
	return s
}

func (s *listStream[T]) next() api.ListEvent[T] {
	s.t.Helper()
	select {
	case e := <-s.lines:
		return e
	case <-time.After(30 * time.Second):
		s.t.Fatal("no further line")
		panic("not reached")
	}
}

// until reads on until an event satisfies, and gives it.
func (s *listStream[T]) until(what string, holds func(api.ListEvent[T]) bool) api.ListEvent[T] {
	s.t.Helper()
	for {
		e := s.next()
		if holds(e) {
			return e
		}
		s.t.Logf("before %s: %s %+v %s", what, e.Type, e.Object, e.Trouble)
	}
}

// initial reads the list as it was when the watch began.
func (s *listStream[T]) initial() []T {
	s.t.Helper()
	var out []T
	for {
		switch e := s.next(); e.Type {
		case api.Added:
			out = append(out, *e.Object)
		case api.Bookmark:
			if e.Trouble != "" {
				s.t.Error(e.Trouble)
			}
			return out
		default:
			s.t.Fatalf("the list begins with %s %+v", e.Type, e.Object)
		}
	}
}

func TestWatchUnits(t *testing.T) {
	f := newFixture(t, server.Options{})
	f.want(201, "PUT", "units/b.service", body(m{"text": web, "desiredState": "inactive"}), "")
	f.want(201, "PUT", "units/a.service", body(m{"text": web, "desiredState": "launched"}), "")
	s := watchList[api.Unit](f, "units?watch=true")
	first := s.initial()
	if len(first) != 2 || first[0].Name != "a.service" || first[0].MachineID == "" || first[0].PrimaryIP == "" || len(first[1].Options) == 0 {
		t.Fatalf("%+v", first)
	}
	f.want(201, "PUT", "units/c.service", body(m{"text": web, "desiredState": "launched"}), "")
	if e := s.next(); e.Type != api.Added || e.Object.Name != "c.service" {
		t.Errorf("%s %+v", e.Type, e.Object)
	}
	f.want(204, "PUT", "units/a.service", body(m{"desiredState": "loaded"}), "")
	s.until("a to be loaded", func(e api.ListEvent[api.Unit]) bool {
		return e.Type == api.Modified && e.Object.Name == "a.service" && e.Object.CurrentState == unit.TargetLoaded
	})
	f.want(204, "DELETE", "units/b.service", "", "")
	e := s.until("b to be gone", func(e api.ListEvent[api.Unit]) bool { return e.Type == api.Deleted })
	if e.Object.Name != "b.service" || e.Object.DesiredState != unit.TargetInactive || len(e.Object.Options) == 0 {
		t.Errorf("the row that is gone should be as it was: %+v", e.Object)
	}
}

func TestWatchStates(t *testing.T) {
	f := newFixture(t, server.Options{})
	f.want(201, "PUT", "units/all.service", body(m{"text": web + "[X-Fleet]\nGlobal=true\n", "desiredState": "launched"}), "")
	all := watchList[api.UnitState](f, "state?watch=1")
	if first := all.initial(); len(first) != 2 || first[0].MachineID != string(node1) || first[1].PrimaryIP != "10.0.0.2" {
		t.Fatalf("%+v", first)
	}
	second := watchList[api.UnitState](f, "state?watch=true&machineID="+string(node2))
	if first := second.initial(); len(first) != 1 || first[0].MachineID != string(node2) {
		t.Fatalf("%+v", first)
	}
	web1 := watchList[api.UnitState](f, "state?watch=true&unitName=web.service")
	if first := web1.initial(); len(first) != 0 {
		t.Fatalf("%+v", first)
	}
	f.want(201, "PUT", "units/web.service", body(m{"text": web + "[X-Fleet]\nMachineID=" + string(node1) + "\n", "desiredState": "launched"}), "")
	for _, s := range []*listStream[api.UnitState]{all, web1} {
		if e := s.next(); e.Type != api.Added || e.Object.Name != "web.service" || e.Object.SystemdSubState != "running" {
			t.Errorf("%s %+v", e.Type, e.Object)
		}
	}
	f.want(204, "PUT", "units/web.service", body(m{"desiredState": "inactive"}), "")
	for _, s := range []*listStream[api.UnitState]{all, web1} {
		if e := s.next(); e.Type != api.Deleted || e.Object.Name != "web.service" || e.Object.PrimaryIP != "10.0.0.1" {
			t.Errorf("%s %+v", e.Type, e.Object)
		}
	}
	f.cluster.LoseMachine(node2)
	for _, s := range []*listStream[api.UnitState]{all, second} {
		e := s.until("the lost machine's state to go", func(e api.ListEvent[api.UnitState]) bool { return e.Type == api.Deleted })
		if e.Object.Name != "all.service" || e.Object.MachineID != string(node2) {
			t.Errorf("%+v", e.Object)
		}
	}
}

func TestWatchMachines(t *testing.T) {
	f := newFixture(t, server.Options{})
	s := watchList[api.Machine](f, "machines?watch=true")
	if first := s.initial(); len(first) != 2 || first[1].Hostname != "two" {
		t.Fatalf("%+v", first)
	}
	f.want(204, "PATCH", "machines", `[{"op":"add","path":"/`+string(node1)+`/metadata/disk","value":"ssd"}]`, "")
	if e := s.next(); e.Type != api.Modified || e.Object.Metadata["disk"] != "ssd" || e.Object.Metadata["region"] != "eu" {
		t.Errorf("%s %+v", e.Type, e.Object)
	}
	f.cluster.LoseMachine(node2)
	if e := s.next(); e.Type != api.Deleted || e.Object.ID != string(node2) {
		t.Errorf("%s %+v", e.Type, e.Object)
	}
}

func TestWatchListTellsOfTrouble(t *testing.T) {
	f := newFixture(t, server.Options{})
	s := watchList[api.Unit](f, "units?watch=true")
	s.initial()
	f.cluster.Break(errors.New("cut the cable"))
	s.until("the trouble", func(e api.ListEvent[api.Unit]) bool {
		return e.Type == api.Bookmark && strings.Contains(e.Trouble, "cut the cable")
	})
	f.cluster.Break(nil)
	s.until("its end", func(e api.ListEvent[api.Unit]) bool { return e.Type == api.Bookmark && e.Trouble == "" })
}

func TestWatchListRefused(t *testing.T) {
	f := newFixture(t, server.Options{})
	for _, list := range []string{"units", "state", "machines"} {
		f.want(400, "GET", list+"?watch=perhaps", "", "want true or false")
		f.want(400, "GET", list+"?watch=true&limit=3", "", "no pages")
		f.want(400, "GET", list+"?watch=true&nextPageToken=x", "", "no pages")
		f.want(200, "GET", list+"?watch=false", "", list)
		if resp, text := f.do("HEAD", list+"?watch=true", ""); resp.StatusCode != 200 || text != "" {
			t.Errorf("HEAD %s: %d %q", list, resp.StatusCode, text)
		}
	}
}

func TestListWatchEndsWithTheLatest(t *testing.T) {
	f := newFixture(t, server.Options{})
	s := watchList[api.Unit](f, "units?watch=true")
	s.initial()
	const units, rounds = 5, 40
	for i := range rounds {
		for u := range units {
			text := web + fmt.Sprintf("# %d\n", i)
			if _, _, err := f.cluster.SubmitUnit(t.Context(), unit.Name(fmt.Sprintf("u%d.service", u)), []byte(text), unit.TargetInactive); err != nil {
				t.Fatal(err)
			}
		}
	}
	latest := unit.HashOf([]byte(web + fmt.Sprintf("# %d\n", rounds-1)))
	left := map[unit.Name]bool{}
	for u := range units {
		left[unit.Name(fmt.Sprintf("u%d.service", u))] = true
	}
	s.until("the latest of all", func(e api.ListEvent[api.Unit]) bool {
		if e.Object.Hash == latest {
			delete(left, e.Object.Name)
		}
		return len(left) == 0
	})
}
