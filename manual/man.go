package manual

import (
	"fmt"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// Pages gives the man pages by file name: one of the program, and one of each
// command. They say no date and no version, so that they change only when what
// they say does.
func (m Manual) Pages() map[string]string {
	pages := map[string]string{m.file(m.Root): m.page(m.Root)}
	for _, c := range commands(m.Root) {
		pages[m.file(c)] = m.page(c)
	}
	return pages
}

func pageName(c *cobra.Command) string { return strings.ReplaceAll(c.CommandPath(), " ", "-") }

func (m Manual) file(c *cobra.Command) string { return fmt.Sprintf("%s.%d", pageName(c), m.Section) }

func (m Manual) page(c *cobra.Command) string {
	var b strings.Builder
	name := pageName(c)
	fmt.Fprintf(&b, ".\\\" Made of the program itself by 'make docs'.\n.TH %s %d \"\" fleet \"fleet's manual\"\n", roff(strings.ToUpper(name)), m.Section)
	fmt.Fprintf(&b, ".SH NAME\n%s \\- %s\n", roff(name), roff(c.Short))
	fmt.Fprintf(&b, ".SH SYNOPSIS\n.B %s\n", roff(synopsis(c)))
	b.WriteString(".SH DESCRIPTION\n" + roffText(long(c)))
	root := c == m.Root
	if subs := commands(c); len(subs) > 0 {
		b.WriteString(".SH COMMANDS\n")
		for _, sub := range subs {
			fmt.Fprintf(&b, ".TP\n.BR %s (%d)\n%s\n", roff(pageName(sub)), m.Section, roff(sub.Short))
		}
	}
	if flags := ownFlags(c); flags.HasFlags() {
		b.WriteString(".SH OPTIONS\n")
		flags.VisitAll(func(f *pflag.Flag) { b.WriteString(roffFlag(f)) })
	}
	if root {
		for _, t := range m.Topics {
			fmt.Fprintf(&b, ".SH %s\n%s%s", roff(strings.ToUpper(t.Title)), roffText(t.Text), roffTerms(t.Terms))
		}
	} else if m.Root.PersistentFlags().HasAvailableFlags() {
		fmt.Fprintf(&b, ".PP\nThe flags that all commands take are in\n.BR %s (%d).\n", roff(m.Root.Name()), m.Section)
	}
	if c.Example != "" {
		b.WriteString(".SH EXAMPLES\n" + roffVerbatim(examples(c)))
	}
	b.WriteString(".SH EXIT STATUS\n")
	if own := c.Annotations[ExitCodes]; own != "" {
		b.WriteString(roffText(own))
	} else {
		b.WriteString(roffTerms(m.Exit))
	}
	b.WriteString(".SH SEE ALSO\n")
	also := m.SeeAlso
	if !root {
		also = append([]string{fmt.Sprintf("%s(%d)", m.Root.Name(), m.Section)}, also...)
	}
	for i, page := range also {
		title, section, _ := strings.Cut(page, "(")
		comma := ","
		if i == len(also)-1 {
			comma = ""
		}
		fmt.Fprintf(&b, ".BR %s (%s%s\n", roff(title), section, comma)
	}
	return b.String()
}

func roffFlag(f *pflag.Flag) string {
	kind, usage := pflag.UnquoteUsage(f)
	name := "\\fB" + roff("--"+f.Name) + "\\fR"
	if f.Shorthand != "" {
		name = "\\fB" + roff("-"+f.Shorthand) + "\\fR, " + name
	}
	if kind != "" {
		name += " \\fI" + roff(kind) + "\\fR"
	}
	if f.DefValue != "" && f.DefValue != "false" {
		usage += " (default " + f.DefValue + ")"
	}
	return ".TP\n" + name + "\n" + roff(usage) + "\n"
}

func roffText(text string) string {
	var b strings.Builder
	for i, p := range blocks(text) {
		switch {
		case p.verbatim:
			b.WriteString(roffVerbatim(p.text))
		case i > 0:
			b.WriteString(".PP\n" + roff(p.text) + "\n")
		default:
			b.WriteString(roff(p.text) + "\n")
		}
	}
	return b.String()
}

func roffVerbatim(text string) string { return ".PP\n.RS 4\n.nf\n" + roff(text) + "\n.fi\n.RE\n" }

func roffTerms(terms []Term) string {
	var b strings.Builder
	for _, t := range terms {
		fmt.Fprintf(&b, ".TP\n.B %s\n%s\n", roff(t.Term), roff(t.Means))
	}
	return b.String()
}

// roff writes what roff would take for its own.
func roff(s string) string {
	s = strings.NewReplacer(`\`, `\e`, "-", `\-`, `"`, `\(dq`).Replace(s)
	lines := strings.Split(s, "\n")
	for i, l := range lines {
		if strings.HasPrefix(l, ".") || strings.HasPrefix(l, "'") {
			lines[i] = `\&` + l
		}
	}
	return strings.Join(lines, "\n")
}
