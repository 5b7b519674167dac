package unit

import (
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// MaxFileSize is the largest unit file, in bytes. A file must fit into one
// etcd request (1.5 MiB unless configured) along with what else is written in
// the same transaction, and be stored by every etcd member.
const MaxFileSize = 512 << 10

// maxProblems is how many problems of one file are reported: beyond it, the
// file is no unit file and the list helps nobody.
const maxProblems = 50

// Option is one assignment of a unit file.
type Option struct {
	Section string `json:"section"`
	Name    string `json:"name"`
	Value   string `json:"value"` // trimmed, continuation lines joined
	Line    int    `json:"-"`     // 1-based, where it begins; 0 if it didn't come from text
}

// File is a unit file, immutable after Parse or FromOptions.
type File struct {
	text     string
	hash     Hash
	options  []Option
	written  map[int]string // by index: the value of an option that goes on over lines, as it is written
	problems Problems       // what FromOptions found; Validate and Requirements report it
}

// Parse reads a unit file's text the way systemd does. It refuses what systemd
// would skip with a warning in its log that nobody sees: text outside of any
// section, lines that are neither a section header nor an assignment, and
// anything that isn't UTF-8. Sections and options that it doesn't know pass.
// The error is Problems: all of them.
func Parse(text []byte) (*File, error) {
	f := parse(string(text))
	if len(f.problems) > 0 {
		return nil, f.problems.err()
	}
	return f, nil
}

// ParseFor reads and validates the file of the unit of that name. It is Parse
// and Validate at once: the error has the problems of both.
func ParseFor(name Name, text []byte) (*File, error) {
	f := parse(string(text))
	if err := Validate(name, f); err != nil {
		return nil, err
	}
	return f, nil
}

func parse(text string) *File {
	f := &File{text: text, hash: HashOf([]byte(text))}
	if len(text) > MaxFileSize {
		f.problem(0, "", fmt.Sprintf("the file has %d bytes, more than the %d that fleet stores", len(text), MaxFileSize),
			"keep scripts and data out of the unit file, in files or an image of their own")
		return f
	}
	if at, what := notText(text); what != "" {
		lx := lexer{rest: text[:at+1]}
		for _, more := lx.physical(); more; _, more = lx.physical() {
			// Counting lines is all that is wanted here.
		}
		f.problem(lx.line, "", "the file has "+what+" in it", "write unit files as UTF-8 text")
		return f
	}
	f.options = make([]Option, 0, 1+strings.Count(text, "="))
	p := parser{file: f, lexer: lexer{rest: text}}
	p.run()
	return f
}

func (f *File) problem(line int, option, msg, remedy string) {
	f.problems = append(f.problems, Problem{Line: line, Option: option, Msg: msg, Remedy: remedy})
}

// parser turns logical lines into options.
type parser struct {
	lexer   lexer
	file    *File
	section string // "" before the first header
	stray   bool   // text before the first header has been reported
}

func (p *parser) run() {
	for {
		text, line, ok := p.lexer.next()
		switch {
		case !ok:
			return
		case len(p.file.problems) >= maxProblems:
			p.file.problem(line, "", "too many problems to go on", "is this a unit file?")
			return
		case text == "", p.section == "" && isComment(text):
			// The latter is a comment that a byte order mark hides from the
			// lexer; systemd takes no notice of anything there.
		case text[0] == '[':
			p.header(text, line)
		default:
			p.assignment(text, line)
		}
	}
}

func (p *parser) header(text string, line int) {
	name := strings.TrimSuffix(text[1:], "]")
	if len(name) != len(text)-2 {
		p.file.problem(line, "", fmt.Sprintf("%q has no closing bracket", abridge(text)), "write a section header on a line of its own, as in [Service]")
	} else if msg, remedy := checkSection(name); msg != "" {
		p.file.problem(line, label(name, ""), msg, remedy)
	}
	// A header that is wrong still begins a section: what follows it should
	// not be reported as belonging to the one before.
	p.section = name
	p.stray = p.stray || name == ""
}

func (p *parser) assignment(text string, line int) {
	if p.section == "" {
		if !p.stray {
			p.stray = true
			p.file.problem(line, "", fmt.Sprintf("%q stands before the first section", abridge(text)),
				"begin the file with a section header such as [Unit]")
		}
		return
	}
	name, value, ok := strings.Cut(text, "=")
	name = strings.TrimRight(name, space)
	switch {
	case !ok:
		p.file.problem(line, label(p.section, ""), fmt.Sprintf("%q has no \"=\"", abridge(text)),
			`write Name=value; a line that goes on needs a backslash as its very last character`)
	case name == "":
		p.file.problem(line, label(p.section, ""), fmt.Sprintf("%q has no name before its \"=\"", abridge(text)),
			"write Name=value, or put a # before it to make it a comment")
	case strings.HasPrefix(name, bom), isComment(name):
		p.file.problem(line, label(p.section, ""), fmt.Sprintf("%q has a byte order mark before it", abridge(text)),
			"remove it: only a file's first bytes may be one")
	default:
		p.keepWritten()
		p.file.options = append(p.file.options,
			Option{Section: p.section, Name: name, Value: strings.TrimLeft(value, space), Line: line})
	}
}

// keepWritten keeps the value that is read now as it stands in the text, if it
// goes on over lines. One that ends in a backslash goes on in nothing, and could
// not be written anew so.
func (p *parser) keepWritten() {
	_, value, _ := strings.Cut(p.lexer.written, "=")
	value = strings.TrimSpace(value)
	if value == "" || continues(value) {
		return
	}
	if p.file.written == nil {
		p.file.written = map[int]string{}
	}
	p.file.written[len(p.file.options)] = value
}

// checkSection says what is wrong with a section's name.
func checkSection(name string) (msg, remedy string) {
	if name == "" {
		return "a section header without a name", "name the section, as in [Service]"
	}
	for i := range len(name) {
		if c := name[i]; c < ' ' || strings.IndexByte("\"'\\\x7f[]", c) >= 0 {
			return fmt.Sprintf("a section name with %q in it", c), "write a name in brackets, as in [Service]"
		}
	}
	if name != sectionXFleet && meansXFleet(name) {
		return "not the section that fleet reads", "write [X-Fleet], exactly"
	}
	return "", ""
}

// meansXFleet reports whether a section's name is [X-Fleet] but for its case,
// dashes, underscores and spaces. systemd ignores sections that begin with X-,
// so that a unit with its demands under such a name would run just anywhere.
func meansXFleet(name string) bool {
	rest := "xfleet"
	for i := range len(name) {
		c := name[i]
		switch {
		case c == '-' || c == '_' || c == ' ':
		case rest != "" && c|0x20 == rest[0]:
			rest = rest[1:]
		default:
			return false
		}
	}
	return rest == ""
}

// label names an option, or a section without one, in a problem: printable and
// not too long, whatever the file has.
func label(section, name string) string {
	s := "[" + abridge(section) + "]"
	if name != "" {
		s += " " + abridge(name)
	}
	return strings.Map(func(r rune) rune {
		if unicode.IsPrint(r) {
			return r
		}
		return unicode.ReplacementChar
	}, s)
}

// abridge shortens text to quote it in a problem.
func abridge(s string) string {
	const most = 40
	n := 0
	for i := range s {
		if n == most {
			return s[:i] + "…"
		}
		n++
	}
	return s
}

// Text is the file's exact text. The caller may keep and change the slice.
func (f *File) Text() []byte { return []byte(f.text) }

// Hash is the hash of the file's exact text.
func (f *File) Hash() Hash { return f.hash }

// Options lists every assignment in the order of the text, empty ones too.
func (f *File) Options() []Option { return slices.Clone(f.options) }

// WrittenOptions is Options with values that go on over several lines as they
// are written, backslashes, line breaks and all: this is how fleet 1.0 knows
// them.
func (f *File) WrittenOptions() []Option {
	out := f.Options()
	for i, value := range f.written {
		out[i].Value = value
	}
	return out
}

// Values lists what an option that may be given several times is set to. An
// empty assignment resets the list, as in systemd.
func (f *File) Values(section, name string) []string {
	var values []string
	for i := range f.options {
		o := &f.options[i]
		switch {
		case o.Section != section || o.Name != name:
		case o.Value == "":
			values = nil
		default:
			values = append(values, o.Value)
		}
	}
	return values
}

// Description is what [Unit] Description says; "" if it says nothing.
func (f *File) Description() string {
	if v := f.Values("Unit", "Description"); len(v) > 0 {
		return v[len(v)-1] // the last one counts
	}
	return ""
}

// ServiceType is a service's Type=, as systemd takes it if the file says
// nothing; "" for a unit of another type.
func (f *File) ServiceType(name Name) string {
	if name.Type() != "service" {
		return ""
	}
	if all := f.Values("Service", "Type"); len(all) > 0 {
		return all[len(all)-1]
	}
	switch {
	case len(f.Values("Service", "BusName")) > 0:
		return "dbus"
	case len(f.Values("Service", "ExecStart")) == 0:
		return "oneshot"
	}
	return "simple"
}

// HasInstall reports whether there is something to enable: an [Install]
// section that names what pulls the unit in, or another name for it.
func (f *File) HasInstall() bool {
	for _, name := range [...]string{"WantedBy", "RequiredBy", "UpheldBy", "Alias", "Also"} {
		if len(f.Values("Install", name)) > 0 {
			return true
		}
	}
	return false
}
