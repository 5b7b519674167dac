package main

import (
	"bytes"
	"os/exec"
	"strings"
	"testing"
)

// What the demo shows as typed can be typed.
func TestShownCommandsCanBeTyped(t *testing.T) {
	var out bytes.Buffer
	argv := []string{"printf", `%s\n`, "http://10.0.0.5:2381/new?size=3", "two words", "$HOME", "a&b"}
	want, err := newStage(&out).show("$", exec.CommandContext(t.Context(), argv[0], argv[1:]...), argv...)
	if err != nil {
		t.Fatal(err)
	}
	line, _, _ := strings.Cut(strings.TrimPrefix(out.String(), "$ "), "\n")
	got, err := exec.CommandContext(t.Context(), "sh", "-c", line).Output()
	if err != nil || string(got) != want {
		t.Errorf("%s\nsays %q (%v), want %q", line, got, err, want)
	}
}
