package config

import (
	"errors"
	"fmt"
	"strings"
)

// read takes fleet.conf's text: key=value lines without sections, # and ;
// comments, values bare, 'quoted' or "quoted". Errors quote no text: it may be
// a password.
func (c *Config) read(path, text string) error {
	for i, line := range strings.Split(text, "\n") {
		where := fmt.Sprintf("%s:%d", path, i+1)
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' || line[0] == ';' {
			continue
		}
		if line[0] == '[' && strings.HasSuffix(line, "]") {
			c.Warnings = append(c.Warnings, fmt.Sprintf("%s: section %s is ignored: fleet.conf has none", where, line))
			continue
		}
		key, value, found := strings.Cut(line, "=")
		if !found {
			return fmt.Errorf("%s: no key=value line", where)
		}
		value, err := unquote(strings.TrimSpace(value))
		if err != nil {
			return fmt.Errorf("%s: %w", where, err)
		}
		if err := c.set(where, strings.ToLower(strings.TrimSpace(key)), value); err != nil {
			return err
		}
	}
	return nil
}

// unquote takes the quotes off, and off a bare value a comment behind it.
func unquote(v string) (string, error) {
	if v == "" {
		return "", nil
	}
	if q := v[0]; q == '"' || q == '\'' {
		end := strings.IndexByte(v[1:], q)
		if end < 0 {
			return "", fmt.Errorf("the quote %c is not closed", q)
		}
		rest := strings.TrimSpace(v[end+2:])
		if rest != "" && rest[0] != '#' && rest[0] != ';' {
			return "", errors.New("something follows the closing quote")
		}
		return v[1 : end+1], nil
	}
	for _, mark := range []string{" #", " ;", "\t#", "\t;"} {
		if at := strings.Index(v, mark); at >= 0 {
			v = strings.TrimSpace(v[:at])
		}
	}
	return v, nil
}

// didYouMean offers the known key that differs only in dashes, case or one
// letter.
func didYouMean(key string) string {
	plain := strings.ReplaceAll(key, "-", "_")
	for k := range keys {
		if k == plain || oneEdit(k, plain) {
			return "; did you mean " + k + "?"
		}
	}
	return ""
}

// oneEdit reports whether one letter added, left out or changed makes a b.
func oneEdit(a, b string) bool {
	if len(a) < len(b) {
		a, b = b, a
	}
	if len(a)-len(b) > 1 {
		return false
	}
	i := 0
	for i < len(b) && a[i] == b[i] {
		i++
	}
	if len(a) == len(b) {
		return i < len(a) && a[i+1:] == b[i+1:]
	}
	return a[i+1:] == b[i:]
}
