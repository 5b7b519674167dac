package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// sweeps are two series of one panel and one of another, as bench/figure writes
// them.
const sweeps = `{"Figures": [{"Subject": "planner", "Name": "place all", "Value": 9}], "Series": [
	{"Subject": "planner", "Name": "place all", "XLabel": "units", "YLabel": "s", "Points": [{"X": 1000, "Y": 0.005}, {"X": 1000000, "Y": 7}]},
	{"Subject": "cluster", "Name": "running", "XLabel": "agents", "YLabel": "ms", "Points": [{"X": 100, "Y": 12}]},
	{"Subject": "planner", "Name": "SwarmKit <&>", "XLabel": "units", "YLabel": "s", "Points": [{"X": 1000, "Y": 0.01}, {"X": 100000, "Y": 14}]},
	{"Subject": "planner", "Name": "not run", "XLabel": "units", "YLabel": "s", "Points": []}
]}`

func written(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "report.json")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestDrawsTheSameEveryTime(t *testing.T) {
	report := written(t, sweeps)
	var before []byte
	for range 3 {
		path := filepath.Join(t.TempDir(), "plot.svg")
		if err := run(path, []string{report}); err != nil {
			t.Fatal(err)
		}
		picture, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if before != nil && !bytes.Equal(before, picture) {
			t.Error("the same reports gave another picture")
		}
		before = picture
	}
	for _, want := range []string{"<svg", ">planner<", ">cluster<", ">place all<", ">SwarmKit &lt;&amp;&gt;<", ">1,000,000<", ">0.001<", ">agents<", ">ms<"} {
		if !bytes.Contains(before, []byte(want)) {
			t.Errorf("the picture has no %s", want)
		}
	}
	if bytes.Contains(before, []byte("not run")) {
		t.Error("the picture names a series without points")
	}
}

func TestSeriesShareAPanel(t *testing.T) {
	all, err := read(written(t, sweeps))
	if err != nil {
		t.Fatal(err)
	}
	panels := panelsOf(all)
	if len(panels) != 2 || len(panels[0]) != 2 || len(panels[1]) != 1 {
		t.Fatalf("%+v", panels)
	}
	if panels[0][1].Name != "SwarmKit <&>" || panels[1][0].Subject != "cluster" {
		t.Errorf("%+v", panels)
	}
}

func TestRefusesWhatItCannotDraw(t *testing.T) {
	for _, tt := range []struct{ name, text, want string }{
		{"nothing", `{}`, "no series"},
		{"not a report", `figure`, "not a report"},
		{"zero", strings.ReplaceAll(sweeps, "0.005", "0"), "logarithmic"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := run(filepath.Join(t.TempDir(), "plot.svg"), []string{written(t, tt.text)})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Error(err)
			}
		})
	}
}

func TestDecades(t *testing.T) {
	for _, tt := range []struct {
		name        string
		least, most float64
		from, to    float64
	}{
		{"between", 0.02, 300, 0.01, 1000},
		{"at their ends", 10, 1000, 10, 1000},
		{"one value", 100, 100, 100, 1000},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if from, to := decadesAround(tt.least, tt.most); from != tt.from || to != tt.to {
				t.Errorf("%v to %v", from, to)
			}
		})
	}
	var labels []string
	ticks := decades(100, 10000)
	for _, tick := range ticks {
		if tick.Label != "" {
			labels = append(labels, tick.Label)
		}
	}
	if got := strings.Join(labels, " "); got != "100 1,000 10,000" || len(ticks) != 19 {
		t.Errorf("%d ticks: %s", len(ticks), got)
	}
}
