package backup

import (
	"bytes"
	"encoding/base64"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/coreos/go-semver/semver"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
	"go.yaml.in/yaml/v3"
)

// Read reads a backup, and checks all that can be told without a cluster. The
// error is a unit.Problems with all that is wrong, by the file's lines; warnings
// are about what a later fleet wrote and this one passes over.
func Read(text []byte) (f *File, warnings unit.Problems, err error) {
	r := &reader{lines: bytes.Split(text, []byte("\n")), file: &File{}}
	r.document(text)
	if len(r.problems) > 0 {
		slices.SortStableFunc(r.problems, func(a, b unit.Problem) int { return a.Line - b.Line })
		return nil, nil, r.problems
	}
	return r.file, r.warnings, nil
}

// Reread reads a backup and writes it again, whatever its units' own texts are
// worth: equal bytes say that nothing was lost when it was written.
func Reread(text []byte) ([]byte, error) {
	r := &reader{lines: bytes.Split(text, []byte("\n")), file: &File{}, asIs: true}
	r.document(text)
	if len(r.problems) > 0 {
		return nil, r.problems
	}
	return r.file.YAML(), nil
}

// SameAs reports whether an earlier backup's text has the same in it: all but when
// it was taken.
func (f *File) SameAs(earlier []byte) bool {
	r := &reader{lines: bytes.Split(earlier, []byte("\n")), file: &File{}, asIs: true}
	if r.document(earlier); len(r.problems) > 0 {
		return false
	}
	then := *f
	then.Taken = r.file.Taken
	return bytes.Equal(then.YAML(), earlier)
}

// reader goes through the file and gathers what is wrong.
type reader struct {
	lines    [][]byte
	file     *File
	later    bool // the file is of a later minor version
	asIs     bool // what is said is not looked into
	problems unit.Problems
	warnings unit.Problems
}

func (r *reader) problem(line int, remedy, format string, args ...any) {
	r.problems = append(r.problems, unit.Problem{Line: line, Msg: fmt.Sprintf(format, args...), Remedy: remedy})
}

const whole = "give the whole file as fleetctl backup wrote it"

func (r *reader) document(text []byte) {
	d := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	err := d.Decode(&doc)
	switch {
	case errors.Is(err, io.EOF):
		r.problem(0, whole, "the file is empty")
		return
	case err != nil:
		r.problem(0, whole, "it is not the YAML of a backup (%v)", strings.TrimPrefix(err.Error(), "yaml: "))
		return
	}
	if err := d.Decode(&more); !errors.Is(err, io.EOF) {
		r.problem(more.Line, "restore one file after the other; what is added belongs before the line "+lastLine, "a second document begins")
		return
	}
	top := doc.Content[0]
	if top.Kind != yaml.MappingNode {
		r.problem(top.Line, whole, "this is no backup")
		return
	}
	// What the file is, before what is in it.
	for i := 0; i < len(top.Content); i += 2 {
		if top.Content[i].Value == "format" && !r.format(top.Content[i+1]) {
			return
		}
	}
	if r.file.Format == "" {
		if len(r.problems) == 0 {
			r.problem(top.Line, whole, "this is no backup: it has no format")
		}
		return
	}
	seen := r.fields(top, map[string]func(*yaml.Node){
		"format":   func(*yaml.Node) {},
		"fleet":    func(n *yaml.Node) { r.file.Fleet = r.text(n) },
		"cluster":  func(n *yaml.Node) { r.file.Cluster = r.text(n) },
		"schema":   func(n *yaml.Node) { r.file.Schema = r.text(n) },
		"taken":    r.taken,
		"machines": func(n *yaml.Node) { r.each(n, r.machine) },
		"units":    func(n *yaml.Node) { r.each(n, r.unit) },
	})
	for _, needed := range []string{"machines", "units"} {
		if !seen[needed] { // a file that was cut off must not be taken for one without units
			r.problem(0, whole, "it has no %s", needed)
		}
	}
	r.ending()
	r.repeated()
}

// ending sees to it that the file is there to its end.
func (r *reader) ending() {
	last := len(r.lines) - 1
	for last > 0 && len(bytes.TrimSpace(r.lines[last])) == 0 {
		last--
	}
	if string(bytes.TrimRight(r.lines[last], " \t\r")) != lastLine {
		r.problem(last+1, "get a whole copy of it; if you know that nothing is missing, add that line",
			"the file was cut off: its last line should be %s", lastLine)
	}
}

