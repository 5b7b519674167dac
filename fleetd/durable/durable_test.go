package durable

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"testing"
)

func TestWrite(t *testing.T) {
	for name, write := range map[string]func(string, []byte) error{"Write": Write, "WriteAlone": WriteAlone} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			path := filepath.Join(root, "a", "b", "file")
			for _, text := range []string{"first, and longer", "second"} {
				if err := write(path, []byte(text)); err != nil {
					t.Fatal(err)
				}
				got, err := os.ReadFile(path)
				if err != nil || string(got) != text {
					t.Errorf("it is %q, %v, not %q", got, err, text)
				}
			}
			for at, want := range map[string]fs.FileMode{path: 0o600, filepath.Dir(path): 0o700 | fs.ModeDir, filepath.Join(root, "a"): 0o700 | fs.ModeDir} {
				if info, err := os.Stat(at); err != nil || info.Mode() != want {
					t.Errorf("%s is %v, %v, not %v", at, info.Mode(), err, want)
				}
			}
			for _, dir := range []string{"a", "a/b"} {
				if names, err := filepath.Glob(filepath.Join(root, dir, ".*")); err != nil || len(names) > 0 {
					t.Errorf("left beside it: %v, %v", names, err)
				}
			}
		})
	}
}

// What can't be replaced stays, and nothing is left beside it.
func TestWriteFails(t *testing.T) {
	root := t.TempDir()
	path := filepath.Join(root, "a", "file")
	if err := os.MkdirAll(filepath.Join(path, "in the way"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, write := range []func(string, []byte) error{Write, WriteAlone} {
		if err := write(path, nil); err == nil {
			t.Error("a directory was replaced by a file")
		}
		if err := write(filepath.Join(root, "a", "file", "in the way", "x", "y"), nil); err != nil {
			t.Error(err)
		}
	}
	if names, err := filepath.Glob(filepath.Join(root, "a", ".*")); err != nil || len(names) > 0 {
		t.Errorf("left beside it: %v, %v", names, err)
	}
	if names, err := filepath.Glob(filepath.Join(root, ".*")); err != nil || len(names) > 0 {
		t.Errorf("left beside its directory: %v, %v", names, err)
	}
}

// A directory that is new must be on the disk, too, which the one that it is in
// sees to.
func TestMakeDirTellsWhatChanged(t *testing.T) {
	root := t.TempDir()
	changed, err := makeDir(filepath.Join(root, "a", "b"))
	if want := []string{filepath.Join(root, "a"), root}; err != nil || !slices.Equal(changed, want) {
		t.Errorf("changed are %v, %v, not %v", changed, err, want)
	}
	if changed, err = makeDir(filepath.Join(root, "a", "b")); err != nil || len(changed) > 0 {
		t.Errorf("again: %v, %v", changed, err)
	}
	if err := os.WriteFile(filepath.Join(root, "f"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err = makeDir(filepath.Join(root, "f", "b")); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("below a file: %v", err)
	}
}
