package manual

import (
	"fmt"
	"regexp"
	"strings"

	"github.com/spf13/cobra"
)

// Misquoted checks a Markdown text for commands that root's program does not
// have: in its code blocks and in code within a line. It gives what is wrong with
// them, and how many it looked at. newRoot makes the program's commands: parsing
// flags leaves traces.
func Misquoted(newRoot func() *cobra.Command, markdown string) (wrong []string, looked int) {
	program := newRoot().Name()
	for _, code := range codeIn(markdown) {
		args, found := invocation(code, program)
		if !found {
			continue
		}
		looked++
		if err := resolve(newRoot(), args); err != nil {
			wrong = append(wrong, fmt.Sprintf("%q: %v", strings.TrimSpace(code), err))
		}
	}
	return wrong, looked
}

var inline = regexp.MustCompile("`([^`]+)`")

// codeIn gives the lines of code blocks, and code within lines.
func codeIn(markdown string) (code []string) {
	fenced := false
	for _, line := range strings.Split(markdown, "\n") {
		switch {
		case strings.HasPrefix(line, "```"):
			fenced = !fenced
		case fenced, strings.HasPrefix(line, "    "):
			code = append(code, strings.Split(line, ";")...)
		default:
			for _, m := range inline.FindAllStringSubmatch(line, -1) {
				code = append(code, m[1])
			}
		}
	}
	return code
}

// before is what may stand before a command: a prompt, sudo, a variable.
var before = regexp.MustCompile(`^(\$|#|sudo|exec|[A-Z_]+=\S*)$`)

// invocation gives the arguments of a program's command in a line of shell.
func invocation(line, program string) (args []string, found bool) {
	words := strings.Fields(line)
	for len(words) > 0 && before.MatchString(words[0]) {
		words = words[1:]
	}
	if len(words) == 0 || words[0][strings.LastIndex(words[0], "/")+1:] != program {
		return nil, false
	}
	for _, w := range words[1:] {
		if strings.ContainsAny(w[:1], "|&>#<)(") {
			break
		}
		args = append(args, strings.Trim(w, `'"`))
	}
	return args, true
}

// resolve finds the command and parses its flags.
func resolve(root *cobra.Command, args []string) error {
	cmd, rest, err := root.Find(args)
	if err != nil {
		return err
	}
	if cmd.DisableFlagParsing {
		return nil
	}
	if err := cmd.ParseFlags(rest); err != nil {
		return err
	}
	if left := cmd.Flags().Args(); cmd == root && len(left) > 0 && root.HasSubCommands() {
		return fmt.Errorf("there is no command %q", left[0])
	}
	return nil
}