// format reports whether this code can read the file.
func (r *reader) format(n *yaml.Node) bool {
	r.file.Format = r.text(n)
	ours, theirs := semver.New(Format), new(semver.Version)
	if err := theirs.Set(r.file.Format); err != nil {
		r.problem(n.Line, "write "+Format, "format %q is no version", r.file.Format)
		return false
	}
	if theirs.Major != ours.Major {
		r.problem(n.Line, "use the fleetctl of the fleet version that the file names", "the file is of format %s, this fleetctl reads %d.x", theirs, ours.Major)
		return false
	}
	r.later = theirs.Minor > ours.Minor
	return true
}

func (r *reader) taken(n *yaml.Node) {
	var err error
	if r.file.Taken, err = time.Parse(time.RFC3339, r.text(n)); err != nil {
		r.problem(n.Line, "write a time such as 2026-11-21T22:00:00Z", "%q is no time", n.Value)
	}
}

// fields reads a mapping. Of a later version's file, what isn't known is passed
// over, and told.
func (r *reader) fields(n *yaml.Node, known map[string]func(*yaml.Node)) (seen map[string]bool) {
	seen = map[string]bool{}
	if n.Kind != yaml.MappingNode {
		r.problem(n.Line, "write it as fleetctl backup does", "this is no list of fields")
		return seen
	}
	for i := 0; i < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		read, ok := known[key.Value]
		switch {
		case seen[key.Value]:
			r.problem(key.Line, "leave one of them out", "%s is there twice", key.Value)
		case ok:
			read(value)
		case r.later:
			r.warnings = append(r.warnings, unit.Problem{Line: key.Line, Msg: fmt.Sprintf("%s is not known to this fleetctl and will not be restored", key.Value), Remedy: "use a later one"})
		default:
			remedy := "take it out"
			if near := unit.Closest(key.Value, keysOf(known)); near != "" {
				remedy = "did you mean " + near + "?"
			}
			r.problem(key.Line, remedy, "unknown field %s", key.Value)
		}
		seen[key.Value] = true
	}
	return seen
}

