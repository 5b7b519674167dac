package fleet_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// compatibilityPage says which test holds what is kept of fleet 1.0.
const compatibilityPage = "docs/compatibility.md"

// sessionsOf tells where tests keep a file for each of their subtests.
var sessionsOf = map[string]string{
	"functional: TestCompat":      "functional/testdata/compat",
	"fleetctl: TestTranscripts":   "fleetctl/testdata",
	"fleetd: TestTranscripts":     "fleetd/testdata",
	"engine/planner: TestStories": "engine/planner/testdata",
}

// TestCompatibilityPageNamesTests keeps the page true: the tests that it names
// exist, and those that hold compatibility are on it.
func TestCompatibilityPageNamesTests(t *testing.T) {
	page, err := os.ReadFile(compatibilityPage)
	if err != nil {
		t.Fatal(err)
	}
	tests, sources := allTests(t)
	named := regexp.MustCompile("`([a-z0-9_/]+: Test\\w+)(?:/([^`]+))?`").FindAllStringSubmatch(string(page), -1)
	on := map[string]bool{}
	for _, m := range named {
		test, sub := m[1], m[2]
		on[test] = true
		if sub != "" {
			on[test+"/"+sub] = true
		}
		if !slices.Contains(tests, test) {
			t.Errorf("%s names `%s`, which doesn't exist", compatibilityPage, test)
			continue
		}
		room, _, _ := strings.Cut(test, ":")
		if dir := sessionsOf[test]; dir != "" && sub != "" {
			if _, err := os.Stat(filepath.Join(dir, sub+".txt")); err != nil {
				t.Errorf("%s names `%s/%s`: %v", compatibilityPage, test, sub, err)
			}
		} else if sub != "" && !strings.Contains(sources[room], `"`+strings.ReplaceAll(sub, "_", " ")+`"`) {
			t.Errorf("%s names `%s/%s`: there is no such subtest in %s", compatibilityPage, test, sub, room)
		}
	}
	for _, test := range tests {
		if _, name, _ := strings.Cut(test, ": "); strings.HasPrefix(name, "TestCompat") && name != t.Name() && !on[test] {
			t.Errorf("`%s` is missing in %s: write it into the row that it holds", test, compatibilityPage)
		}
	}
	sessions, err := filepath.Glob("functional/testdata/compat/*.txt")
	if err != nil || len(sessions) == 0 {
		t.Fatal("no sessions", err)
	}
	for _, path := range sessions {
		test := "functional: TestCompat/" + strings.TrimSuffix(filepath.Base(path), ".txt")
		if !on[test] {
			t.Errorf("`%s` is missing in %s: write it into the row that it holds", test, compatibilityPage)
		}
	}
}

// allTests lists every test as "room: TestName", with each room's test sources.
func allTests(t *testing.T) (tests []string, sources map[string]string) {
	t.Helper()
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(t \*testing\.T\)`)
	sources = map[string]string{}
	err := filepath.WalkDir(".", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		room := filepath.ToSlash(filepath.Dir(path))
		sources[room] += string(text)
		for _, m := range declared.FindAllStringSubmatch(string(text), -1) {
			tests = append(tests, room+": "+m[1])
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return tests, sources
}
