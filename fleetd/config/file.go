package config

import (
	"errors"
	"fmt"
	"strings"

	"github.com/fleet-project/fleet/unit"
)

// read takes fleet.conf's text as fleet 1.0 did: key=value lines without
// sections, # and ; comments, values bare, 'quoted' or "quoted", a backslash at
// a line's end to go on in the next. Errors quote no text: it may be a password.
func read(path, text string) (said []statement, warnings []string, err error) {
	warn := func(format string, args ...any) { warnings = append(warnings, fmt.Sprintf(format, args...)) }
	section := ""
	lines := strings.Split(strings.TrimPrefix(text, "\ufeff"), "\n")
	for i := 0; i < len(lines); i++ {
		where := fmt.Sprintf("%s:%d", path, i+1)
		line := strings.TrimSpace(lines[i])
		for strings.HasSuffix(line, `\`) && i+1 < len(lines) {
			i++
			line = strings.TrimSuffix(line, `\`) + strings.TrimSpace(lines[i])
		}
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' && strings.HasSuffix(line, "]") {
			section = line
			continue
		}
		key, value, found := strings.Cut(line, "=")
		key = strings.ToLower(strings.TrimSpace(key))
		if !found || key == "" {
			return nil, nil, fmt.Errorf("%s: this is no key=value line: write one, or put # in front of it", where)
		}
		if section != "" {
			warn("%s: %s stands in section %s and is ignored: fleet.conf has no sections; move it above the first one", where, key, section)
			continue
		}
		value, cut, err := unquote(strings.TrimSpace(value))
		if err != nil && key == "etcd_servers" {
			value, err = strings.TrimSpace(line[strings.IndexByte(line, '=')+1:]), nil // "["http://a"]": fleet 1.0 took it
		}
		if err != nil {
			return nil, nil, fmt.Errorf("%s: %s: %w", where, key, err)
		}
		if cut {
			warn("%s: %s ends before the # or ; in it, which begins a comment: put quotes around the value if that belongs to it", where, key)
		}
		said = append(said, statement{where, key, value})
	}
	return said, warnings, nil
}

// unquote takes the quotes off, and off a bare value a comment behind it. cut:
// the comment followed without a space, and may have been meant as a part.
func unquote(v string) (value string, cut bool, err error) {
	if v == "" {
		return "", false, nil
	}
	if q := v[0]; q == '"' || q == '\'' {
		end := strings.IndexByte(v[1:], q)
		if end < 0 {
			return "", false, fmt.Errorf("the quote %c is not closed", q)
		}
		rest := strings.TrimSpace(v[end+2:])
		if rest != "" && rest[0] != '#' && rest[0] != ';' {
			return "", false, errors.New("something follows the closing quote: use the other kind of quotes outside")
		}
		return strings.TrimSpace(v[1 : end+1]), false, nil
	}
	at := strings.IndexAny(v, "#;")
	if at < 0 {
		return v, false, nil
	}
	value = strings.TrimSpace(v[:at])
	return value, value == v[:at] && at > 0, nil
}

// didYouMean offers the known key that is most like an unknown one, in which dashes
// may stand for underscores.
func didYouMean(key string) string {
	var known []string
	for _, k := range keys() {
		known = append(known, k.name)
	}
	if near := unit.Closest(strings.ReplaceAll(key, "-", "_"), known); near != "" {
		return "; did you mean " + near + "?"
	}
	return ""
}
