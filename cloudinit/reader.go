package cloudinit

import (
	"bytes"
	"encoding/base64"
	"errors"
	"io"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/fleet-project/fleet/unit"
	"go.yaml.in/yaml/v3"
)

// maxNodes bounds how many keys and values of a document are read, for one whose
// aliases make it larger than its text.
const maxNodes = 100_000

// maxFound bounds how many problems are looked for: fewer are told, and each unknown
// key is compared with all that there are.
const maxFound = 1000

// maxMerged bounds how deep mappings are merged (<<) into each other.
const maxMerged = 10

// reader walks a YAML document by tables of the keys that each mapping knows,
// and tells of all else.
type reader struct {
	problems   Problems
	addresses  Addresses
	persistent bool // fleetd etcd replaces what isn't known yet
	nodes      int
	unpacked   int                       // bytes that files' contents came to
	places     func(key string) []string // where a key belongs
	tables     map[string][]string       // the keys of each mapping that was read, by its path without indexes
}

// take reads the value of one key; path is the key's full name.
type take func(n *yaml.Node, path string)

var (
	yamlLine      = regexp.MustCompile(`^line (\d+): `)
	unknownAnchor = regexp.MustCompile(`^unknown anchor '(.+)' referenced`)
)

// root parses a document; nil if it is empty or no YAML.
func (r *reader) root(text []byte) *yaml.Node {
	docs := yaml.NewDecoder(bytes.NewReader(text))
	var doc, more yaml.Node
	err := docs.Decode(&doc)
	if err == nil {
		err = docs.Decode(&more)
	}
	switch {
	case err == nil && more.Content[0].Tag != "!!null":
		r.problems.Add(more.Content[0].Line, Error, "this is a second document, after ---, of which nothing would be read: write one")
		return nil
	case err != nil && !errors.Is(err, io.EOF):
		r.noYAML(err, text)
		return nil
	case len(doc.Content) == 0:
		return nil
	}
	return doc.Content[0]
}

func (r *reader) noYAML(err error, text []byte) {
	line, msg := 1, strings.TrimPrefix(err.Error(), "yaml: ")
	if m := yamlLine.FindStringSubmatch(msg); m != nil {
		line, _ = strconv.Atoi(m[1])
		msg = strings.Replace(msg, m[0], "", 1)
	} else if m := unknownAnchor.FindStringSubmatch(msg); m != nil {
		line = LineOf(text, "*"+m[1])
	}
	if strings.Contains(msg, "cannot start any token") && strings.HasPrefix(strings.TrimLeft(lineAt(text, line), " "), "\t") {
		msg = "the line is indented by a tab, which YAML doesn't take: indent it by spaces"
	}
	r.problems.Add(line, Error, "this is no YAML: %s", msg)
}

// lineAt is the line of a text that has this number.
func lineAt(text []byte, number int) string {
	lines := strings.Split(string(text), "\n")
	if number < 1 || number > len(lines) {
		return ""
	}
	return lines[number-1]
}

// resolve follows an alias. It is false for what is empty, which is as good as
// not there, and once the document is too large.
func (r *reader) resolve(n *yaml.Node) (*yaml.Node, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	fits := r.count(n)
	if !knownTags[n.Tag] {
		r.problems.Add(n.Line, Error, "the tag %.80q is not known", n.Tag)
		return n, false
	}
	empty := n.Tag == "!!null" || n.Kind == yaml.ScalarNode && n.Value == ""
	return n, fits && !empty
}

// count is false once the document is too large, or too wrong.
func (r *reader) count(n *yaml.Node) bool {
	r.nodes++
	if r.nodes == maxNodes {
		r.problems.Add(n.Line, Error, "the document has more than %d keys and values, aliases counted: write less", maxNodes)
	}
	return !r.ended()
}

func (r *reader) ended() bool { return r.nodes >= maxNodes || len(r.problems) >= maxFound }

var knownTags = map[string]bool{
	"!!str": true, "!!int": true, "!!bool": true, "!!float": true, "!!timestamp": true, "!!binary": true, "!!null": true, "!!merge": true,
	"!!map": true, "!!seq": true,
}

// plain is what an alias stands for, for a look at the value as it is written.
func plain(n *yaml.Node) *yaml.Node {
	if n.Kind == yaml.AliasNode {
		return n.Alias
	}
	return n
}

func (r *reader) mapping(n *yaml.Node, path string, keys map[string]take) {
	r.know(path, keys)
	n, ok := r.resolve(n)
	if !ok {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.wrongType(n, path, "keys and values")
		return
	}
	r.pairs(n, path, keys, map[string]int{}, 0)
}

// pairs reads a mapping's own keys, then those merged into it that it hasn't
// itself.
func (r *reader) pairs(n *yaml.Node, path string, keys map[string]take, seen map[string]int, depth int) {
	var merged []*yaml.Node
	own := map[string]bool{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key, value := n.Content[i], n.Content[i+1]
		if !r.count(key) {
			return
		}
		if key.Tag == "!!merge" {
			merged = append(merged, value)
			continue
		}
		name := strings.ReplaceAll(key.Value, "-", "_")
		full := strings.TrimPrefix(path+"."+name, ".")
		if before := seen[name]; before > 0 {
			if depth == 0 || own[name] {
				r.problems.Add(key.Line, Error, "%s is given twice, first in line %d (hyphens and underscores are alike)", full, before)
			}
			continue
		}
		seen[name], own[name] = key.Line, true
		if read, known := keys[name]; known && key.Kind == yaml.ScalarNode {
			read(value, full)
		} else {
			r.unknownKey(key, path, name, keys)
		}
	}
	for _, m := range merged {
		r.merge(m, path, keys, seen, depth+1)
	}
}

