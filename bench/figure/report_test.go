package figure

import (
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write what the tests see as what they want")

// sample has a figure of every kind.
func sample() *Report {
	r := &Report{Where: []string{"Commit 0123456789ab."}}
	r.Add("planner",
		Figure{Name: "place all", Value: 7.707, Unit: "s", Want: AtMost(10), Note: "a million units"},
		Figure{Name: "decisions a second", Value: 98000, Unit: "/s", Want: AtLeast(100000)},
		Figure{Name: "placed by mistake", Value: 0, Want: AtMost(0)})
	r.Add("hosts",
		Figure{Name: "start of one unit, p50", Value: 31.25, Unit: "ms", Beside: &Beside{"by hand", 12.5}, Want: AtMost(52.5)},
		Figure{Name: "memory", Value: 33, Unit: "MB"})
	r.Series = []Series{{Subject: "planner", Name: "place all", XLabel: "units", YLabel: "s", Points: []Point{{1000, 0.002}, {1e6, 7.7}}}}
	return r
}

func TestTable(t *testing.T) {
	want := filepath.Join("testdata", "table.txt")
	got := sample().String()
	if *update {
		if err := os.WriteFile(want, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	text, err := os.ReadFile(want)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(text) {
		t.Errorf("the table is\n%s\nand not (-update, if it should be)\n%s", got, text)
	}
}

func TestWriteAndRead(t *testing.T) {
	dir := t.TempDir()
	first, second := filepath.Join(dir, "out", "first.json"), filepath.Join(dir, "out", "second.json")
	if err := sample().Write(first); err != nil {
		t.Fatal(err)
	}
	later := &Report{}
	later.Add("fleetctl", Figure{Name: "version", Value: 3, Unit: "ms"})
	if err := later.Write(second); err != nil {
		t.Fatal(err)
	}
	got, err := Read(first, second, first)
	if err != nil {
		t.Fatal(err)
	}
	if len(got.Where) != 2 || got.Where[0] != "Commit 0123456789ab." || !strings.HasPrefix(got.Where[1], "Commit ") {
		t.Errorf("where: %q", got.Where)
	}
	want := append(append(sample().Figures, later.Figures...), sample().Figures...)
	if !reflect.DeepEqual(got.Figures, want) {
		t.Errorf("figures: %+v", got.Figures)
	}
	if !reflect.DeepEqual(got.Series, append(sample().Series, sample().Series...)) {
		t.Errorf("series: %+v", got.Series)
	}
}

// bench/swarmkit and bench/plot are modules of their own, which write and read
// these very names.
func TestNamesInTheFile(t *testing.T) {
	text, err := json.Marshal(sample())
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{
		`"Figures":[{"Subject":"planner","Name":"place all","Value":7.707,"Unit":"s"`,
		`"Beside":{"Name":"by hand","Value":12.5}`, `"Note":"a million units"`,
		`"Series":[{"Subject":"planner","Name":"place all","XLabel":"units","YLabel":"s","Points":[{"X":1000,"Y":0.002},`,
	} {
		if !strings.Contains(string(text), want) {
			t.Errorf("there is no %s in %s", want, text)
		}
	}
}

func TestReadNamesTheFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "go.txt")
	if err := os.WriteFile(path, []byte("BenchmarkStart"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Read(path); err == nil || !strings.Contains(err.Error(), path) {
		t.Error(err)
	}
	if _, err := Read(path + ".json"); err == nil || !strings.Contains(err.Error(), path+".json") {
		t.Error(err)
	}
}
