package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/manual"
	"github.com/spf13/cobra"
)

// Every fleetctl command that the docs, the alerts and the examples tell people to
// type exists, with its flags.
func TestDocsQuoteCommandsThatExist(t *testing.T) {
	cobra.EnablePrefixMatching = true // as run does
	total := 0
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*.md", "examples/*.service", "examples/*.timer"} {
		files, err := filepath.Glob("../" + pattern)
		if err != nil || len(files) == 0 {
			t.Fatalf("%s: %v, %d files", pattern, err, len(files))
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			markdown := string(text)
			if !strings.HasSuffix(file, ".md") {
				markdown = strings.ReplaceAll(markdown, "\n#  ", "\n    ") // what is indented in a comment
			}
			wrong, looked := manual.Misquoted(func() *cobra.Command { return (&cli{}).rootCommand() }, markdown)
			for _, w := range wrong {
				t.Errorf("%s: %s", file, w)
			}
			total += looked
		}
	}
	if total < 100 {
		t.Errorf("found only %d commands", total)
	}
}
