package unit

import (
	"fmt"
	"strings"
)

// MaxNameLen is the longest unit name, in bytes, as in CoreOS fleet.
const MaxNameLen = 256

// Name is a valid unit name, such as web.service, web@.service (a template)
// or web@1.service (an instance of it). Obtain one with ParseName.
type Name string

// types are the unit types that may follow the last dot of a name. busname is
// long gone from systemd and stays for the sake of old unit files.
var types = [...]string{
	"service", "socket", "timer", "target", "path", "mount", "automount",
	"busname", "device", "scope", "slice", "snapshot", "swap",
}

func isType(s string) bool {
	for _, t := range types {
		if s == t {
			return true
		}
	}
	return false
}

// mayTemplate reports whether systemd allows templates and instances of the
// unit type.
func mayTemplate(typ string) bool {
	switch typ {
	case "path", "service", "socket", "target", "timer":
		return true
	}
	return false
}

func validNameByte(c byte) bool {
	switch {
	case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		return true
	}
	return strings.IndexByte(`:_.@\-`, c) >= 0
}

// ParseName checks a unit's full name: at most MaxNameLen characters out of
// A-Z, a-z, 0-9 and :_.@\- with a unit type as its suffix, not beginning with
// "@" or being all suffix. Only path, service, socket, target and timer units
// may be templates or instances. The error is a Problem that names the rule.
func ParseName(s string) (Name, error) {
	if msg, remedy := checkName(s); msg != "" {
		shown := s
		if len(shown) > 64 {
			shown = shown[:64] + "…"
		}
		return "", Problem{Option: fmt.Sprintf("unit name %q", shown), Msg: msg, Remedy: remedy}
	}
	return Name(s), nil
}

// checkName gives the first rule that s breaks and what to do about it.
func checkName(s string) (msg, remedy string) {
	if s == "" {
		return "is empty", "name the unit, as in web.service"
	}
	if len(s) > MaxNameLen {
		return fmt.Sprintf("is %d characters long", len(s)), fmt.Sprintf("shorten it to at most %d", MaxNameLen)
	}
	for i, r := range s {
		if r > 0x7f || !validNameByte(s[i]) {
			return fmt.Sprintf("has %q in it, which no unit name may have", r), nameCharRemedy(r)
		}
	}
	dot := strings.LastIndexByte(s, '.')
	if dot < 0 {
		return "has no unit type at its end", "add one, as in " + s + ".service"
	}
	typ := s[dot+1:]
	if !isType(typ) {
		return fmt.Sprintf("ends in %q, which is no unit type", s[dot:]), typeRemedy(typ)
	}
	if dot == 0 {
		return "has nothing before its type", "put a name before " + s
	}
	at := strings.IndexByte(s[:dot], '@')
	if at == 0 {
		return `begins with "@"`, "put the template's name before it, as in web" + s
	}
	if at > 0 && !mayTemplate(typ) {
		return "is a template or an instance, which systemd doesn't have for " + typ + " units",
			`leave out the "@"; only path, service, socket, target and timer units may have one`
	}
	return "", ""
}

func nameCharRemedy(r rune) string {
	if r == '/' {
		return "give the base name only; systemd-escape(1) turns a path into a name"
	}
	return `use A-Z, a-z, 0-9 and :_.@\- only; systemd-escape(1) writes the others as \xNN`
}

func typeRemedy(typ string) string {
	if near := Closest(typ, types[:]); near != "" {
		return "did you mean ." + near + "?"
	}
	return "end it in ." + strings.Join(types[:5], ", .") + " or another of systemd's unit types"
}

// WithDefaultType adds ".service" to a name that doesn't end in a unit type.
// An empty string stays empty.
func WithDefaultType(s string) string {
	if s == "" || isType(s[strings.LastIndexByte(s, '.')+1:]) && strings.Contains(s, ".") {
		return s
	}
	return s + ".service"
}

// dot is where the suffix begins; len(n) for something that isn't a name.
func (n Name) dot() int {
	if i := strings.LastIndexByte(string(n), '.'); i >= 0 {
		return i
	}
	return len(n)
}

// at is where the "@" between prefix and instance is, or -1. An instance may
// have more of them in it: only the first one counts.
func (n Name) at() int { return strings.IndexByte(string(n[:n.dot()]), '@') }

// Type is the unit's type: "service".
func (n Name) Type() string {
	if i := n.dot(); i < len(n) {
		return string(n[i+1:])
	}
	return ""
}

// Prefix is what stands before the "@", or before the suffix of a name without
// one (%p).
func (n Name) Prefix() string {
	if i := n.at(); i >= 0 {
		return string(n[:i])
	}
	return string(n[:n.dot()])
}

// Instance is what stands between "@" and the suffix (%i): "" unless the name
// is an instance's.
func (n Name) Instance() string {
	if i := n.at(); i >= 0 {
		return string(n[i+1 : n.dot()])
	}
	return ""
}

// IsTemplate reports whether the name is a template's: web@.service.
func (n Name) IsTemplate() bool {
	i := n.at()
	return i >= 0 && i+1 == n.dot()
}

// IsInstance reports whether the name is a template's instance: web@1.service.
func (n Name) IsInstance() bool {
	i := n.at()
	return i >= 0 && i+1 < n.dot()
}

// Template is the name of the template that the unit is an instance of; false
// if it is none.
func (n Name) Template() (Name, bool) {
	if !n.IsInstance() {
		return "", false
	}
	return n[:n.at()+1] + n[n.dot():], true
}