func keysOf(m map[string]func(*yaml.Node)) []string {
	keys := make([]string, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

func (r *reader) each(n *yaml.Node, read func(*yaml.Node)) {
	if n.Kind != yaml.SequenceNode {
		r.problem(n.Line, "write [] if it is empty", "this is no list")
		return
	}
	for _, of := range n.Content {
		read(of)
	}
}

// text reads a string; what YAML would take for something else must be in quotes.
func (r *reader) text(n *yaml.Node) string {
	if n.Kind == yaml.ScalarNode && n.Tag == "!!binary" {
		text, err := base64.StdEncoding.DecodeString(n.Value)
		if err != nil {
			r.problem(n.Line, "write plain text", "this is no base64")
		}
		return string(text)
	}
	if n.Kind != yaml.ScalarNode || n.Tag != "!!str" && n.Tag != "!!timestamp" {
		r.problem(n.Line, "write a string, in quotes if it could be anything else", "this is no string")
		return ""
	}
	return n.Value
}

func (r *reader) machine(n *yaml.Node) {
	m := Machine{Line: n.Line}
	before := len(r.problems)
	r.fields(n, map[string]func(*yaml.Node){
		"id": func(n *yaml.Node) { m.ID = r.text(n) },
		"cordoned": func(n *yaml.Node) {
			if m.Cordoned = n.Value == "true"; n.Tag != "!!bool" {
				r.problem(n.Line, "write true or false", "cordoned: %q is neither true nor false", n.Value)
			}
		},
		"metadata": func(n *yaml.Node) {
			m.Metadata = map[string]string{}
			of := map[string]func(*yaml.Node){}
			if n.Kind == yaml.MappingNode {
				for i := 0; i < len(n.Content); i += 2 {
					key := n.Content[i].Value
					of[key] = func(n *yaml.Node) { m.Metadata[key] = r.text(n) }
				}
			}
			r.fields(n, of)
		},
		"removed": func(n *yaml.Node) { r.each(n, func(n *yaml.Node) { m.Removed = append(m.Removed, r.text(n)) }) },
	})
	if r.asIs || len(r.problems) > before {
		r.file.Machines = append(r.file.Machines, m)
		return
	}
	if _, err := machine.ParseID(m.ID); err != nil {
		r.problem(m.Line, "write the machine's whole id, as in /etc/machine-id", "%v", err)
	}
	for _, k := range slices.Sorted(maps.Keys(m.Metadata)) {
		// As fleetd has it: what no fleet.conf could say must not be said here.
		v := m.Metadata[k]
		if pair, err := machine.ParseMetadata(k + "=" + v); err != nil || len(pair) != 1 || pair[k] != v || strings.ContainsFunc(k+v, unicode.IsControl) {
			r.problem(m.Line, "write a key and a value without commas, quotes, comparisons and control characters", "%q is no metadata", k+"="+v)
		}
	}
	if slices.Contains(m.Removed, "") {
		r.problem(m.Line, "take it out", "removed has an empty key")
	}
	r.file.Machines = append(r.file.Machines, m)
}

func (r *reader) unit(n *yaml.Node) {
	u := Unit{Line: n.Line}
	before := len(r.problems)
	seen := r.fields(n, map[string]func(*yaml.Node){
		"name":   func(n *yaml.Node) { u.Name = unit.Name(r.text(n)) },
		"target": func(n *yaml.Node) { r.target(&u, n) },
		"text":   func(n *yaml.Node) { u.Text, u.textLine = []byte(r.text(n)), r.beforeText(n) },
	})
	for _, needed := range []string{"name", "target", "text"} {
		if !seen[needed] {
			r.problem(u.Line, whole, "the unit has no %s", needed)
		}
	}
	if len(r.problems) > before {
		return
	}
	if r.asIs {
		r.file.Units = append(r.file.Units, u)
		return
	}
	if _, err := unit.ParseName(string(u.Name)); err != nil {
		r.problem(u.Line, "correct the name", "%v", err)
		return
	}
	if u.Name.IsTemplate() && u.Target != unit.TargetInactive {
		r.problem(u.Line, "write target: inactive: only instances of it can be "+string(u.Target), "%s is a template", u.Name)
	}
	if _, err := unit.ParseFor(u.Name, u.Text); err != nil {
		r.inText(u, err)
	}
	r.file.Units = append(r.file.Units, u)
}

func (r *reader) target(u *Unit, n *yaml.Node) {
	var err error
	if u.Target, err = unit.ParseTarget(r.text(n)); err != nil {
		r.problem(n.Line, "write inactive, loaded or launched", "%q is no state that a unit can be wanted in", n.Value)
	}
}

// beforeText gives the line before a text's first, if its lines are the file's.
func (r *reader) beforeText(n *yaml.Node) int {
	escapedLines := n.Style == yaml.DoubleQuotedStyle && bytes.HasSuffix(r.lines[n.Line-1], []byte(`"\`))
	if n.Style == yaml.LiteralStyle || escapedLines {
		return n.Line
	}
	return 0
}

// inText tells what is wrong with a unit's file, by the lines of the backup.
func (r *reader) inText(u Unit, err error) {
	var all unit.Problems
	if one := (unit.Problem{}); errors.As(err, &one) {
		all = unit.Problems{one}
	} else if !errors.As(err, &all) {
		all = unit.Problems{{Msg: err.Error()}}
	}
	for _, p := range all {
		if of := string(u.Name) + ": "; p.Option != "" {
			p.Option = of + p.Option
		} else {
			p.Msg = of + p.Msg
		}
		if p.Line == 0 || u.textLine == 0 {
			p.Line = u.Line
		} else {
			p.Line += u.textLine
		}
		r.problems = append(r.problems, p)
	}
}

// repeated finds units and machines that are there twice.
func (r *reader) repeated() {
	first := map[string]int{}
	once := func(what string, line int) {
		if at, twice := first[what]; twice {
			r.problem(line, "leave one of them out", "%s is there twice: in line %d already", what, at)
			return
		}
		first[what] = line
	}
	for _, m := range r.file.Machines {
		once("machine "+m.ID, m.Line)
	}
	for _, u := range r.file.Units {
		once("unit "+string(u.Name), u.Line)
	}
}
