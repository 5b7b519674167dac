package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/api/server/servertest"
	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

// requests counts what a server was asked, by method and route.
func requests(t *testing.T, g prometheus.Gatherer) map[string]int {
	families, err := g.Gather()
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]int{}
	for _, f := range families {
		if f.GetName() != "fleet_api_requests_total" {
			continue
		}
		for _, m := range f.GetMetric() {
			labels := map[string]string{}
			for _, l := range m.GetLabel() {
				labels[l.GetName()] = l.GetValue()
			}
			out[labels["method"]+" "+labels["route"]] += int(m.GetCounter().GetValue())
		}
	}
	return out
}

// What a command asks must follow what is asked of it: a request for each unit
// that it changes, and one for each 5,000 rows that it lists.
func TestCommandsAskNoMoreThanTheyNeed(t *testing.T) {
	const many = 100
	dir := t.TempDir()
	text := []byte("[Service]\nExecStart=/bin/true\n")
	var files, instances []string
	for i := range many {
		files = append(files, filepath.Join(dir, fmt.Sprintf("u%d.service", i)))
		instances = append(instances, fmt.Sprintf("app@%d.service", i))
		if err := os.WriteFile(files[i], text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	small := func(c *servertest.Cluster) {
		c.SetMachine(node("1", "one", nil))
		if _, _, err := c.SubmitUnit(t.Context(), "app@.service", text, "inactive"); err != nil {
			t.Fatal(err)
		}
	}
	large := func(c *servertest.Cluster) { c.Fill(servertest.Large(10, 11, 1000)) }
	for _, tt := range []struct {
		name    string
		cluster func(*servertest.Cluster)
		args    []string
		want    map[string]int
	}{
		{"start of a template's instances", small, append([]string{"start"}, instances...), map[string]int{"GET /watch": 1, "GET /units/N": 1, "PUT /units/N": many}},
		{"submit", small, append([]string{"submit"}, files...), map[string]int{"GET /watch": 1, "PUT /units/N": many}},
		{"list-units", large, []string{"list-units"}, map[string]int{"GET /state": 3}},
		{"list-unit-files", large, []string{"list-unit-files"}, map[string]int{"GET /units": 3}},
		{"list-machines", large, []string{"list-machines"}, map[string]int{"GET /machines": 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c, reg := servertest.New(t), prometheus.NewRegistry()
			tt.cluster(c)
			endpoint := c.Serve(t, server.Options{Registerer: reg})
			var out bytes.Buffer
			cl := &cli{stdin: strings.NewReader(""), stdout: &out, stderr: &out}
			if code := cl.run(append([]string{"--endpoint", endpoint}, tt.args...)); code != 0 {
				t.Fatal(out.String())
			}
			// A request is counted once its handler is done, which a watch is after its client.
			var diff string
			for deadline := time.Now().Add(10 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
				if diff = cmp.Diff(tt.want, requests(t, reg)); diff == "" {
					return
				}
			}
			t.Error(diff)
		})
	}
}
