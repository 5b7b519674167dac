package backup

import (
	"bytes"
	"encoding/base64"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// intro tells a person who opens the file what it is.
const intro = `# A backup of a fleet cluster: units, what is wanted of them, and what was said of
# machines. To put it back: fleetctl restore FILE, which first says what it would
# change. The units' texts are whole, with whatever secrets they have in them.
`

// lastLine ends the file, as it ends any document of YAML: one that was cut off, at
// whatever byte, must not be taken for a state with fewer units.
const lastLine = "..."

// YAML writes the backup, machines by id and units by name. Two backups of one
// state differ in the line "taken" only.
func (f *File) YAML() []byte {
	var b bytes.Buffer
	b.WriteString(intro)
	fmt.Fprintf(&b, "format: %s\n", quoted(f.Format))
	fmt.Fprintf(&b, "fleet: %s\n", quoted(f.Fleet))
	fmt.Fprintf(&b, "cluster: %s\n", quoted(f.Cluster))
	fmt.Fprintf(&b, "schema: %s\n", quoted(f.Schema))
	fmt.Fprintf(&b, "taken: %s\n", quoted(f.Taken.UTC().Format(time.RFC3339)))
	b.WriteString("machines:")
	writeList(&b, f.Machines, func(m, n Machine) int { return strings.Compare(m.ID, n.ID) }, writeMachine)
	b.WriteString("units:")
	writeList(&b, f.Units, func(u, v Unit) int { return strings.Compare(string(u.Name), string(v.Name)) }, writeUnit)
	b.WriteString(lastLine + "\n")
	return b.Bytes()
}

func writeList[T any](b *bytes.Buffer, list []T, order func(T, T) int, write func(*bytes.Buffer, T)) {
	if len(list) == 0 {
		b.WriteString(" []\n")
		return
	}
	b.WriteString("\n")
	for _, v := range slices.SortedStableFunc(slices.Values(list), order) {
		write(b, v)
	}
}

func writeMachine(b *bytes.Buffer, m Machine) {
	fmt.Fprintf(b, "- id: %s\n", quoted(m.ID))
	if m.Cordoned {
		b.WriteString("  cordoned: true\n")
	}
	if len(m.Metadata) > 0 {
		b.WriteString("  metadata:\n")
		for _, k := range slices.Sorted(maps.Keys(m.Metadata)) {
			fmt.Fprintf(b, "    %s: %s\n", quoted(k), quoted(m.Metadata[k]))
		}
	}
	if len(m.Removed) > 0 {
		b.WriteString("  removed:\n")
		for _, k := range slices.Sorted(slices.Values(m.Removed)) {
			fmt.Fprintf(b, "  - %s\n", quoted(k))
		}
	}
}

func writeUnit(b *bytes.Buffer, u Unit) {
	fmt.Fprintf(b, "- name: %s\n  target: %s\n  text: ", plain(string(u.Name)), plain(string(u.Target)))
	text := string(u.Text)
	switch {
	case !utf8.ValidString(text):
		fmt.Fprintf(b, "!!binary %s\n", quoted(base64.StdEncoding.EncodeToString(u.Text)))
	case fitsLiteral(text):
		writeLiteral(b, text)
	default:
		writeEscaped(b, text)
	}
}

// indent is what a unit's text is indented by: one step more than its key.
const indent = "    "

// fitsLiteral reports whether YAML would give a text back as it is from a literal
// block. YAML knows more line breaks than a line feed, and makes line feeds of them.
func fitsLiteral(text string) bool {
	if strings.Trim(text, "\n") == "" {
		return false
	}
	for _, r := range text {
		switch {
		case r == '\t', r == '\n', ' ' <= r && r <= '~':
		case r < 0xa0, r == 0x2028, r == 0x2029, r == 0xfeff, r == 0xfffe, r == 0xffff:
			return false
		}
	}
	return true
}

// writeLiteral writes a text as a person would. Whether it ends with a line break,
// and whether its first line is indented, the header says.
func writeLiteral(b *bytes.Buffer, text string) {
	b.WriteString("|")
	if strings.ContainsRune(" \t\n", rune(text[0])) {
		fmt.Fprint(b, len(indent)-len("  ")) // counted from the unit's own indentation
	}
	switch {
	case !strings.HasSuffix(text, "\n"):
		b.WriteString("-")
	case strings.HasSuffix(text, "\n\n"):
		b.WriteString("+")
	}
	b.WriteString("\n")
	for line := range strings.Lines(text) {
		if line != "\n" {
			b.WriteString(indent)
		}
		b.WriteString(line)
	}
	if !strings.HasSuffix(text, "\n") {
		b.WriteString("\n")
	}
}

// writeEscaped writes a text that a literal block can't hold, with carriage returns,
// say: in quotes, still a line a line.
func writeEscaped(b *bytes.Buffer, text string) {
	b.WriteString("\"")
	for line := range strings.Lines(text) {
		b.WriteString("\\\n" + indent)
		if line[0] == ' ' { // or it would be taken for indentation
			b.WriteString("\\")
		}
		b.WriteString(escaped(line))
	}
	b.WriteString("\"\n")
}

// plain writes a word that needs no quotes as it is.
func plain(s string) string {
	for i, r := range s {
		letter := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z'
		if !letter && (i == 0 || !strings.ContainsRune("0123456789.@_-", r)) {
			return quoted(s)
		}
	}
	switch strings.ToLower(s) {
	case "", "y", "n", "yes", "no", "on", "off", "true", "false", "null":
		return quoted(s)
	}
	return s
}

// quoted writes a string that YAML must not take for anything else.
func quoted(s string) string { return `"` + escaped(s) + `"` }

func escaped(s string) string {
	var b strings.Builder
	for _, r := range s {
		switch {
		case r == '"', r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ', r == 0x7f, 0x80 <= r && r < 0xa0:
			fmt.Fprintf(&b, `\x%02x`, r)
		case r == 0x2028, r == 0x2029, r == 0xfeff, r == 0xfffe, r == 0xffff:
			fmt.Fprintf(&b, `\u%04x`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}
