package check

import (
	"encoding/json"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// metric is one of fleet's, as docs/metrics.md has it. That the document is
// true is fleetd's test.
type metric struct {
	kind   string
	labels []string
}

var rowOf = regexp.MustCompile("(?m)^\\| `(fleet_[a-z_]+)` \\| ([a-z]+) \\| ([^|]*)\\|")

func documented(t *testing.T) map[string]metric {
	t.Helper()
	text, err := os.ReadFile("../../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]metric{}
	for _, row := range rowOf.FindAllStringSubmatch(string(text), -1) {
		out[row[1]] = metric{row[2], strings.Fields(strings.ReplaceAll(row[3], "`", ""))}
	}
	if len(out) < 20 {
		t.Fatalf("docs/metrics.md lists only %d metrics", len(out))
	}
	return out
}

// fromScraping are the labels that Prometheus adds.
var fromScraping = []string{"job", "instance", "__name__"}

// checkExpr has Prometheus parse an expression, and looks its metrics and labels
// up. It gives what is wrong, and notes which metrics are used.
func checkExpr(expr string, known map[string]metric, used map[string]bool) (wrong []string) {
	parsed, err := parser.ParseExpr(expr)
	if err != nil {
		return []string{fmt.Sprintf("%s: %v", expr, err)}
	}
	has := append([]string{"le"}, fromScraping...) // the labels of all metrics here
	parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
		v, ok := n.(*parser.VectorSelector)
		if !ok {
			return nil
		}
		base, m, ok := lookUp(v.Name, known)
		if !ok {
			wrong = append(wrong, fmt.Sprintf("fleet has no %s", v.Name))
			return nil
		}
		used[base] = true
		has = append(has, m.labels...)
		for _, matcher := range v.LabelMatchers {
			if !slices.Contains(m.labels, matcher.Name) && !slices.Contains(fromScraping, matcher.Name) {
				wrong = append(wrong, fmt.Sprintf("%s has no label %s", v.Name, matcher.Name))
			}
		}
		return nil
	})
	parser.Inspect(parsed, func(n parser.Node, _ []parser.Node) error {
		if by, ok := n.(*parser.AggregateExpr); ok {
			for _, l := range by.Grouping {
				if !slices.Contains(has, l) {
					wrong = append(wrong, fmt.Sprintf("%s groups by %s, which no metric there has", expr, l))
				}
			}
		}
		return nil
	})
	return wrong
}

// lookUp finds a series' metric: a histogram has three.
func lookUp(series string, known map[string]metric) (string, metric, bool) {
	if series == "up" || strings.HasPrefix(series, "process_") {
		return series, metric{}, true
	}
	if m, ok := known[series]; ok {
		return series, m, m.kind != "histogram"
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if base, cut := strings.CutSuffix(series, suffix); cut && known[base].kind == "histogram" {
			return base, known[base], true
		}
	}
	return "", metric{}, false
}

func TestAlerts(t *testing.T) {
	known, used := documented(t), map[string]bool{}
	groups, errs := rulefmt.ParseFile("../prometheus/fleet.rules.yml", false, model.UTF8Validation)
	for _, err := range errs {
		t.Error(err)
	}
	if len(errs) > 0 {
		return
	}
	seen := map[string]bool{}
	for _, g := range groups.Groups {
		for _, r := range g.Rules {
			if seen[r.Alert] {
				t.Errorf("there are two alerts named %s", r.Alert)
			}
			seen[r.Alert] = true
			for _, a := range []string{"summary", "description", "action"} {
				if r.Annotations[a] == "" {
					t.Errorf("%s has no %s", r.Alert, a)
				}
			}
			if !slices.Contains([]string{"critical", "warning", "info"}, r.Labels["severity"]) {
				t.Errorf("%s has severity %q", r.Alert, r.Labels["severity"])
			}
			for _, wrong := range checkExpr(r.Expr, known, used) {
				t.Errorf("%s: %s", r.Alert, wrong)
			}
		}
	}
	if len(seen) < 10 {
		t.Errorf("only %d alerts", len(seen))
	}
}

// dashboard is the part of Grafana's model that is looked at.
type dashboard struct {
	UID        string
	Title      string
	Templating struct{ List []struct{ Name, Type string } }
	Panels     []panel
}

type panel struct {
	ID         int
	Type       string
	Title      string
	GridPos    struct{ X, Y, W, H int }
	Datasource struct{ UID string }
	Targets    []struct{ Expr, RefID string }
}

// variables stand for what Grafana puts there.
var variables = strings.NewReplacer("$__rate_interval", "5m", "$job", "fleet", "$instance", ".*")

func TestDashboard(t *testing.T) {
	known, used := documented(t), map[string]bool{}
	text, err := os.ReadFile("../grafana/fleet.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	if err := json.Unmarshal(text, &d); err != nil {
		t.Fatal(err)
	}
	if d.UID == "" || d.Title == "" || len(d.Templating.List) == 0 || d.Templating.List[0].Type != "datasource" {
		t.Error("a dashboard has a uid, a title, and a variable for its data source")
	}
	ids := map[int]string{}
	for _, p := range d.Panels {
		if other, twice := ids[p.ID]; twice || p.ID == 0 {
			t.Errorf("%q has id %d, as %q has", p.Title, p.ID, other)
		}
		ids[p.ID] = p.Title
		for _, q := range d.Panels {
			if q.ID < p.ID && overlap(p, q) {
				t.Errorf("%q lies over %q", p.Title, q.Title)
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Datasource.UID != "${datasource}" {
			t.Errorf("%q has a data source of its own: %q", p.Title, p.Datasource.UID)
		}
		if len(p.Targets) == 0 {
			t.Errorf("%q shows nothing", p.Title)
		}
		for _, target := range p.Targets {
			for _, wrong := range checkExpr(variables.Replace(target.Expr), known, used) {
				t.Errorf("%q: %s", p.Title, wrong)
			}
		}
	}
	for name := range known {
		if !used[name] && !slices.Contains(unseen, name) {
			t.Errorf("no panel shows %s", name)
		}
	}
}

// unseen are of no use on a dashboard: is_leader says it better.
var unseen = []string{"fleet_engine_leader_start_time"}

func overlap(p, q panel) bool {
	a, b := p.GridPos, q.GridPos
	return a.X < b.X+b.W && b.X < a.X+a.W && a.Y < b.Y+b.H && b.Y < a.Y+a.H
}

// The check itself must find what is wrong.
func TestCheckFinds(t *testing.T) {
	known := documented(t)
	for name, expr := range map[string]string{
		"a metric that isn't there":        "fleet_engine_unitz",
		"a label that isn't there":         `fleet_engine_units{unit="a"}`,
		"a grouping by one":                "sum by (unit) (fleet_engine_units)",
		"a histogram as if it were simple": "fleet_engine_start_to_active_seconds",
		"no PromQL":                        "sum(fleet_engine_units",
	} {
		if len(checkExpr(expr, known, map[string]bool{})) == 0 {
			t.Errorf("%s passes: %s", name, expr)
		}
	}
}
