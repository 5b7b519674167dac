package unit

import (
	"fmt"
	"slices"
	"strings"
)

const sectionXFleet = "X-Fleet"

// Isolation says what a host does with a unit once it is cut off from etcd.
type Isolation string

const (
	// IsolationKeep keeps the unit running. It is the default.
	IsolationKeep Isolation = ""
	// IsolationStop stops it before it may be started on another host.
	IsolationStop Isolation = "stop"
)

// Requirements is what a unit's [X-Fleet] section demands of the machine that
// runs it, with specifiers resolved. The zero value demands nothing.
type Requirements struct {
	MachineID string         // "" for any; a whole machine-id or its first 8 characters
	BootID    string         // "" for any; a machine's id as above, or a boot's without dashes
	MachineOf []Name         // units that must be on the machine, all of them
	Metadata  []MetadataRule // all must hold
	Conflicts []Glob         // units that must not be on the machine
	Replaces  []Glob         // units that make way for this one
	Global    bool           // run on every machine that the rest allows
	Isolation Isolation      // when cut off from etcd
}

// Empty reports whether nothing is demanded.
func (r *Requirements) Empty() bool {
	return r.MachineID == "" && r.BootID == "" && len(r.MachineOf) == 0 && len(r.Metadata) == 0 &&
		len(r.Conflicts) == 0 && len(r.Replaces) == 0 && !r.Global && r.Isolation == IsolationKeep
}

// placeholder stands for the instance where a template is checked. It is made
// to pass as part of a name, as a number and as a machine's short id.
const placeholder = "00000000"

// Requirements reads the [X-Fleet] section for the unit of that name, which
// its specifiers resolve to. For a template they are those of an instance by
// the name of "00000000": good to check, not to schedule by. The error is
// Problems, including any that FromOptions found.
func (f *File) Requirements(name Name) (Requirements, error) {
	req, problems := f.requirements(name)
	if err := append(slices.Clone(f.problems), problems...).err(); err != nil {
		return Requirements{}, err
	}
	return req, nil
}

// MayBeGlobal reports whether there is a name by which the file's unit runs on
// every machine. Of most files it says at once that there is none.
func (f *File) MayBeGlobal() bool {
	return len(f.Values(sectionXFleet, optionNames[optGlobal])) > 0
}

// Validate finds everything that submitting a unit refuses: a name that is
// none, text that systemd couldn't read, and [X-Fleet] options that are
// unknown, malformed or exclude each other. Whatever else there is to say
// about the unit is for systemd to say. The error is Problems.
func Validate(name Name, f *File) error {
	var problems Problems
	if _, err := ParseName(string(name)); err != nil {
		problems = append(problems, problemsOf(err)...)
	}
	problems = append(problems, f.problems...)
	if len(f.options) == 0 && len(problems) == 0 {
		problems = append(problems, Problem{Msg: "the unit file has no options",
			Remedy: "write at least [Unit] and a Description; systemd takes an empty file for a masked unit"})
	}
	_, more := f.requirements(name)
	return append(problems, more...).err()
}

// option is one of the options of [X-Fleet].
type option int

const (
	optMachineID option = iota
	optBootID
	optMachineOf
	optMetadata
	optConflicts
	optReplaces
	optGlobal
	optIsolation
	optCount
)

// optionNames are the names that are current, in the order of the constants.
// The boot ID never got one.
var optionNames = [optCount]string{
	"MachineID", "X-ConditionMachineBootID", "MachineOf", "MachineMetadata",
	"Conflicts", "Replaces", "Global", "Isolation",
}

// lookupOption finds an option by a current or a legacy name.
func lookupOption(name string) (opt option, legacy, ok bool) {
	switch name {
	case "X-ConditionMachineID":
		return optMachineID, true, true
	case "X-ConditionMachineOf":
		return optMachineOf, true, true
	case "X-ConditionMachineMetadata":
		return optMetadata, true, true
	case "X-Conflicts":
		return optConflicts, true, true
	}
	for i, n := range optionNames {
		if n == name {
			return option(i), false, true
		}
	}
	return 0, false, false
}

// optionRemedy suggests the option that somebody may have meant, by its
// current name.
func optionRemedy(name string) string {
	names := append(optionNames[:], "X-ConditionMachineID", "X-ConditionMachineOf",
		"X-ConditionMachineMetadata", "X-Conflicts")
	if near := Closest(name, names); near != "" {
		opt, _, _ := lookupOption(near)
		return "did you mean " + optionNames[opt] + "?"
	}
	return "known are " + strings.Join(optionNames[:], ", ")
}

