package unit

import (
	"path"
	"strings"
)

// Glob is a pattern over unit names, as of path.Match: web@*.service.
type Glob string

// Match reports whether the pattern covers the name, or is the name itself:
// systemd's own escapes (web@a\x2db.service) would otherwise be read as the
// pattern's, and a name given in full not match.
func (g Glob) Match(n Name) bool {
	if string(g) == string(n) {
		return true
	}
	ok, err := path.Match(string(g), string(n))
	return ok && err == nil
}

// LiteralPrefix is what every name that the pattern covers begins with; all of
// the pattern if nothing in it is special.
func (g Glob) LiteralPrefix() string {
	if i := strings.IndexAny(string(g), `*?[\`); i >= 0 {
		return string(g[:i])
	}
	return string(g)
}

// valid reports whether path.Match can read the pattern.
func (g Glob) valid() bool {
	_, err := path.Match(string(g), "")
	return err == nil
}

// quoteGlob escapes what a pattern would take for special.
func quoteGlob(s string) string {
	return strings.ReplaceAll(s, `\`, `\\`) // the one such character in names
}
