package main

import (
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/bench/figure"
)

var update = flag.Bool("update", false, "write what the tests see as what they want")

// written is a report of two subjects, in a file.
func written(t *testing.T) string {
	t.Helper()
	r := &figure.Report{Where: []string{"Commit 0123456789ab, on two processors."}}
	r.Add("planner",
		figure.Figure{Name: "place all", Value: 7.707, Unit: "s", Want: figure.AtMost(10), Note: "a million units"},
		figure.Figure{Name: "placed by mistake", Value: 1, Want: figure.AtMost(0)})
	r.Add("hosts",
		figure.Figure{Name: "start | one unit", Value: 31.25, Unit: "ms", Beside: &figure.Beside{Name: "by hand", Value: 12.5}})
	path := filepath.Join(t.TempDir(), "report.json")
	if err := r.Write(path); err != nil {
		t.Fatal(err)
	}
	return path
}

const page = "# Performance\n\n" + begin + "An earlier table.\n" + end + "\n## What follows\n"

func TestPutsTheTableIntoAPage(t *testing.T) {
	docs := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(docs, []byte(page), 0o644); err != nil {
		t.Fatal(err)
	}
	report := written(t)
	for range 2 { // again, it is the same
		if err := run(docs, []string{report}); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(docs)
		if err != nil {
			t.Fatal(err)
		}
		golden := filepath.Join("testdata", "page.md")
		if *update {
			if err := os.WriteFile(golden, got, 0o644); err != nil {
				t.Fatal(err)
			}
		}
		want, err := os.ReadFile(golden)
		if err != nil {
			t.Fatal(err)
		}
		if string(got) != string(want) {
			t.Errorf("the page is\n%s\nand not (-update, if it should be)\n%s", got, want)
		}
	}
}

func TestRefuses(t *testing.T) {
	for _, tt := range []struct{ name, page, want string }{
		{"no marks", "# Performance\n", "make bench: begin"},
		{"no end", "# Performance\n" + begin, "make bench: end"},
		{"the end before the beginning", end + begin, "make bench: end"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			docs := filepath.Join(t.TempDir(), "performance.md")
			if err := os.WriteFile(docs, []byte(tt.page), 0o644); err != nil {
				t.Fatal(err)
			}
			if err := run(docs, []string{written(t)}); err == nil || !strings.Contains(err.Error(), tt.want) || !strings.Contains(err.Error(), docs) {
				t.Error(err)
			}
			if got, err := os.ReadFile(docs); err != nil || string(got) != tt.page {
				t.Errorf("the page was changed to %q: %v", got, err)
			}
		})
	}
	t.Run("no reports", func(t *testing.T) {
		if err := run("", nil); err == nil || !strings.Contains(err.Error(), "dist/out/bench") {
			t.Error(err)
		}
	})
}

// The page that make bench-docs writes to has its marks.
func TestDocsHaveAPlaceForTheTable(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := filepath.Join(t.TempDir(), "performance.md")
	if err := os.WriteFile(page, text, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := figure.Put(page, begin, end, "a table\n"); err != nil {
		t.Error(err)
	}
}