// merge reads what << gives: a mapping, or a list of them.
func (r *reader) merge(n *yaml.Node, path string, keys map[string]take, seen map[string]int, depth int) {
	n, ok := r.resolve(n)
	switch {
	case !ok:
	case depth > maxMerged:
		r.problems.Add(n.Line, Error, "%s: mappings are merged into each other more than %d deep", path, maxMerged)
	case n.Kind == yaml.MappingNode:
		r.pairs(n, path, keys, seen, depth)
	case n.Kind == yaml.SequenceNode:
		for _, m := range n.Content {
			r.merge(m, path, keys, seen, depth+1)
		}
	default:
		r.wrongType(n, path+".<<", "keys and values")
	}
}

func (r *reader) unknownKey(key *yaml.Node, path, name string, keys map[string]take) {
	full := strings.TrimPrefix(path+"."+name, ".")
	if key.Kind != yaml.ScalarNode {
		r.wrongType(key, full, "text")
		return
	}
	if now := sinceEtcd2[name]; now != "" && path == "coreos.etcd2" {
		r.problems.Add(key.Line, Error, "%s was etcd 0.4's: write %s", full, now)
		return
	}
	if r.places != nil {
		if places := r.places(name); len(places) > 0 && len(places) < 3 {
			r.problems.Add(key.Line, Error, "%s: there is no such key here: it belongs %s", full, strings.Join(places, " or "))
			return
		}
	}
	var known []string
	for k := range keys {
		known = append(known, k)
	}
	slices.Sort(known)
	hint := ""
	if near := unit.Closest(name, known); near != "" {
		hint = ": did you mean " + near + "?"
	}
	r.problems.Add(key.Line, Error, "%s: there is no such key%s", full, hint)
}

var index = regexp.MustCompile(`\[\d+\]`)

// know keeps a mapping's table for others to look things up in.
func (r *reader) know(path string, keys map[string]take) {
	path = index.ReplaceAllString(path, "[]")
	if r.tables == nil {
		r.tables = map[string][]string{}
	}
	if r.tables[path] == nil {
		for k := range keys {
			r.tables[path] = append(r.tables[path], k)
		}
		slices.Sort(r.tables[path])
	}
}

// list has each item read, named path[0], path[1] and so on.
func (r *reader) list(each take) take {
	return func(n *yaml.Node, path string) {
		n, ok := r.resolve(n)
		if !ok {
			return
		}
		if n.Kind != yaml.SequenceNode {
			r.wrongType(n, path, "a list")
			return
		}
		for i, item := range n.Content {
			if r.ended() {
				return // what isn't read any more isn't wrong
			}
			each(item, path+"["+strconv.Itoa(i)+"]")
		}
	}
}

// text reads any scalar as it is written, so that 0644 and off stay what they
// are, with the host's addresses in it.
func (r *reader) text(set func(value string, n *yaml.Node, path string)) take {
	return func(n *yaml.Node, path string) {
		n, ok := r.resolve(n)
		if !ok {
			return
		}
		if n.Kind != yaml.ScalarNode {
			r.wrongType(n, path, "text")
			return
		}
		if n.Tag == "!!binary" {
			raw, err := base64.StdEncoding.DecodeString(strings.Join(strings.Fields(n.Value), ""))
			if err != nil {
				r.problems.Add(n.Line, Error, "%s is no base64, which !!binary needs: %v", path, err)
			}
			set(string(raw), n, path)
			return
		}
		value, missing := r.addresses.substitute(n.Value)
		later := r.persistent && strings.HasPrefix(path, "coreos.etcd2.")
		if len(missing) > 0 && !later {
			r.problems.Add(n.Line, Error, "%s uses %s, which this host has not: set COREOS_%s in the environment",
				path, missing[0], strings.ToUpper(missing[0][1:]))
		}
		set(value, n, path)
	}
}

func (r *reader) into(dst *string) take {
	return r.text(func(v string, _ *yaml.Node, _ string) { *dst = v })
}

// matching takes only a text of this form, or none.
func (r *reader) matching(dst *string, form *regexp.Regexp, want string) take {
	return r.text(func(v string, n *yaml.Node, path string) {
		if v != "" && !form.MatchString(v) {
			r.problems.Add(n.Line, Error, "%s must be %s, and is %.80q", path, want, v)
		}
		*dst = v
	})
}

func (r *reader) flag(dst *bool) take {
	return r.text(func(v string, n *yaml.Node, path string) {
		b, ok := truth(v)
		if !ok {
			r.wrongType(n, path, "true or false")
		}
		*dst = b
	})
}

// truth reads what YAML 1.1, which cloud-configs are written in, takes for a
// boolean.
func truth(v string) (b, ok bool) {
	switch strings.ToLower(v) {
	case "true", "yes", "on", "y":
		return true, true
	case "false", "no", "off", "n":
		return false, true
	}
	return false, false
}

func (r *reader) oneOf(dst *string, values ...string) take {
	return r.text(func(v string, n *yaml.Node, path string) {
		switch {
		case slices.Contains(values, v):
			*dst = v
		case v != "":
			r.problems.Add(n.Line, Error, "%s: %.80q is none of %s", path, v, strings.Join(values, ", "))
		}
	})
}

func (r *reader) wrongType(n *yaml.Node, path, want string) {
	is := map[yaml.Kind]string{yaml.MappingNode: "keys and values", yaml.SequenceNode: "a list"}[n.Kind]
	if is == "" {
		is = strconv.Quote(n.Value[:min(len(n.Value), 80)])
	}
	if path == "" {
		path = "the cloud-config"
	}
	r.problems.Add(n.Line, Error, "%s must be %s, and is %s", path, want, is)
}
