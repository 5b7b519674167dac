package functional

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
)

// scraped is what one host's /metrics tells.
type scraped map[string]*dto.MetricFamily

// scrape asks a host over the API's socket, as an operator would.
func (w *world) scrape(h *platform.Host) scraped {
	w.t.Helper()
	text := w.run(h, "curl -sf --unix-socket /run/fleet.sock http://fleet/metrics") + "\n"
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(text))
	if err != nil {
		w.t.Fatalf("%s: %v", h.Name(), err)
	}
	problems, err := promlint.New(strings.NewReader(text)).Lint()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, p := range problems {
		if strings.HasPrefix(p.Metric, "fleet_") {
			w.t.Errorf("%s: %s: %s", h.Name(), p.Metric, p.Text)
		}
	}
	return families
}

// value is the sum of a family's series that have these labels (k=v); of a
// histogram, the count. told says whether there is any.
func (s scraped) value(name string, labels ...string) (sum float64, told bool) {
	for _, m := range s[name].GetMetric() {
		have := map[string]bool{}
		for _, l := range m.GetLabel() {
			have[l.GetName()+"="+l.GetValue()] = true
		}
		if slices.ContainsFunc(labels, func(l string) bool { return !have[l] }) {
			continue
		}
		told = true
		sum += m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
	}
	return sum, told
}

// sum is a value over all hosts.
func (w *world) sum(name string, labels ...string) (sum float64) {
	w.t.Helper()
	for _, h := range w.Hosts {
		if h.State() != platform.Running {
			continue
		}
		v, _ := w.scrape(h).value(name, labels...)
		sum += v
	}
	return sum
}

// awaitSum waits for a sum over all hosts.
func (w *world) awaitSum(want float64, name string, labels ...string) {
	w.t.Helper()
	w.await(fmt.Sprintf("%s %v to be %v over all hosts", name, labels, want), func() (bool, string) {
		got := w.sum(name, labels...)
		return got == want, strconv.FormatFloat(got, 'g', -1, 64)
	})
}

// fleet 1.0's metrics are there, under its names and with its types; docs and
// hosts know the same metrics; every host's text is sound; and exactly one host
// tells of the cluster.
func TestMetricsOnEveryHost(t *testing.T) {
	w := use(t)
	told, leaders := scraped{}, 0
	for _, h := range w.Hosts {
		w.run(h, "fleetctl list-units") // so that its API has answered something
		families := w.scrape(h)
		maps.Copy(told, families)
		leads, _ := families.value("fleet_engine_is_leader")
		if _, tells := families.value("fleet_engine_units"); tells != (leads == 1) {
			t.Errorf("%s: leads %v, tells of units: %v", h.Name(), leads, tells)
		}
		if start, _ := families.value("fleet_engine_leader_start_time"); (start > 0) != (leads == 1) {
			t.Errorf("%s: leads %v since %v", h.Name(), leads, start)
		}
		leaders += int(leads)
		for _, gauge := range []string{"fleet_registry_etcd_up", "fleet_agent_systemd_connected", "fleet_build_info"} {
			if v, _ := families.value(gauge); v != 1 {
				t.Errorf("%s: %s %v", h.Name(), gauge, v)
			}
		}
		left, _ := families.value("fleet_registry_lease_remaining_seconds")
		if left <= 0 || left > agentTTL.Seconds() {
			t.Errorf("%s: its lease has %v seconds left", h.Name(), left)
		}
	}
	if leaders != 1 {
		t.Errorf("%d leaders", leaders)
	}
	for name, kind := range documentedMetrics(t) {
		switch family := told[name]; {
		case family == nil:
			t.Errorf("no host tells %s, which docs/metrics.md lists", name)
		case strings.ToLower(family.GetType().String()) != kind:
			t.Errorf("%s is a %s, docs/metrics.md says %s", name, family.GetType(), kind)
		}
		delete(told, name)
	}
	for name := range told {
		if strings.HasPrefix(name, "fleet_") {
			t.Errorf("docs/metrics.md lacks %s", name)
		}
	}
}

var metricRow = regexp.MustCompile("(?m)^\\| `(fleet_[a-z_]+)` \\| ([a-z]+) \\|")

// documentedMetrics gives the types of the metrics that docs/metrics.md lists.
func documentedMetrics(t *testing.T) map[string]string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(cluster.Root(), "docs/metrics.md"))
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]string{}
	for _, row := range metricRow.FindAllStringSubmatch(string(text), -1) {
		out[row[1]] = row[2]
	}
	for name, kind := range map[string]string{ // fleet 1.0's
		"fleet_engine_leader_start_time":              "gauge",
		"fleet_engine_task_count_total":               "counter",
		"fleet_engine_task_failure_count_total":       "counter",
		"fleet_engine_reconcile_count_total":          "counter",
		"fleet_engine_reconcile_duration_second":      "histogram",
		"fleet_engine_reconcile_failure_count_total":  "counter",
		"fleet_registry_operation_count_total":        "counter",
		"fleet_registry_operation_failed_count_total": "counter",
		"fleet_registry_operation_duration_second":    "histogram",
	} {
		if out[name] != kind {
			t.Errorf("docs/metrics.md has %s as %q, want %s", name, out[name], kind)
		}
	}
	return out
}

