package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/faults"
)

func TestPutsTheTableIntoThePage(t *testing.T) {
	page, err := os.ReadFile(filepath.Join(cluster.Root(), "docs", "reliability.md"))
	if err != nil {
		t.Fatal(err)
	}
	docs, dir := filepath.Join(t.TempDir(), "reliability.md"), t.TempDir()
	if err := os.WriteFile(docs, page, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := run(docs, dir); err == nil || !strings.Contains(err.Error(), "make test-faults") {
		t.Errorf("without rows: %v", err)
	}
	r := faults.Result{Name: "a", Fault: "a fault of this test", Held: true}
	if err := r.Write(dir); err != nil {
		t.Fatal(err)
	}
	var once string
	for range 2 { // again, it is the same
		if err := run(docs, dir); err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(docs)
		if err != nil {
			t.Fatal(err)
		}
		if n := strings.Count(string(got), "| a fault of this test |"); n != 1 || once != "" && once != string(got) {
			t.Errorf("the row is there %d times:\n%s", n, got)
		}
		once = string(got)
	}
}
