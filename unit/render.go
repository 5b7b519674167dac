package unit

import (
	"fmt"
	"strings"
)

// FromOptions writes a unit file out of options, for API clients that send
// nothing else. The order stays; options of one section in a row share its
// header. A value with line breaks in it becomes continuation lines or, where
// a continuation couldn't carry it, a space: systemd reads back one line
// either way. What no unit file can express (an option without a name, say)
// is left out and reported by Validate and Requirements.
func FromOptions(opts []Option) *File {
	var b strings.Builder
	var bad Problems
	section := ""
	for _, o := range opts {
		if p, ok := o.unwritable(); ok {
			bad = append(bad, p)
			continue
		}
		if o.Section != section {
			if section != "" {
				b.WriteByte('\n')
			}
			section = o.Section
			b.WriteString("[" + section + "]\n")
		}
		b.WriteString(strings.Trim(o.Name, space))
		b.WriteByte('=')
		writeValue(&b, o.Value)
		b.WriteByte('\n')
	}
	f := parse(b.String())
	// Nobody has seen this text: its line numbers would only confuse.
	for i := range f.options {
		f.options[i].Line = 0
	}
	for i := range f.problems {
		f.problems[i].Line = 0
	}
	f.problems = append(bad, f.problems...)
	return f
}

// unwritable says why an option can't be written so that systemd reads it back
// as that same option.
func (o *Option) unwritable() (Problem, bool) {
	p := Problem{Option: label(o.Section, o.Name)}
	name := strings.Trim(o.Name, space)
	if msg, remedy := checkSection(o.Section); msg != "" {
		p.Msg, p.Remedy = msg, remedy
		return p, true
	}
	if what := notTextWhat(o.Section, o.Name, o.Value); what != "" {
		p.Msg, p.Remedy = "it has "+what+" in it", "send UTF-8 text"
		return p, true
	}
	switch {
	case name == "":
		p.Msg, p.Remedy = "an option without a name", "name every option"
	case strings.ContainsAny(name, "=\r\n"):
		p.Msg, p.Remedy = `an option name with "=" or a line break in it`, "put what follows into the value"
	case strings.IndexByte("#;[", name[0]) >= 0:
		p.Msg, p.Remedy = fmt.Sprintf("an option name that begins with %q", name[0]), "leave out comments and headers"
	case strings.HasPrefix(name, bom):
		p.Msg, p.Remedy = "an option name that begins with a byte order mark", "leave the mark out"
	default:
		return Problem{}, false
	}
	return p, true
}

func notTextWhat(parts ...string) string {
	for _, s := range parts {
		if _, what := notText(s); what != "" {
			return what
		}
	}
	return ""
}

var lineBreaks = strings.NewReplacer("\r\n", "\n", "\n\r", "\n", "\r", "\n")

// writeValue writes a value such that nothing in it can end the assignment and
// begin another: a line break survives only behind the backslash that makes it
// a continuation, and only if the line after it isn't taken for a comment.
func writeValue(b *strings.Builder, value string) {
	value = strings.Trim(value, space)
	if !strings.ContainsAny(value, "\r\n") {
		b.WriteString(endLine(value))
		return
	}
	var pieces []string // physical lines to be, without their backslashes
	continued := true   // the line break before this line is a continuation
	lines := strings.Split(lineBreaks.Replace(value), "\n")
	for i, line := range lines {
		if continued && len(pieces) > 0 && isComment(line) {
			continue // systemd skips it too
		}
		text := line
		goesOn := continues(line) && i < len(lines)-1
		if goesOn {
			text = line[:len(line)-1]
		}
		if continued {
			pieces = append(pieces, text)
		} else {
			pieces[len(pieces)-1] += " " + text
		}
		continued = goesOn
	}
	out := pieces[0]
	for _, piece := range pieces[1:] {
		if strings.Trim(piece, space) == "" || isComment(piece) || strings.HasPrefix(piece, bom) {
			out += " " + piece // would end the value or vanish on a line of its own
		} else {
			out += "\\\n" + piece
		}
	}
	b.WriteString(endLine(strings.TrimRight(out, space)))
}

// endLine puts a space behind a backslash that would make the next line part of
// this one. It is no part of the value.
func endLine(s string) string {
	if continues(s) {
		return s + " "
	}
	return s
}
