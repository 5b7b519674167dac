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
	for _, said := range messagesIn(string(text)) {
		looked++
		for _, part := range placeholders.Split(said, -1) {
			if part = strings.Trim(part, " ():,"); len(part) > 3 && !strings.Contains(source, part) {
				t.Errorf("docs/troubleshooting.md quotes %q, but nothing says %q", said, part)
			}
		}
	}
	if looked < 25 {
		t.Errorf("found only %d messages", looked)
	}
}

// notFleets is what a person runs or asks Prometheus, or what etcd says.
var notFleets = regexp.MustCompile(`^(systemctl|journalctl|fleetctl|etcdctl|mvcc:) |^sum\(`)

// messagesIn gives what the document quotes of fleet's: in the first column of
// its tables, and in its text. A single word is systemd's.
func messagesIn(document string) (messages []string) {
	take := func(text string) {
		for _, m := range quoted.FindAllStringSubmatch(text, -1) {
			if strings.Contains(m[1], " ") && !notFleets.MatchString(m[1]) {
				messages = append(messages, m[1])
			}
		}
	}
	var prose []string
	for line := range strings.Lines(document) {
		if cells := strings.Split(line, "|"); len(cells) > 2 {
			take(cells[1])
		} else if !strings.HasPrefix(line, "    ") { // else a command
			prose = append(prose, strings.TrimSpace(line))
		}
	}
	take(strings.Join(prose, " "))
	return messages
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