// reader turns the assignments of [X-Fleet] into Requirements.
type reader struct {
	name     Name
	template bool // name is made up: an instance of the template to check
	current  [optCount][]*Option
	legacy   [optCount][]*Option
	req      Requirements
	problems Problems
}

func (f *File) requirements(name Name) (Requirements, Problems) {
	r := reader{name: name, template: name.IsTemplate()}
	if r.template {
		at := name.at()
		r.name = name[:at+1] + placeholder + name[at+1:]
	}
	found := false
	for i := range f.options {
		if f.options[i].Section == sectionXFleet {
			r.collect(&f.options[i])
			found = true
		}
	}
	if found {
		r.read()
	}
	return r.req, r.problems
}

// collect files an assignment under its option.
func (r *reader) collect(o *Option) {
	opt, legacy, ok := lookupOption(o.Name)
	if !ok {
		r.problem(o, "unknown option", optionRemedy(o.Name))
		return
	}
	list := &r.current[opt]
	if legacy {
		list = &r.legacy[opt]
	}
	if o.Value == "" {
		*list = nil // an empty assignment resets, as everywhere in systemd
		return
	}
	*list = append(*list, o)
}

func (r *reader) read() {
	for opt := range optCount {
		r.unify(opt)
	}
	r.readMachineID()
	r.readBootID()
	r.readMachineOf()
	r.readMetadata()
	r.req.Conflicts = r.globs(optConflicts)
	r.req.Replaces = r.globs(optReplaces)
	r.readGlobal()
	r.readIsolation()
	r.combinations()
}

// unify adds what stands under an option's legacy name to what stands under
// its current one, as fleet always did. The boot ID is the legacy form of the
// machine's and gives way to it.
func (r *reader) unify(opt option) {
	r.current[opt] = append(r.legacy[opt], r.current[opt]...)
	if opt == optBootID && len(r.current[optMachineID]) > 0 {
		r.current[optBootID] = nil
	}
}

func (r *reader) problem(o *Option, msg, remedy string) {
	if r.template { // nobody wrote the placeholder
		msg = strings.ReplaceAll(msg, placeholder, "%i")
		remedy = strings.ReplaceAll(remedy, placeholder, "%i")
	}
	r.problems = append(r.problems, Problem{
		Line: o.Line, Option: label(sectionXFleet, o.Name), Msg: msg, Remedy: remedy,
	})
}

// expand resolves specifiers; false if the problem has been reported.
func (r *reader) expand(o *Option, s string, quote func(string) string) (string, bool) {
	s, err := r.name.expand(s, quote)
	if err != nil {
		p := problemsOf(err)[0]
		r.problem(o, p.Msg, p.Remedy)
		return "", false
	}
	return s, true
}

// unsure reports whether a word can't be judged: its instance is made up.
func (r *reader) unsure(word string) bool { return r.template && usesInstance(word) }

// words calls do with every word of an option, quotes taken off, specifiers
// resolved.
func (r *reader) words(opt option, quote func(string) string, do func(o *Option, raw, word string)) {
	for _, o := range r.current[opt] {
		words, ok := splitWords(o.Value)
		if !ok {
			r.problem(o, "a quote without its counterpart", "close it, or leave quotes out: names have no spaces")
			continue
		}
		for _, raw := range words {
			if word, ok := r.expand(o, raw, quote); ok {
				do(o, raw, word)
			}
		}
	}
}

func (r *reader) readMachineID() {
	var first *Option
	r.words(optMachineID, nil, func(o *Option, raw, word string) {
		switch {
		case r.unsure(raw):
		case !isHex(word) || len(word) != 8 && len(word) != 32:
			r.problem(o, fmt.Sprintf("%q is no machine's id", word),
				"give the 32 lower-case hexadecimal digits of its /etc/machine-id, or the first 8 of them")
		case first != nil && r.req.MachineID != word:
			r.problem(o, "names a second machine", "keep one; MachineMetadata can allow several machines")
		}
		if first == nil {
			first, r.req.MachineID = o, word
		}
	})
}

