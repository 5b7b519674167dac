// Package format tells what kind of config a text is, by how it begins, and
// unwraps what several of them may be wrapped in: gzip and MIME multipart.
package format

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"
)

// Kind is a kind of config that a host may be given.
type Kind string

// The kinds.
const (
	CloudConfig Kind = "cloud-config"
	Script      Kind = "script"
	Ignition    Kind = "ignition"
	Butane      Kind = "butane"
	Multipart   Kind = "multipart"
	Unknown     Kind = "unknown" // Explain says why
)

var butaneVariant = regexp.MustCompile(`(?m)^variant[ \t]*:`)

// Detect tells a config's kind by how it begins. A compressed one is for
// Decompress first.
func Detect(text []byte) Kind {
	switch head := firstLine(text); {
	case head == "#cloud-config":
		return CloudConfig
	case strings.HasPrefix(head, "#!"):
		return Script
	case foreign(head) != "":
		return Unknown
	case bytes.HasPrefix(bytes.TrimSpace(text), []byte("{")):
		return Ignition
	case isMultipart(text):
		return Multipart
	case butaneVariant.Match(text):
		return Butane
	}
	return Unknown
}

func firstLine(text []byte) string {
	first, _, _ := bytes.Cut(text, []byte("\n"))
	return strings.TrimRight(string(first), " \t\r\v\f")
}

// Explain says why a text is of no kind, and what to do.
func Explain(text []byte) (line int, msg string) {
	head := firstLine(text)
	if why := foreign(head); why != "" {
		return 1, why
	}
	if strings.HasPrefix(head, "#cloud-config") {
		return 1, fmt.Sprintf("the first line must be #cloud-config and nothing else, and is %.60q", head)
	}
	if strings.TrimSpace(string(text)) == "" {
		return 1, "the config is empty"
	}
	for i, l := range strings.SplitAfterN(string(text), "\n", 20) {
		if l = strings.TrimSpace(l); i > 0 && (l == "#cloud-config" || strings.HasPrefix(l, "#!")) {
			return i + 1, fmt.Sprintf("%.60s must be the first line: nothing may come before it", l)
		}
	}
	if withoutVariant.Match(text) {
		return 1, "if this is Butane, its variant: and version: are missing; if it is a cloud-config, its first line, #cloud-config, is"
	}
	return 1, "the format is not known: begin with #cloud-config or #!, or give Butane (variant:), Ignition JSON or MIME multipart"
}

// maxSeparators bounds how many values a document can have by what must stand
// between them, as a parser takes a hundred times the memory of a short value.
const maxSeparators = 500_000

// Unreadable says why a document is none that its parser should be given, and
// where; "" if it is fine.
func Unreadable(text []byte) (line int, why string) {
	lineAt := func(i int) int { return bytes.Count(text[:i], []byte("\n")) + 1 }
	if bytes.HasPrefix(text, []byte{0xff, 0xfe}) || bytes.HasPrefix(text, []byte{0xfe, 0xff}) {
		return 1, "this is UTF-16: save it as UTF-8"
	}
	separators := 0
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRune(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			return lineAt(i), "this is not UTF-8: what isn't text goes into contents with encoding: base64"
		case r < ' ' && r != '\t' && r != '\n' && r != '\r' || r == 0x7f:
			return lineAt(i), fmt.Sprintf("the control character %#02x is not allowed: what isn't text goes into contents with encoding: base64", r)
		case r == '\n', r == ',', r == '[', r == '{':
			if separators++; separators > maxSeparators {
				return lineAt(i), fmt.Sprintf("there are more than %d values or lines: pack large contents, with encoding: gz+base64", maxSeparators)
			}
		}
		i += size
	}
	return 0, ""
}

var withoutVariant = regexp.MustCompile(`(?m)^(coreos|write_files|systemd|storage|passwd|ignition)[ \t]*:`)

// foreign tells of what cloud-init knows and we don't, by its first line; the
// longest beginning first.
func foreign(head string) string {
	for _, f := range [...]struct{ begins, why string }{
		{"## template:", "templates are not filled in: write the values into the config, or use $private_ipv4 and its like"},
		{"#include", "nothing is included from elsewhere: give the config itself, or several of them as MIME multipart"},
		{"#cloud-boothook", "boothooks are not run: write a unit with Type=oneshot that is enabled and ordered Before= what needs it"},
		{"#cloud-config-archive", "archives are not read: give their parts as MIME multipart"},
		{"#cloud-config-jsonp", "JSON patches are not read: write the whole cloud-config"},
		{"#part-handler", "part handlers are not run: give what they would make"},
		{"#upstart-job", "upstart jobs are not read: write a systemd unit into coreos.units"},
	} {
		if strings.HasPrefix(head, f.begins) {
			return f.begins + ": " + f.why
		}
	}
	return ""
}
