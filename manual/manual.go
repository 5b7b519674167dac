// Package manual writes down a program's commands, as they are in the program:
// a reference page in Markdown and man pages, both from one cobra tree. It is for
// the tests that keep those files true (make docs writes them anew); no program
// links it.
package manual

import (
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// ExitCodes is the annotation by which a command says how it exits, where that
// is not as all of the program's commands do.
const ExitCodes = "exit codes"

// Manual is what there is to say of a program.
type Manual struct {
	Root *cobra.Command
	// Section is the man pages': 1 for everybody's programs, 8 for root's.
	Section int
	// Exit says how the program's commands exit.
	Exit []Term
	// Topics are about the program as a whole.
	Topics []Topic
	// SeeAlso lists other man pages.
	SeeAlso []string
}

// Topic is a chapter about the program.
type Topic struct {
	Title string
	// Text is paragraphs with empty lines between; what is indented stays as it
	// is.
	Text  string
	Terms []Term
}

// Term is something and what it means.
type Term struct{ Term, Means string }

// commands gives the commands that users may see, each before its own.
func commands(c *cobra.Command) []*cobra.Command {
	var out []*cobra.Command
	for _, sub := range c.Commands() {
		if sub.IsAvailableCommand() {
			out = append(append(out, sub), commands(sub)...)
		}
	}
	return out
}

// synopsis is how a command is typed.
func synopsis(c *cobra.Command) string {
	line := c.UseLine()
	if c.HasAvailableSubCommands() && c.Parent() == nil {
		line += " [COMMAND ...]"
	}
	return strings.ReplaceAll(line, "[flags]", "[FLAGS]")
}

// ownFlags gives a command's own flags, global ones for the root. Those that
// every command has go without saying.
func ownFlags(c *cobra.Command) *pflag.FlagSet {
	out := pflag.NewFlagSet(c.Name(), pflag.ContinueOnError)
	add := func(f *pflag.Flag) {
		if !f.Hidden && f.Name != "help" && f.Name != "version" {
			out.AddFlag(f)
		}
	}
	c.NonInheritedFlags().VisitAll(add)
	return out
}

// block is a paragraph, or lines to be left as they are.
type block struct {
	text     string
	verbatim bool
}

// blocks parts a text.
func blocks(text string) []block {
	var out []block
	for _, p := range strings.Split(strings.Trim(text, "\n"), "\n\n") {
		if p == "" {
			continue
		}
		out = append(out, block{text: dedent(p), verbatim: strings.HasPrefix(p, " ")})
	}
	return out
}

// dedent takes away what the first line is indented by from all lines.
func dedent(text string) string {
	first := text[:len(text)-len(strings.TrimLeft(text, " "))]
	return strings.ReplaceAll(strings.TrimPrefix(text, first), "\n"+first, "\n")
}

// long is what a command says of itself.
func long(c *cobra.Command) string {
	if c.Long != "" {
		return c.Long
	}
	return c.Short + "."
}

// examples is a command's examples, without what indents them.
func examples(c *cobra.Command) string { return dedent(strings.Trim(c.Example, "\n")) }
