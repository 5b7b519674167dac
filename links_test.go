package fleet_test

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var (
	linkOf    = regexp.MustCompile(`\]\(([^)\s]+)\)`)
	headingOf = regexp.MustCompile(`(?m)^#+ (.*)$`)
	notInSlug = regexp.MustCompile("[^a-z0-9 _-]")
)

// documents gives the Markdown files that people read.
func documents(t *testing.T) map[string]string {
	t.Helper()
	out := map[string]string{}
	for _, pattern := range []string{"*.md", "docs/*.md", "examples/*.md"} {
		files, err := filepath.Glob(pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range files {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			out[file] = string(text)
		}
	}
	if len(out) < 10 {
		t.Fatalf("found only %d documents", len(out))
	}
	return out
}

func TestLinksLeadSomewhere(t *testing.T) {
	for file, text := range documents(t) {
		for _, m := range linkOf.FindAllStringSubmatch(text, -1) {
			target, anchor, _ := strings.Cut(m[1], "#")
			if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
				continue
			}
			path := file
			if target != "" {
				path = filepath.Join(filepath.Dir(file), target)
			}
			to, err := os.ReadFile(path)
			if st, statErr := os.Stat(path); statErr == nil && st.IsDir() {
				continue
			}
			if err != nil {
				t.Errorf("%s links to %s: %v", file, m[1], err)
				continue
			}
			if anchor != "" && !anchors(string(to))[anchor] {
				t.Errorf("%s links to %s, which has no such heading", file, m[1])
			}
		}
	}
}

// anchors are a document's headings, as forges name them, and the anchors that it
// sets itself.
func anchors(text string) map[string]bool {
	out := map[string]bool{}
	for _, m := range headingOf.FindAllStringSubmatch(text, -1) {
		slug := notInSlug.ReplaceAllString(strings.ToLower(m[1]), "")
		out[strings.ReplaceAll(slug, " ", "-")] = true
	}
	for _, m := range regexp.MustCompile(`(?:id|name)="([^"]+)"`).FindAllStringSubmatch(text, -1) {
		out[m[1]] = true
	}
	return out
}

// README is where people begin: from there every guide can be found.
func TestReadmeListsEveryGuide(t *testing.T) {
	all := documents(t)
	for file := range all {
		if filepath.Dir(file) == "docs" && !strings.Contains(all["README.md"], "("+file+")") {
			t.Errorf("README.md does not link to %s", file)
		}
	}
}
