package unit

import (
	"os"
	"strings"
	"testing"
)

// TestDocumented holds docs/unit-files.md to what it says: its examples are
// valid, and its table of pairs is right.
func TestDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/unit-files.md")
	if err != nil {
		t.Fatal(err)
	}
	examples, pairs := 0, 0
	var example strings.Builder
	for line := range strings.SplitSeq(string(text)+"\nend", "\n") {
		if code, ok := strings.CutPrefix(line, "    "); ok {
			example.WriteString(code + "\n")
			continue
		}
		if line == "" && example.Len() > 0 {
			example.WriteString("\n")
			continue
		}
		if e := example.String(); strings.HasPrefix(e, "[") {
			examples++
			if _, err := ParseFor("example@.service", []byte(e)); err != nil {
				t.Errorf("%s%v", e, err)
			}
		}
		example.Reset()
		if cells := strings.Split(line, " | "); len(cells) == 3 && strings.HasPrefix(line, "| `") && (cells[2] == "yes |" || cells[2] == "no |") {
			pairs++
			rule, msg, _ := parsePair(strings.Trim(cells[0], "| `"))
			key, value, has := strings.Cut(strings.Trim(cells[1], "`"), "=")
			if has && key != rule.Key {
				t.Errorf("%s speaks of two keys", line)
			}
			if got := rule.Match(value, has); msg != "" || got != (cells[2] == "yes |") {
				t.Errorf("%s: it is %v %s", line, got, msg)
			}
		}
	}
	if examples < 7 || pairs < 15 {
		t.Errorf("found %d examples and %d pairs", examples, pairs)
	}
}