// readBootID takes a boot's id, as the option's name says, and a machine's, as
// CoreOS fleet did: no machine has a boot's id for its own.
func (r *reader) readBootID() {
	r.words(optBootID, nil, func(o *Option, raw, word string) {
		plain := strings.ReplaceAll(word, "-", "") // journalctl shows it without its dashes
		if !r.unsure(raw) && (!isHex(plain) || len(plain) != 32 && len(word) != 8) {
			r.problem(o, fmt.Sprintf("%q is neither a machine's id nor a boot's", word),
				"write MachineID, with the machine's /etc/machine-id")
			return
		}
		if r.req.BootID != "" && r.req.BootID != plain {
			r.problem(o, "names a second machine", "keep one")
		}
		r.req.BootID = plain
	})
}

func (r *reader) readMachineOf() {
	r.words(optMachineOf, nil, func(o *Option, _, word string) {
		name, err := ParseName(word)
		switch {
		case err != nil:
			p := problemsOf(err)[0]
			r.problem(o, p.Option+" "+p.Msg, p.Remedy)
		case name.IsTemplate():
			r.problem(o, fmt.Sprintf("%q is a template, which runs nowhere", word), "name one of its instances, as in "+
				string(name[:name.at()+1])+"1"+string(name[name.dot():]))
		case name == r.name:
			r.problem(o, "names the unit itself", "name the unit that it should be together with")
		case !slices.Contains(r.req.MachineOf, name):
			r.req.MachineOf = append(r.req.MachineOf, name)
		}
	})
}

func (r *reader) readMetadata() {
	for _, o := range r.current[optMetadata] {
		pairs := []string{o.Value} // without quotes the value may have spaces in it
		if c := o.Value[0]; c == '"' || c == '\'' {
			var ok bool
			if pairs, ok = splitWords(o.Value); !ok {
				r.problem(o, "a quote without its counterpart", `quote each pair, as in "region=eu" "disk=ssd"`)
				continue
			}
		}
		for _, raw := range pairs {
			pair, ok := r.expand(o, raw, nil)
			if !ok {
				continue
			}
			rule, msg, remedy := parsePair(pair)
			if msg != "" {
				r.problem(o, fmt.Sprintf("%q %s", abridge(raw), msg), remedy)
				continue
			}
			rule.Line = o.Line
			r.req.Metadata = addRule(r.req.Metadata, rule)
		}
	}
}

func (r *reader) globs(opt option) (globs []Glob) {
	r.words(opt, quoteGlob, func(o *Option, _, word string) {
		g := Glob(word)
		switch {
		case !g.valid():
			r.problem(o, fmt.Sprintf("%q is no valid pattern", word), `close its "[", and write a name's own backslash twice`)
		case strings.Contains(word, "/"):
			r.problem(o, fmt.Sprintf("%q can match no unit's name", word), "leave the path out")
		case !slices.Contains(globs, g):
			globs = append(globs, g)
		}
	})
	return globs
}

func (r *reader) readGlobal() {
	for _, o := range r.current[optGlobal] {
		word, ok := r.expand(o, o.Value, nil)
		if !ok {
			continue
		}
		value, ok := parseBool(word)
		if !ok && !r.unsure(o.Value) {
			r.problem(o, fmt.Sprintf("%q is neither true nor false", abridge(word)), "write true or false")
		}
		r.req.Global = value // the last one counts
	}
}

func (r *reader) readIsolation() {
	for _, o := range r.current[optIsolation] {
		word, ok := r.expand(o, o.Value, nil)
		if !ok {
			continue
		}
		switch {
		case word == "stop":
			r.req.Isolation = IsolationStop
		case word == "keep":
			r.req.Isolation = IsolationKeep
		case !r.unsure(o.Value):
			r.problem(o, fmt.Sprintf("%q is not known", abridge(word)),
				"write stop (stopped on a host that is cut off, before another starts it) or keep (the default)")
		}
	}
}

// parseBool takes systemd's words, and "t" and "f" as fleet always did.
func parseBool(s string) (value, ok bool) {
	switch strings.ToLower(s) {
	case "1", "yes", "y", "true", "t", "on":
		return true, true
	case "0", "no", "n", "false", "f", "off":
		return false, true
	}
	return false, false
}

// isHex reports whether s consists of lower-case hexadecimal digits.
func isHex(s string) bool { return strings.Trim(s, "0123456789abcdef") == "" }
