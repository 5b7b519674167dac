package manual

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
)

// Markdown is the reference, all commands on one page.
func (m Manual) Markdown() string {
	var b strings.Builder
	name := m.Root.Name()
	fmt.Fprintf(&b, "<!-- Made of the program itself by 'make docs'. -->\n\n# %s\n\n", name)
	b.WriteString(markdownText(long(m.Root)))
	b.WriteString("| command | |\n|---|---|\n")
	for _, c := range commands(m.Root) {
		fmt.Fprintf(&b, "| [%s](#%s) | %s |\n", strings.TrimPrefix(c.CommandPath(), name+" "), anchor(c.CommandPath()), markdown(c.Short))
	}
	b.WriteString("\n## Global flags\n\n")
	b.WriteString(flagBlock(m.Root))
	for _, t := range m.Topics {
		fmt.Fprintf(&b, "## %s\n\n%s", t.Title, markdownText(t.Text))
		b.WriteString(markdownTerms(t.Terms))
	}
	b.WriteString("## Exit codes\n\n" + markdownTerms(m.Exit))
	for _, c := range commands(m.Root) {
		fmt.Fprintf(&b, "## %s\n\n    %s\n\n%s", c.CommandPath(), synopsis(c), markdownText(long(c)))
		b.WriteString(flagBlock(c))
		if c.Example != "" {
			b.WriteString("Examples:\n\n" + indented(examples(c)) + "\n")
		}
		if own := c.Annotations[ExitCodes]; own != "" {
			b.WriteString("Exit codes: " + markdownText(own))
		}
	}
	return strings.TrimRight(b.String(), "\n") + "\n"
}

func anchor(title string) string { return strings.ReplaceAll(strings.ToLower(title), " ", "-") }

func markdownText(text string) string {
	var b strings.Builder
	for _, p := range blocks(text) {
		if p.verbatim {
			b.WriteString(indented(p.text) + "\n")
			continue
		}
		b.WriteString(markdown(p.text) + "\n\n")
	}
	return b.String()
}

func markdownTerms(terms []Term) string {
	if len(terms) == 0 {
		return ""
	}
	var b strings.Builder
	b.WriteString("| | |\n|---|---|\n")
	for _, t := range terms {
		fmt.Fprintf(&b, "| `%s` | %s |\n", t.Term, markdown(t.Means))
	}
	return b.String() + "\n"
}

// markdown writes what Markdown would take for its own.
func markdown(s string) string {
	return strings.NewReplacer("*", `\*`, "_", `\_`, "<", `\<`, "|", `\|`, "[", `\[`).Replace(s)
}

func flagBlock(c *cobra.Command) string {
	flags := ownFlags(c)
	if !flags.HasFlags() {
		return ""
	}
	return indented(strings.TrimRight(flags.FlagUsages(), "\n")) + "\n"
}

// indented is a block of code.
func indented(text string) string {
	var b strings.Builder
	for _, l := range strings.Split(text, "\n") {
		b.WriteString(strings.TrimRight("    "+l, " ") + "\n")
	}
	return b.String()
}
