package main

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/fleet-project/fleet/manual"
)

// Every fleetd command that the docs tell people to type exists, with its flags.
func TestDocsQuoteCommandsThatExist(t *testing.T) {
	total := 0
	for _, pattern := range []string{"*.md", "docs/*.md"} {
		files, err := filepath.Glob("../" + pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d files", pattern, err, len(files))
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			wrong, looked := manual.Misquoted(rootCommand, string(text))
			for _, w := range wrong {
				t.Errorf("%s: %s", file, w)
			}
			total += looked
		}
	}
	if total < 10 {
		t.Errorf("found only %d commands", total)
	}
}
