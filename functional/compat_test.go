package functional

import (
	"path/filepath"
	"strings"
	"testing"
)

// TestCompat plays the transcripts of testdata/compat: what people and scripts
// that come from fleet 1.0 type, and see. docs/compatibility.md says which holds
// what.
func TestCompat(t *testing.T) {
	paths, err := filepath.Glob("testdata/compat/*.txt")
	if err != nil || len(paths) == 0 {
		t.Fatal("no transcripts: ", err)
	}
	w := use(t)
	var together []*transcript
	owner := map[string]string{} // a unit file's
	for _, path := range paths {
		tr, err := readTranscript(path)
		if err != nil {
			t.Fatal(err)
		}
		if tr.alone() {
			t.Run(titleOf(path), func(t *testing.T) {
				tr.play(t, w)
				w.destroyAll(w.ctx)
			})
			continue
		}
		for _, f := range tr.archive.Files {
			name := filepath.Base(f.Name)
			if !strings.Contains(name, ".") {
				continue // no unit
			}
			if other := owner[name]; other != "" && other != path {
				t.Errorf("%s and %s both have %s: they are played at the same time", other, path, name)
			}
			owner[name] = path
		}
		together = append(together, tr)
	}
	for _, tr := range together {
		t.Run(titleOf(tr.path), func(t *testing.T) {
			t.Parallel()
			tr.play(t, w)
		})
	}
}

func titleOf(path string) string { return strings.TrimSuffix(filepath.Base(path), ".txt") }
