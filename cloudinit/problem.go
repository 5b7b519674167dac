package cloudinit

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Level says how bad a problem is: only an Error keeps a config from use.
type Level string

// The levels.
const (
	Error   Level = "error"
	Warning Level = "warning"
)

// Problem is one thing that is wrong with a config.
type Problem struct {
	Line  int // 1-based; the first line if it isn't about another
	Level Level
	Msg   string
}

// Problems is all that is wrong with a config, in the order of the lines.
type Problems []Problem

// Failed says whether an error is among them.
func (ps Problems) Failed() bool {
	return slices.ContainsFunc(ps, func(p Problem) bool { return p.Level == Error })
}

// InFile writes a problem a line: "user-data:12: error: …".
func (ps Problems) InFile(path string) string {
	var out strings.Builder
	for _, p := range ps {
		fmt.Fprintf(&out, "%s:%d: %s: %s\n", path, p.Line, p.Level, p.Msg)
	}
	return out.String()
}

// Add notes a problem; line 0 is the first.
func (ps *Problems) Add(line int, level Level, format string, args ...any) {
	*ps = append(*ps, Problem{Line: max(line, 1), Level: level, Msg: fmt.Sprintf(format, args...)})
}

// maxTold is how many problems of a level are told. Who mends these sees the next
// ones then.
const maxTold = 100

// Sorted orders them by their lines, each line's as they were found. Of very many
// the first are kept.
func (ps Problems) Sorted() Problems {
	slices.SortStableFunc(ps, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	count := map[Level]int{}
	ps = slices.DeleteFunc(ps, func(p Problem) bool {
		count[p.Level]++
		return count[p.Level] > maxTold
	})
	for _, level := range []Level{Warning, Error} {
		if more := count[level] - maxTold; more > 0 {
			ps.Add(ps[len(ps)-1].Line, level, "%d more of these are not told", more)
		}
	}
	return ps
}

// below moves problems of a part to where it begins in the whole.
func (ps Problems) below(lines int) {
	for i := range ps {
		ps[i].Line += lines
	}
}

// within is below for a part whose own lines aren't those of the whole.
func (ps Problems) within(line int) {
	for i := range ps {
		ps[i].Msg = fmt.Sprintf("in line %d of this part, unpacked: %s", ps[i].Line, ps[i].Msg)
		ps[i].Line = line
	}
}

// LineOf finds the line on which a text stands in a source whose parser doesn't
// tell: each but the first is looked for after the one before. It is the first
// line if none is there.
func LineOf(source []byte, texts ...string) int {
	at := 0
	for _, t := range texts {
		if i := bytes.Index(source[at:], []byte(strings.TrimSpace(t))); i >= 0 {
			at += i
		}
	}
	return bytes.Count(source[:at], []byte("\n")) + 1
}
