package unit

import (
	"fmt"
	"strings"
)

// exclusions are the options that make no sense together, each with the way
// out. What pins a unit to a machine (or to one boot of it) leaves nothing to
// choose; a global unit is nowhere in particular.
var exclusions = [...]struct {
	a, b   option
	remedy string
}{
	{optMachineID, optMachineOf, "keep MachineOf to follow the other unit, or MachineID to stay"},
	{optMachineID, optConflicts, "keep MachineID, and put Conflicts into the other units"},
	{optMachineID, optGlobal, "keep MachineID for one machine, or Global for all"},
	{optMachineID, optReplaces, "keep MachineID, or let Replaces choose the machine"},
	{optBootID, optMachineOf, "keep one of them"},
	{optBootID, optConflicts, "keep one of them"},
	{optBootID, optGlobal, "keep one of them"},
	{optBootID, optReplaces, "keep one of them"},
	{optGlobal, optMachineOf, "keep Global, and narrow it with MachineMetadata"},
	{optGlobal, optReplaces, "keep Global, or Replaces for a unit on one machine"},
	{optConflicts, optReplaces, "keep Replaces: it makes the other units leave, and Conflicts would do it again"},
}

// combinations reports options that exclude each other.
func (r *reader) combinations() {
	for _, x := range exclusions {
		if !r.given(x.a) || !r.given(x.b) {
			continue
		}
		first, second := r.current[x.a][0], r.current[x.b][0]
		if second.Line < first.Line {
			first, second = second, first
		}
		r.problem(second, "can't go together with "+first.Name+atLine(first.Line), x.remedy)
	}
	if len(r.req.MachineOf) > 0 {
		r.torn(optConflicts, r.req.Conflicts)
		r.torn(optReplaces, r.req.Replaces)
	}
}

// given reports whether an option is set; a global that is false isn't.
func (r *reader) given(opt option) bool {
	return len(r.current[opt]) > 0 && (opt != optGlobal || r.req.Global)
}

// torn reports units that the unit both follows and keeps away from.
func (r *reader) torn(opt option, globs []Glob) {
	for _, peer := range r.req.MachineOf {
		for _, g := range globs {
			if g.Match(peer) {
				o := r.current[opt][0]
				r.problem(o, fmt.Sprintf("its %q matches %s, which MachineOf%s wants on the same machine",
					g, peer, atLine(r.current[optMachineOf][0].Line)), "take one of them out")
			}
		}
	}
}

func atLine(line int) string {
	if line == 0 {
		return ""
	}
	return fmt.Sprintf(" (line %d)", line)
}

// splitWords cuts a value at its whitespace, except within quotes, single or
// double, which it takes off. False if a quote isn't closed or doesn't enclose
// a whole word.
func splitWords(s string) (words []string, ok bool) {
	for {
		s = strings.TrimLeft(s, space)
		if s == "" {
			return words, true
		}
		if c := s[0]; c == '"' || c == '\'' {
			end := strings.IndexByte(s[1:], c)
			if end < 0 {
				return nil, false
			}
			word := s[1 : 1+end]
			s = s[end+2:]
			if s != "" && strings.IndexByte(space, s[0]) < 0 {
				return nil, false
			}
			words = append(words, word)
			continue
		}
		end := strings.IndexAny(s, space)
		if end < 0 {
			end = len(s)
		}
		words = append(words, s[:end])
		s = s[end:]
	}
}