// What the leader tells of units is what is so, and a scrape costs etcd nothing.
func TestMetricsTellOfUnits(t *testing.T) {
	w := use(t)
	started := w.sum("fleet_engine_start_to_active_seconds", "cause=start")
	tasks := w.sum("fleet_engine_task_count_total", "type=attemptscheduleunit")
	w.fleetctl("start", w.file("m1.service", sleeper("")), w.file("m2.service", sleeper("")))
	w.fleetctl("load", w.file("m3.service", sleeper("")))
	w.fleetctl("submit", w.file("m4.service", sleeper("")))
	w.fleetctl("start", "--no-block", w.file("m5.service", sleeper("MachineMetadata=region=mars\n")))
	w.fleetctl("start", "--no-block", w.file("m6.service", "[Service]\nExecStartPre=/bin/false\nExecStart=/bin/true\n"))
	w.awaitSum(3, "fleet_engine_units", "desired=launched", "current=launched")
	w.awaitSum(1, "fleet_engine_units", "desired=launched", "current=inactive")
	w.awaitSum(1, "fleet_engine_units", "desired=loaded", "current=loaded")
	w.awaitSum(1, "fleet_engine_units", "desired=inactive", "current=inactive")
	w.awaitSum(1, "fleet_engine_unplaced_units", "reason=fits_nowhere")
	w.awaitSum(2, "fleet_engine_unit_states", "active=active")
	w.awaitSum(1, "fleet_engine_unit_states", "active=failed")
	w.awaitSum(2, "fleet_agent_units", "active=active")
	w.awaitSum(1, "fleet_agent_units", "active=failed")
	w.awaitSum(3, "fleet_engine_machines", "state=ready")
	w.awaitSum(started+2, "fleet_engine_start_to_active_seconds", "cause=start")
	if n := w.sum("fleet_engine_task_count_total", "type=attemptscheduleunit") - tasks; n < 4 {
		t.Errorf("%v placements counted for four units", n)
	}
	for _, never := range []string{"fleet_engine_safety_net_repairs_total", "fleet_agent_reconcile_repairs_total", "fleet_engine_suspended", "fleet_agent_suspended"} {
		if n := w.sum(never); n != 0 {
			t.Errorf("%s %v", never, n)
		}
	}
	if n := w.sum("fleet_agent_systemd_reloads_total", "reason=rescue"); n != 0 {
		t.Errorf("%v times systemd did not find a file that was there", n)
	}
	before := w.sum("fleet_registry_operation_count_total", "type=get") + w.sum("fleet_registry_operation_count_total", "type=get_all")
	for range 20 {
		w.scrape(w.Any())
	}
	after := w.sum("fleet_registry_operation_count_total", "type=get") + w.sum("fleet_registry_operation_count_total", "type=get_all")
	if after-before >= 20 {
		t.Errorf("20 scrapes asked etcd %v times", after-before)
	}
}

// What docs/metrics.md says of scraping over TCP works, and touches no unit.
func TestMetricsOverTCP(t *testing.T) {
	w := use(t)
	before := w.startMany("tcp", 3, "Conflicts=tcp@*.service\n")
	h := w.Any()
	const dropIn = "/etc/systemd/system/fleet.socket.d/metrics.conf"
	restart := func(what string) {
		t.Helper()
		w.run(h, what+"; systemctl daemon-reload; systemctl stop fleet.socket; systemctl restart fleet.service")
	}
	restart(fmt.Sprintf("mkdir -p $(dirname %s); printf '[Socket]\nListenStream=%s:49153\n' >%s", dropIn, h.IP(), dropIn))
	defer restart("rm " + dropIn)
	w.await("an answer over TCP", func() (bool, string) {
		out, err := w.Hosts[2].Run(w.ctx, "curl", "-sf", "http://"+h.IP()+":49153/metrics")
		return err == nil && strings.Contains(out, "fleet_build_info"), out
	})
	if after := w.where("tcp@"); !maps.Equal(before, after) {
		t.Errorf("before: %v\nafter: %v", before, after)
	}
}

// A host's death shows: one machine fewer, its unit moved, in less than the time
// that it has.
func TestMetricsTellOfALoss(t *testing.T) {
	w := use(t)
	w.fleetctl("start", w.file("mv.service", sleeper("")))
	h := w.host("mv.service")
	moved, changes := 0.0, 0.0
	for _, other := range w.Hosts {
		if other != h { // the counters of the one that dies are lost
			s := w.scrape(other)
			v, _ := s.value("fleet_engine_start_to_active_seconds", "cause=move")
			moved += v
			v, _ = s.value("fleet_engine_machines_lost_total")
			changes += v
		}
	}
	if err := h.Kill(); err != nil {
		t.Fatal(err)
	}
	w.awaitSum(moved+1, "fleet_engine_start_to_active_seconds", "cause=move")
	w.awaitSum(2, "fleet_engine_machines", "state=ready")
	w.awaitSum(changes+1, "fleet_engine_machines_lost_total")
	w.awaitSum(1, "fleet_engine_is_leader")
	if err := h.Start(w.ctx); err != nil {
		t.Fatal(err)
	}
	w.awaitSum(3, "fleet_engine_machines", "state=ready")
	w.awaitSum(0, "fleet_engine_machines", "state=absent")
}
