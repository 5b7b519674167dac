package main

import (
	"fmt"
	"strings"
	"testing"
	"text/tabwriter"

	"pgregory.net/rapid"
)

// fleet 1.0 wrote its lists by text/tabwriter: so do we, to the byte.
func TestColumnsLieAsTabwriterLaysThem(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.IntRange(1, 5).Draw(t, "columns")
		rows := rapid.SliceOfN(rapid.SliceOfN(rapid.StringMatching(`[a-zé.@/=,-]{1,20}`), columns, columns), 1, 6).Draw(t, "rows")
		var want strings.Builder
		w := tabwriter.NewWriter(&want, 0, 8, 1, '\t', 0)
		var a alignment
		for _, r := range rows {
			fmt.Fprintln(w, strings.Join(r, "\t"))
			a.fit(r)
		}
		w.Flush()
		var got strings.Builder
		for _, r := range rows {
			got.Write(a.appendLine(nil, r))
		}
		if got.String() != want.String() {
			t.Fatalf("got\n%q, want\n%q", got.String(), want.String())
		}
	})
}

func TestColumnsOnlyGrow(t *testing.T) {
	var a alignment
	for _, step := range []struct{ cells, want string }{
		{"a b", "a\tb\n"},
		{"a-long-name b", "a-long-name\tb\n"},
		{"a b", "a\t\tb\n"},
	} {
		cells := strings.Fields(step.cells)
		a.fit(cells)
		if got := string(a.appendLine(nil, cells)); got != step.want {
			t.Errorf("%q, want %q", got, step.want)
		}
	}
}

func TestCellText(t *testing.T) {
	for value, want := range map[string]string{"": "-", "web": "web", "a\tb\nc": "a b c", "\x1b[31mred": " [31mred", "é": "é"} {
		if got := cellText(value); got != want {
			t.Errorf("%q: %q, want %q", value, got, want)
		}
	}
}
