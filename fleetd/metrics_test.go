package main

import (
	"maps"
	"net/http/httptest"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/agent"
	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/engine"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
)

// described takes down what is registered.
type described struct {
	*prometheus.Registry
	all []prometheus.Collector
}

// MustRegister is prometheus.Registerer's.
func (d *described) MustRegister(cs ...prometheus.Collector) {
	d.Registry.MustRegister(cs...)
	d.all = append(d.all, cs...)
}

var descOf = regexp.MustCompile(`fqName: "([^"]*)".*constLabels: \{([^}]*)\}.*variableLabels: \{([^}]*)\}`)

// labels gives the labels of each metric of fleet's, sorted.
func (d *described) labels(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, c := range d.all {
		descs := make(chan *prometheus.Desc, 100)
		c.Describe(descs)
		close(descs)
		for desc := range descs {
			m := descOf.FindStringSubmatch(desc.String())
			if m == nil {
				t.Fatalf("%s: the form is new", desc)
			}
			var names []string
			for _, l := range strings.Split(m[2], ",") {
				name, _, _ := strings.Cut(l, "=")
				names = append(names, name)
			}
			names = append(names, strings.Split(m[3], ",")...)
			names = slices.DeleteFunc(names, func(s string) bool { return s == "" })
			slices.Sort(names)
			out[m[1]] = strings.Join(names, " ")
		}
	}
	return out
}

// everything registers all that a node does.
func everything(t *testing.T) *described {
	t.Helper()
	d := &described{Registry: prometheus.NewRegistry()}
	d.MustRegister(buildInfo())
	newReloads(d)
	reg, err := registry.Dial(registry.Config{Endpoints: []string{"unix:///nowhere"}, Metrics: d})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { reg.Close() })
	engine.New(engine.Options{Metrics: d})
	agent.New(agent.Options{Metrics: d, Machine: func() machine.Machine { return machine.Machine{} }})
	if _, err := systemd.Dial(t.Context(), systemd.Options{Address: "unix:path=/nowhere", UnitDir: t.TempDir(), Metrics: d}); err == nil {
		t.Fatal("there is a systemd nowhere")
	}
	srv := server.New(server.Options{Registry: reg, Registerer: d})
	srv.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest("GET", "/", nil)) // so that it has something to tell
	return d
}

var rowOf = regexp.MustCompile("(?m)^\\| `(fleet_[a-z_]+)` \\| [a-z]+ \\| ([^|]*)\\|")

func TestDocsListAllMetrics(t *testing.T) {
	text, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := map[string]string{}
	for _, row := range rowOf.FindAllStringSubmatch(string(text), -1) {
		if _, twice := documented[row[1]]; twice {
			t.Errorf("docs/metrics.md lists %s twice", row[1])
		}
		labels := strings.Fields(strings.ReplaceAll(row[2], "`", ""))
		slices.Sort(labels)
		documented[row[1]] = strings.Join(labels, " ")
	}
	registered := everything(t).labels(t)
	for _, name := range slices.Sorted(maps.Keys(registered)) {
		labels, ok := documented[name]
		switch {
		case !ok:
			t.Errorf("docs/metrics.md lacks %s", name)
		case labels != registered[name]:
			t.Errorf("docs/metrics.md gives %s the labels %q, it has %q", name, labels, registered[name])
		}
		delete(documented, name)
	}
	for name := range documented {
		t.Errorf("docs/metrics.md lists %s, which nobody registers", name)
	}
}

// fleet 1.0's names are odd to us (a histogram of _second), but not to the linter.
func TestMetricsFollowConventions(t *testing.T) {
	problems, err := testutil.GatherAndLint(everything(t))
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range problems {
		t.Errorf("%s: %s", p.Metric, p.Text)
	}
}
