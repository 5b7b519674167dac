package server_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	logtest "github.com/sirupsen/logrus/hooks/test"
)

// Each status that is described is one that the server gives, and the other way
// round (fixture.answer sees to that).
func TestDescriptionHasEveryStatus(t *testing.T) {
	given := map[string]bool{
		"PUT /units/{unitName} 408": true, "PATCH /machines 408": true, // TestSlowClientsAreCutOff
		"GET /discovery 500": true, // a build whose description is broken
	}
	call := func(f *fixture, code int, method, path, body string) {
		t.Helper()
		f.want(code, method, path, body, "")
		route, known := operation(described(t), method, "/fleet/v1/"+path)
		if !known {
			t.Fatalf("%s %s is not described", method, path)
		}
		given[fmt.Sprintf("%s %s %d", method, route.Path, code)] = true
	}
	file := body(m{"text": web, "desiredState": "launched"})
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "up 1\n") })
	doctor := func(context.Context) api.Diagnosis { return api.Diagnosis{Findings: []api.Finding{}} }
	f := newFixture(t, server.Options{Metrics: metrics, Doctor: doctor})
	call(f, 201, "PUT", "units/a.service", file)
	call(f, 204, "PUT", "units/a.service", file)
	call(f, 400, "PUT", "units/a.service", "{")
	call(f, 409, "PUT", "units/b.service", "{}")
	call(f, 413, "PUT", "units/a.service", strings.Repeat(" ", 3<<20))
	call(f, 413, "PATCH", "machines", strings.Repeat(" ", 3<<20))
	call(f, 415, "PUT", "units/a.service", "") // which sends no type
	call(f, 204, "PATCH", "machines", "[]")
	call(f, 400, "PATCH", "machines", "{}")
	call(f, 202, "POST", "units/a.service/restart", "")
	call(f, 400, "POST", "units/a.service/restart?machineID=", "")
	call(f, 409, "POST", "units/a.service/restart?machineID="+string(node1), "") // it is inactive
	for _, path := range []string{"units", "units/a.service", "units/a.service/explain", "state", "state/a.service", "machines", "backup", "discovery", "doctor", "metrics"} {
		call(f, 200, "GET", path, "")
	}
	for _, path := range []string{"units?limit=0", "state?limit=0", "machines?limit=0", "watch"} {
		call(f, 400, "GET", path, "")
	}
	for _, path := range []string{"units/b.service", "units/b.service/explain", "state/b.service"} {
		call(f, 404, "GET", path, "")
	}
	call(f, 404, "POST", "units/b.service/restart", "")
	call(f, 404, "DELETE", "units/b.service", "")
	call(f, 204, "DELETE", "units/a.service", "")
	for _, path := range []string{"metrics", "doctor"} {
		call(newFixture(t, server.Options{}), 404, "GET", path, "")
	}
	given["GET /watch 200"] = true // its stream would not end: TestWatch...

	req, err := http.NewRequest("PATCH", "http://fleetd/fleet/v1/machines", strings.NewReader("[]"))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Content-Encoding", "gzip")
	if resp, text := f.answer(req, "/fleet/v1/machines"); resp.StatusCode != 415 {
		t.Errorf("a compressed body: %d %s", resp.StatusCode, text)
	}
	given["PATCH /machines 415"] = true

	// etcd is away; then fleetd itself is broken.
	f.cluster.Break(errors.New("cut the cable"))
	log, _ := logtest.NewNullLogger()
	l := listening(t)
	c := servertest.New(t)
	serveOn(t, server.New(server.Options{
		Registry: broken{c}, Log: logrus.NewEntry(log),
		Metrics: http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic("a mistake") }),
		Doctor:  func(context.Context) api.Diagnosis { panic("a mistake") },
	}), l)
	mistaken := &fixture{t: t, cluster: c, client: clientOf(t, l.Addr().String())}
	for _, path := range []string{"units", "units/a.service", "units/a.service/explain", "state", "state/a.service", "machines", "backup", "watch?unit=a.service"} {
		call(f, 503, "GET", path, "")
		call(mistaken, 500, "GET", path, "")
	}
	call(mistaken, 500, "GET", "metrics", "")
	call(mistaken, 500, "GET", "doctor", "")
	for _, change := range [][3]string{
		{"PUT", "units/a.service", file}, {"DELETE", "units/a.service"}, {"POST", "units/a.service/restart"},
		{"PATCH", "machines", body([]m{{"op": "remove", "path": "/" + string(node1) + "/metadata/a"}})},
	} {
		call(f, 503, change[0], change[1], change[2])
		call(mistaken, 500, change[0], change[1], change[2])
	}

	want := map[string]bool{}
	for path, item := range described(t).Paths.Map() {
		for method, op := range item.Operations() {
			for code := range op.Responses.Map() {
				want[method+" "+path+" "+code] = true
			}
		}
	}
	if diff := cmp.Diff(slices.Sorted(maps.Keys(given)), slices.Sorted(maps.Keys(want))); diff != "" {
		t.Errorf("statuses (-given +described):\n%s", diff)
	}
}

// Of two PUTs at once, one comes after the other: a unit is never one's file with
// the other's desired state.
func TestConcurrentPutsAreWhole(t *testing.T) {
	f := newFixture(t, server.Options{})
	texts := map[unit.Target]string{unit.TargetInactive: web, unit.TargetLaunched: web, unit.TargetLoaded: web + "# loaded\n"}
	var writing sync.WaitGroup
	for range 4 {
		for target, text := range texts {
			writing.Go(func() {
				for range 50 {
					resp, answer := f.do("PUT", "units/a.service", body(m{"text": text, "desiredState": target}))
					if resp.StatusCode != 201 && resp.StatusCode != 204 {
						t.Errorf("%d %s", resp.StatusCode, answer)
					}
					v := f.cluster.View()
					if u := v.Units["a.service"]; string(v.Files[u.File]) != texts[u.Target] {
						t.Errorf("%s has the file %q", u.Target, v.Files[u.File])
					}
				}
			})
		}
	}
	writing.Wait()
}
