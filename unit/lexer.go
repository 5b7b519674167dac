package unit

import (
	"strings"
	"unicode/utf8"
)

// bom is the byte order mark that some editors put at a file's beginning.
const bom = "\ufeff"

// space is what systemd takes for whitespace.
const space = " \t\r\n"

// lexer cuts a unit file into logical lines the way systemd does: physical
// lines end at LF, CR or a pair of both, a comment line vanishes wherever it
// is, and a line that ends in a backslash goes on in the next line that isn't
// a comment, with a space for the backslash.
type lexer struct {
	rest   string
	line   int  // number of the physical line read last
	bomCut bool // systemd tolerates one byte order mark, not two
	// written is the logical line read last as it stands in the text; empty if
	// it is of one physical line.
	written string
}

// physical gives the next line without its end. Like systemd's own reader it
// takes LF CR for one end of line just as CR LF.
func (l *lexer) physical() (string, bool) {
	if l.rest == "" {
		return "", false
	}
	l.line++
	end := strings.IndexByte(l.rest, '\n')
	if end < 0 {
		end = len(l.rest)
	}
	if cr := strings.IndexByte(l.rest[:end], '\r'); cr >= 0 {
		end = cr
	}
	s := l.rest[:end]
	l.rest = l.rest[end:]
	if l.rest == "" {
		return s, true
	}
	first := l.rest[0]
	l.rest = l.rest[1:]
	if l.rest != "" && l.rest[0] != first && (l.rest[0] == '\n' || l.rest[0] == '\r') {
		l.rest = l.rest[1:]
	}
	return s, true
}

// next gives the next logical line, trimmed, and the number of the physical
// line that it begins in. An unfinished continuation ends with the file.
func (l *lexer) next() (text string, line int, ok bool) {
	var joined strings.Builder
	var from string // the text from the logical line on
	l.written = ""
	defer func() {
		if joined.Len() > 0 {
			l.written = from[:len(from)-len(l.rest)]
		}
	}()
	for {
		rest := l.rest
		s, more := l.physical()
		if !more {
			return strings.Trim(joined.String(), space), line, line > 0
		}
		if isComment(s) { // before the mark is cut, as in systemd
			continue
		}
		if !l.bomCut && strings.HasPrefix(s, bom) {
			s, l.bomCut = s[len(bom):], true
		}
		if line == 0 {
			line, from = l.line, rest
		}
		if continues(s) {
			joined.WriteString(s[:len(s)-1])
			joined.WriteByte(' ')
			continue
		}
		if joined.Len() == 0 {
			return strings.Trim(s, space), line, true
		}
		joined.WriteString(s)
		return strings.Trim(joined.String(), space), line, true
	}
}

// isComment reports whether a physical line is a comment.
func isComment(s string) bool {
	s = strings.TrimLeft(s, space)
	return s != "" && (s[0] == '#' || s[0] == ';')
}

// continues reports whether a physical line ends in a backslash that isn't
// itself escaped by one.
func continues(s string) bool {
	n := len(s) - len(strings.TrimRight(s, `\`))
	return n%2 == 1
}

// notText finds the first byte that is no text to systemd: a NUL, or what
// isn't valid UTF-8. Like systemd it counts Unicode's noncharacters as invalid.
func notText(s string) (offset int, what string) {
	for i := 0; i < len(s); {
		c := s[i]
		if c == 0 {
			return i, "a NUL byte"
		}
		if c < utf8.RuneSelf {
			i++
			continue
		}
		r, size := utf8.DecodeRuneInString(s[i:])
		if r == utf8.RuneError && size <= 1 {
			return i, "bytes that aren't UTF-8"
		}
		if r >= 0xfdd0 && r <= 0xfdef || r&0xfffe == 0xfffe {
			return i, "a Unicode noncharacter"
		}
		i += size
	}
	return -1, ""
}
