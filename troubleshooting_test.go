package fleet_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	quoted = regexp.MustCompile("`([^`]+)`")
	// placeholders stand in a quoted message for what differs.
	placeholders = regexp.MustCompile(`…|\bUNIT\b|\bN\b`)
)

// Whoever searches docs/troubleshooting.md for what fleet said at three in the
// morning must find it: the messages that it explains are those of the code.
func TestTroubleshootingQuotesWhatFleetSays(t *testing.T) {
	text, err := os.ReadFile("docs/troubleshooting.md")
	if err != nil {
		t.Fatal(err)
	}
	source := sourceText(t)
	looked := 0
	for _, line := range strings.Split(string(text), "\n") {
		cells := strings.Split(line, "|")
		if len(cells) < 3 {
			continue // no row of a table
		}
		for _, m := range quoted.FindAllStringSubmatch(cells[1], -1) {
			if !strings.Contains(m[1], " ") {
				continue // a word of systemd's
			}
			looked++
			for _, part := range placeholders.Split(m[1], -1) {
				if part = strings.Trim(part, " ():,"); len(part) > 3 && !strings.Contains(source, part) {
					t.Errorf("docs/troubleshooting.md quotes %q, but nothing says %q", m[1], part)
				}
			}
		}
	}
	if looked < 20 {
		t.Errorf("found only %d messages", looked)
	}
}

// sourceText is all code but the tests'; messages that are broken over lines are
// put together.
func sourceText(t *testing.T) string {
	t.Helper()
	var all strings.Builder
	err := filepath.WalkDir(".", func(path string, _ fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		all.Write(text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`"\s*\+\s*"`).ReplaceAllString(all.String(), "")
}
