package agent

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// Where the disk is full, a record is written over, in the space that it has.
func TestOverwrite(t *testing.T) {
	long := strings.Repeat("x", block)
	for _, tt := range []struct{ name, was, text, want string }{
		{"as long", `{"a":1}`, `{"a":2}`, `{"a":2}`},
		{"shorter: JSON doesn't mind blanks", `{"a":100}`, `{"a":2}`, `{"a":2}  `},
		{"longer, in the same block", `{"a":1}`, `{"a":200}`, `{"a":200}`},
		{"longer than a block: it could end half-way", `{"a":1}`, long + "x", `{"a":1}`},
		{"over one that is longer than a block", long + "x", `{"a":1}`, long + "x"},
		{"over one that takes no space", "", `{"a":1}`, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "record")
			if err := os.WriteFile(path, []byte(tt.was), 0o644); err != nil {
				t.Fatal(err)
			}
			err := overwrite(path, []byte(tt.text))
			got, errRead := os.ReadFile(path)
			if errRead != nil {
				t.Fatal(errRead)
			}
			if string(got) != tt.want || (err == nil) != (tt.want != tt.was) {
				t.Errorf("%d bytes are there, not %d: %v", len(got), len(tt.want), err)
			}
		})
	}
	if err := overwrite(filepath.Join(t.TempDir(), "none"), []byte("{}")); err == nil {
		t.Error("a file was made where there was none")
	}
}
