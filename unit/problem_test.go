package unit

import (
	"errors"
	"flag"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

var update = flag.Bool("update", false, "write what the code says into testdata")

// TestRefused holds every refusal to its words in testdata/refused.txt.
func TestRefused(t *testing.T) {
	const file = "testdata/refused.txt"
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	intro, rest, _ := strings.Cut(string(want), "=== ")
	got := intro
	for _, c := range strings.Split(rest, "=== ") {
		title, body, _ := strings.Cut(c, "\n")
		name, _, ok := strings.Cut(title, ": ")
		text, _, ok2 := strings.Cut(body, "----\n")
		if !ok || !ok2 {
			t.Fatalf("%s: case %q: want a unit's name, a colon, a title; text; ----", file, title)
		}
		got += "=== " + title + "\n" + text + "----\n" + refusal(t, title, Name(name), text) + "\n"
	}
	got = strings.TrimSuffix(got, "\n")
	if *update {
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("problems read differently now (-want +got); go test -update if that's for the better:\n%s", diff)
	}
}

func refusal(t *testing.T, title string, name Name, text string) string {
	err := Validate(name, parse(text))
	if _, perr := Parse([]byte(text)); perr != nil && err == nil {
		t.Errorf("%s: Parse refuses what Validate takes: %v", title, perr)
	}
	var ps Problems
	if !errors.As(err, &ps) || len(ps) == 0 {
		t.Errorf("%s: isn't refused: %v", title, err)
		return ""
	}
	lines := strings.Count(text, "\n")
	last := 0
	for _, p := range ps {
		if p.Line < last || p.Line > lines {
			t.Errorf("%s: line %d after line %d in a text of %d", title, p.Line, last, lines)
		}
		last = p.Line
		if p.Msg == "" || p.Remedy == "" || strings.Contains(p.Error(), "\n") {
			t.Errorf("%s: %#v: want a message and a remedy on one line", title, p)
		}
	}
	return ps.InFile(string(name)) + "\n"
}

func TestProblemsText(t *testing.T) {
	ps := Problems{
		{Msg: "the file is odd", Remedy: "make it even"},
		{Line: 12, Option: "[X-Fleet] MachineOf", Msg: "names the unit itself", Remedy: "name another"},
	}
	if got, want := ps.Error(), "the file is odd: make it even\n"+
		"line 12: [X-Fleet] MachineOf: names the unit itself: name another"; got != want {
		t.Errorf("Error:\n%s\nwant:\n%s", got, want)
	}
	if got, want := ps.InFile("a/echo.service"), "a/echo.service: the file is odd: make it even\n"+
		"a/echo.service:12: [X-Fleet] MachineOf: names the unit itself: name another"; got != want {
		t.Errorf("InFile:\n%s\nwant:\n%s", got, want)
	}
	if err := (Problems{}).err(); err != nil {
		t.Errorf("no problems are an error: %v", err)
	}
}

func TestClosest(t *testing.T) {
	for _, c := range []struct{ in, want string }{
		{"machineof", "MachineOf"},
		{"MachinOf", "MachineOf"},
		{"MachineMetaData", "MachineMetadata"},
		{"Conflict", "Conflicts"},
		{"globally", "Global"},
		{"Wednesday", ""},
		{"", ""},
		{"X", ""},
	} {
		if got := Closest(c.in, optionNames[:]); got != c.want {
			t.Errorf("Closest(%q) = %q, want %q", c.in, got, c.want)
		}
	}
	if got := Closest("lits", []string{"last", "list"}); got != "list" {
		t.Errorf("two letters that are swapped in a short word: %q", got)
	}
}
