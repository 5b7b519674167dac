package cloudinit

import (
	"os"
	"strings"
	"testing"
)

// Each key that is taken or refused by name is in the documentation, and the
// remedies are the same words.
func TestEveryKeyIsDocumented(t *testing.T) {
	text, err := os.ReadFile("../docs/cloud-config.md")
	if err != nil {
		t.Fatal(err)
	}
	docs := string(text)
	for path, keys := range knownKeys() {
		for _, key := range keys {
			if !strings.Contains(docs, "`"+key+"`") {
				t.Errorf("docs/cloud-config.md doesn't have %s, a key of %q", key, path)
			}
		}
	}
	for key, remedy := range notTaken {
		found := false
		for _, line := range strings.Split(docs, "\n") {
			found = found || strings.HasPrefix(line, "| ") && strings.Contains(line, "`"+key+"`") && strings.HasSuffix(line, "| "+remedy+" |")
		}
		if !found {
			t.Errorf("docs/cloud-config.md doesn't say of %s: %s", key, remedy)
		}
	}
}
