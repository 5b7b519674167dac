package unit

import (
	"fmt"
	"strings"
)

// Expand replaces the specifiers that [X-Fleet] knows: %n (the full name), %N
// (the name without its type), %p (the prefix), %i (the instance, "" if there
// is none) and %% (a percent sign). Any other one is an error, a Problem.
func (n Name) Expand(s string) (string, error) {
	return n.expand(s, nil)
}

// expand is Expand with each replacement put through quote, which may be nil.
func (n Name) expand(s string, quote func(string) string) (string, error) {
	if strings.IndexByte(s, '%') < 0 {
		return s, nil
	}
	var b strings.Builder
	for {
		i := strings.IndexByte(s, '%')
		if i < 0 {
			b.WriteString(s)
			return b.String(), nil
		}
		b.WriteString(s[:i])
		s = s[i+1:]
		if s == "" {
			return "", Problem{Msg: `"%" at the end is no specifier`, Remedy: "write %% for a percent sign"}
		}
		val, ok := n.specifier(s[0])
		if !ok {
			var bad string
			for _, r := range s { // the whole character, should it be longer than a byte
				bad = "%" + string(r)
				break
			}
			return "", Problem{
				Msg:    fmt.Sprintf("unknown specifier %q", bad),
				Remedy: "fleet knows %n, %N, %p and %i here; write %% for a percent sign",
			}
		}
		if quote != nil {
			val = quote(val)
		}
		b.WriteString(val)
		s = s[1:]
	}
}

func (n Name) specifier(c byte) (string, bool) {
	switch c {
	case 'n':
		return string(n), true
	case 'N':
		return string(n[:n.dot()]), true
	case 'p':
		return n.Prefix(), true
	case 'i':
		return n.Instance(), true
	case '%':
		return "%", true
	}
	return "", false
}

// usesInstance reports whether what s expands to depends on the instance.
func usesInstance(s string) bool {
	for i := 0; i+1 < len(s); i++ {
		if s[i] != '%' {
			continue
		}
		switch s[i+1] {
		case 'i', 'n', 'N':
			return true
		}
		i++ // the character after a % is part of it, a second % too
	}
	return false
}
