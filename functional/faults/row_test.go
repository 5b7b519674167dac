package faults

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func twoRows() []*Result {
	return []*Result{
		{
			Name: "z", Number: 0, Fault: "a host dies", Promised: "its units run elsewhere", Test: "TestFaults/z", Held: true,
			Seen: Seen{Units: 12, Moved: 4, Away: 5.25, Converged: 5.3, Note: "one | note"},
		},
		{
			Name: "a", Number: 1, Fault: "a fleetd stops", Promised: "its units are stopped when it goes on", Test: "TestFaults/a",
			Seen: Seen{Units: 12, Lost: 1, Doubled: 2, Apart: 3, ApartFor: 10, Restarted: 4, Moved: 5},
		},
	}
}

func TestRowsAreKeptInTheirOrder(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "faults")
	want := twoRows()
	for _, r := range []*Result{want[1], want[0]} {
		if err := r.Write(dir); err != nil {
			t.Fatal(err)
		}
		if !strings.HasPrefix(r.Where, "Commit ") {
			t.Errorf("written without where it was: %q", r.Where)
		}
	}
	got, err := ReadResults(dir)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
	if err := os.WriteFile(filepath.Join(dir, "b.json"), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadResults(dir); err == nil || !strings.Contains(err.Error(), "b.json") {
		t.Errorf("a file that is none: %v", err)
	}
}

func TestTable(t *testing.T) {
	want := "FAULT a host dies | PROMISED its units run elsewhere | SEEN of 12 units: lost 0, doubled 0, restarted 0, moved 4; " +
		"longest away 5.2 s, settled after 5.3 s; one | note\n" +
		"FAULT a fleetd stops | PROMISED BROKEN: its units are stopped when it goes on | SEEN of 12 units: lost 1, " +
		"doubled 2 (3 while a host was out of touch, for 10.0 s), restarted 4, moved 5; longest away 0.0 s, settled after 0.0 s\n" +
		"2 faults, 1 of them with all that was promised\n"
	if d := cmp.Diff(want, Table(twoRows())); d != "" {
		t.Errorf("-want +got:\n%s", d)
	}
}

// A figure that nobody counted isn't shown as none.
func TestUncountedIsNotNone(t *testing.T) {
	row := Result{Seen: Seen{Units: 5, Moved: 100, Uncounted: true}}
	if got := row.String(); !strings.Contains(got, "restarted –, moved 100; longest away –,") {
		t.Error(got)
	}
}

func TestMarkdown(t *testing.T) {
	rows := twoRows()
	rows[0].Where, rows[1].Where = "Commit 1.", "Commit 1."
	page := Markdown(rows)
	if n := strings.Count(page, "Commit 1."); n != 1 {
		t.Errorf("where it was is told %d times:\n%s", n, page)
	}
	lines := strings.Split(strings.TrimSpace(page), "\n")
	if len(lines) != 6 {
		t.Fatalf("%d lines:\n%s", len(lines), page)
	}
	for _, line := range lines[2:] {
		if n := strings.Count(strings.ReplaceAll(line, `\|`, ""), "|") - 1; n != len(heads) {
			t.Errorf("%d cells, not %d: %s", n, len(heads), line)
		}
	}
}

// Every row says what it does and what is promised, under a name of its own; those
// of make test are some.
func TestRowsSayWhatTheyAre(t *testing.T) {
	names, some := map[string]bool{}, 0
	for _, r := range rows() {
		if r.name == "" || r.fault == "" || r.promised == "" || r.run == nil || names[r.name] {
			t.Errorf("row %q", r.name)
		}
		if strings.ContainsAny(r.name, ", /") {
			t.Errorf("row %q can't be chosen by its name", r.name)
		}
		names[r.name] = true
		if r.some {
			some++
		}
	}
	if some == 0 || some == len(names) {
		t.Errorf("%d of %d rows are a part of make test", some, len(names))
	}
}
