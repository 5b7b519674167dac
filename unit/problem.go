package unit

import (
	"cmp"
	"errors"
	"slices"
	"strconv"
	"strings"
)

// Problem is one thing that is wrong with a unit, and what to do about it.
type Problem struct {
	Line   int    // 1-based line of the unit file; 0 if it isn't about a line
	Option string // what it is about: "[X-Fleet] MachineOf", "[Service]", or ""
	Msg    string // what is wrong
	Remedy string // what to do about it
}

// Error writes the problem on one line.
func (p Problem) Error() string {
	if p.Line == 0 {
		return p.text()
	}
	return "line " + strconv.Itoa(p.Line) + ": " + p.text()
}

// text is the problem without its line.
func (p Problem) text() string {
	s := p.Msg
	if p.Option != "" {
		s = p.Option + ": " + s
	}
	if p.Remedy != "" {
		s += ": " + p.Remedy
	}
	return s
}

// Problems is everything that is wrong with a unit, sorted by line. As an
// error it is never empty.
type Problems []Problem

// Error writes one problem a line.
func (ps Problems) Error() string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		lines[i] = p.Error()
	}
	return strings.Join(lines, "\n")
}

// InFile writes one problem a line, the way compilers do, so that editors can
// jump to it: "echo.service:12: [X-Fleet] MachineOf: …".
func (ps Problems) InFile(path string) string {
	lines := make([]string, len(ps))
	for i, p := range ps {
		where := path + ": "
		if p.Line > 0 {
			where = path + ":" + strconv.Itoa(p.Line) + ": "
		}
		lines[i] = where + p.text()
	}
	return strings.Join(lines, "\n")
}

// err gives the problems as an error, in the order of their lines; nil if
// there are none.
func (ps Problems) err() error {
	if len(ps) == 0 {
		return nil
	}
	slices.SortStableFunc(ps, func(a, b Problem) int { return cmp.Compare(a.Line, b.Line) })
	return ps
}

// problemsOf takes apart an error of this package.
func problemsOf(err error) Problems {
	var ps Problems
	var p Problem
	switch {
	case err == nil:
		return nil
	case errors.As(err, &ps):
		return ps
	case errors.As(err, &p):
		return Problems{p}
	}
	return Problems{{Msg: err.Error()}}
}
