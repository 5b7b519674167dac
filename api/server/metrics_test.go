package server_test

import (
	"testing"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/api/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// series gives the value of each series of a family, a histogram's count, by
// the values of its labels in the order of their names.
func series(t *testing.T, g prometheus.Gatherer, family string) map[string]float64 {
	t.Helper()
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]float64{}
	for _, f := range families {
		if f.GetName() != family {
			continue
		}
		for _, m := range f.GetMetric() {
			key := ""
			for _, l := range m.GetLabel() {
				key += l.GetValue() + " "
			}
			out[key] = m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	return out
}

func TestMetricsCountRequests(t *testing.T) {
	reg := prometheus.NewRegistry()
	f := newFixture(t, server.Options{Registerer: reg, Metrics: promhttp.HandlerFor(reg, promhttp.HandlerOpts{})})
	f.do("PUT", "units/web.service", `{"desiredState": "launched", "options": [{"section": "Service", "name": "ExecStart", "value": "/bin/web"}]}`)
	f.do("GET", "units/web.service", "")
	f.do("GET", "/v1-alpha/units/nothing.service", "")
	f.do("GET", "/fleet/v1/units/", "")
	f.do("DELETE", "units", "")
	f.do("BREW", "units", "")
	for _, guess := range []string{"/", "/admin", "/fleet/v1/admin", "/fleet/v1/units/a/b/c"} {
		f.do("GET", guess, "")
	}
	f.do("GET", "/metrics", "")
	got := series(t, reg, "fleet_api_requests_total")
	for labels, want := range map[string]float64{ // code, method, route
		"201 PUT /units/N ":  1,
		"200 GET /units/N ":  1,
		"404 GET /units/N ":  1,
		"200 GET /units ":    1,
		"405 DELETE /units ": 1,
		"405 other /units ":  1,
		"404 GET other ":     4,
		"200 GET /metrics ":  1,
	} {
		if got[labels] != want {
			t.Errorf("%s: %v, want %v; all: %v", labels, got[labels], want, got)
		}
	}
	if n := series(t, reg, "fleet_api_request_duration_seconds")["GET /units/N "]; n != 2 {
		t.Errorf("%v requests timed, want 2", n)
	}
	if n := series(t, reg, "fleet_api_requests_in_flight")[""]; n != 0 {
		t.Errorf("%v requests are said to be under way", n)
	}
}

func TestMetricsCountWatches(t *testing.T) {
	reg := prometheus.NewRegistry()
	f := newFixture(t, server.Options{Registerer: reg})
	f.do("PUT", "units/web.service", `{"desiredState": "launched", "options": [{"section": "Service", "name": "ExecStart", "value": "/bin/web"}]}`)
	t.Run("open", func(t *testing.T) {
		inner := &fixture{t: t, cluster: f.cluster, client: f.client}
		inner.watch("unit=web.service").until("a status", func(e api.Event) bool { return e.Status != nil })
		if n := series(t, reg, "fleet_api_watches")[""]; n != 1 {
			t.Errorf("%v watches, want 1", n)
		}
		if n := series(t, reg, "fleet_api_requests_in_flight")[""]; n != 0 {
			t.Errorf("a watch counts as %v requests under way", n)
		}
	}) // its client goes away
	for deadline := time.Now().Add(30 * time.Second); series(t, reg, "fleet_api_watches")[""] != 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a watch whose client went away counts as open")
		}
	}
	if n := series(t, reg, "fleet_api_requests_total")["200 GET /watch "]; n != 1 {
		t.Errorf("%v watches counted, want 1", n)
	}
	if n := series(t, reg, "fleet_api_request_duration_seconds")["GET /watch "]; n != 0 {
		t.Error("a watch's time counts as a request's")
	}
}
