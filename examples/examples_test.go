// Package examples_test holds the example units to fleet's own validation.
package examples_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/unit"
)

func TestExamplesAreValid(t *testing.T) {
	readme, err := os.ReadFile("README.md")
	if err != nil {
		t.Fatal(err)
	}
	var files []string
	for _, kind := range []string{"*.service", "*.timer"} {
		found, err := filepath.Glob(kind)
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, found...)
	}
	if len(files) < 8 {
		t.Fatalf("only %d examples", len(files))
	}
	for _, file := range files {
		t.Run(file, func(t *testing.T) {
			if !strings.Contains(string(readme), "("+file+")") {
				t.Error("README.md doesn't list it")
			}
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			name := unit.Name(strings.Replace(file, "@.", "@1.", 1)) // an instance of a template
			f, err := unit.ParseFor(name, text)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := f.Requirements(name); err != nil {
				t.Error(err)
			}
			if f.Description() == "" {
				t.Error("it has no Description=")
			}
		})
	}
}
