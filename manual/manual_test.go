package manual_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/manual"
	"github.com/spf13/cobra"
)

func program() manual.Manual {
	run := func(*cobra.Command, []string) {}
	root := &cobra.Command{Use: "tool", Short: "Do things", Long: "Does <things>.\n\n    tool a_b\n      more", Run: run}
	root.PersistentFlags().Float64("patience", 3, "how `seconds` pass")
	root.PersistentFlags().String("old", "", "ignored")
	_ = root.PersistentFlags().MarkHidden("old")
	do := &cobra.Command{
		Use: "do THING...", Short: "Do one thing", Long: ".Dots and 'quotes'\n'begin lines\\n", Example: "  tool do 'x*'\n  tool do -q | cat",
		Run: run, Annotations: map[string]string{manual.ExitCodes: "3 for a *thing*."},
	}
	do.Flags().BoolP("quiet", "q", false, "say nothing")
	root.AddCommand(do, &cobra.Command{Use: "secret", Hidden: true, Run: run})
	return manual.Manual{
		Root: root, Section: 1, Exit: []manual.Term{{Term: "0", Means: "well"}},
		Topics:  []manual.Topic{{Title: "Files", Terms: []manual.Term{{Term: "/etc/tool", Means: "a|b"}}}},
		SeeAlso: []string{"cat(1)", "dog(8)"},
	}
}

func TestMarkdown(t *testing.T) {
	text := program().Markdown()
	for _, want := range []string{
		"# tool\n", "Does \\<things>.\n\n    tool a_b\n      more\n", "| [do](#tool-do) | Do one thing |\n", "--patience seconds   how seconds pass (default 3)\n",
		"## Files\n\n| | |\n|---|---|\n| `/etc/tool` | a\\|b |\n", "## Exit codes\n", "| `0` | well |\n", "## tool do\n\n    tool do THING... [FLAGS]\n",
		"-q, --quiet   say nothing\n", "Examples:\n\n    tool do 'x*'\n    tool do -q | cat\n", "Exit codes: 3 for a \\*thing\\*.\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no\n%s\nin\n%s", want, text)
		}
	}
	for _, not := range []string{"secret", "old", "--help", "\n\n\n"} {
		if strings.Contains(text, not) {
			t.Errorf("%q is in\n%s", not, text)
		}
	}
}

func TestPages(t *testing.T) {
	pages := program().Pages()
	tests := []struct {
		page string
		has  []string
	}{
		{"tool.1", []string{
			".TH TOOL 1 \"\" fleet", "tool \\- Do things\n", ".RS 4\n.nf\ntool a_b\n  more\n.fi\n.RE\n", ".BR tool\\-do (1)\nDo one thing\n",
			"\\fB\\-\\-patience\\fR \\fIseconds\\fR\nhow seconds pass (default 3)\n", ".SH FILES\n.TP\n.B /etc/tool\na|b\n",
			".SH EXIT STATUS\n.TP\n.B 0\nwell\n", ".BR cat (1),\n.BR dog (8)\n",
		}},
		{"tool-do.1", []string{
			"tool\\-do \\- Do one thing\n", ".B tool do THING... [FLAGS]\n", "\\&.Dots and 'quotes'\n\\&'begin lines\\en\n",
			"\\fB\\-q\\fR, \\fB\\-\\-quiet\\fR\nsay nothing\n", ".nf\ntool do 'x*'\ntool do \\-q | cat\n.fi", ".SH EXIT STATUS\n3 for a *thing*.\n",
			".BR tool (1).\n", ".BR tool (1),\n.BR cat (1),\n",
		}},
	}
	if len(pages) != len(tests) {
		t.Errorf("%d pages", len(pages))
	}
	for _, tt := range tests {
		for _, want := range tt.has {
			if !strings.Contains(pages[tt.page], want) {
				t.Errorf("%s: there is no\n%s\nin\n%s", tt.page, want, pages[tt.page])
			}
		}
		if lines := strings.Split(pages[tt.page], "\n"); slices.Contains(lines[:len(lines)-1], "") {
			t.Errorf("%s has an empty line, which roff takes for a space", tt.page)
		}
	}
}
