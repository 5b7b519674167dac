package cloudinit

import (
	"regexp"
	"strconv"
	"strings"

	"go.yaml.in/yaml/v3"
)

// maxNodes bounds how much of a document is read, for one whose aliases make
// it larger than its text.
const maxNodes = 200_000

// reader walks a YAML document by tables of the keys that each mapping knows,
// and tells of all else.
type reader struct {
	problems   Problems
	addresses  Addresses
	check      bool // only validate: the host's addresses don't matter yet
	persistent bool // fleetd etcd replaces what isn't known yet
	nodes      int
}

// take reads the value of one key; path is the key's full name.
type take func(n *yaml.Node, path string)

var yamlLine = regexp.MustCompile(`line (\d+): `)

// root parses a document; nil if it is empty or no YAML.
func (r *reader) root(text []byte) *yaml.Node {
	var doc yaml.Node
	if err := yaml.Unmarshal(text, &doc); err != nil {
		line, msg := 1, err.Error()
		if m := yamlLine.FindStringSubmatch(msg); m != nil {
			line, _ = strconv.Atoi(m[1])
			msg = strings.Replace(msg, m[0], "", 1)
		}
		r.problems.add(line, Error, "%s", msg)
		return nil
	}
	if len(doc.Content) == 0 {
		return nil
	}
	return doc.Content[0]
}

// resolve follows an alias. It is false for what has no value, and once the
// document is too large.
func (r *reader) resolve(n *yaml.Node) (*yaml.Node, bool) {
	if n.Kind == yaml.AliasNode {
		n = n.Alias
	}
	r.nodes++
	if r.nodes == maxNodes {
		r.problems.add(n.Line, Error, "the document has more than %d values, aliases counted: write less", maxNodes)
	}
	return n, r.nodes < maxNodes && n.Tag != "!!null"
}

func (r *reader) mapping(n *yaml.Node, path string, keys map[string]take) {
	n, ok := r.resolve(n)
	if !ok {
		return
	}
	if n.Kind != yaml.MappingNode {
		r.wrongType(n, path, "keys and values")
		return
	}
	seen := map[string]int{}
	for i := 0; i+1 < len(n.Content); i += 2 {
		key := n.Content[i]
		name := strings.ReplaceAll(key.Value, "-", "_")
		full := strings.TrimPrefix(path+"."+name, ".")
		if before := seen[name]; before > 0 {
			r.problems.add(key.Line, Error, "%s is given twice, first in line %d (hyphens and underscores are alike)", full, before)
			continue
		}
		seen[name] = key.Line
		if read, known := keys[name]; known {
			read(n.Content[i+1], full)
		} else {
			r.problems.add(key.Line, Error, "%s: there is no such key", full)
		}
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
		value, missing := r.addresses.substitute(n.Value)
		later := r.persistent && strings.HasPrefix(path, "coreos.etcd2.")
		if len(missing) > 0 && !r.check && !later {
			r.problems.add(n.Line, Error, "%s uses %s, which this host has not: set COREOS_%s in the environment",
				path, missing[0], strings.ToUpper(missing[0][1:]))
		}
		set(value, n, path)
	}
}

func (r *reader) into(dst *string) take {
	return r.text(func(v string, _ *yaml.Node, _ string) { *dst = v })
}

func (r *reader) texts(dst *[]string) take {
	return r.list(r.text(func(v string, _ *yaml.Node, _ string) { *dst = append(*dst, v) }))
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
		for _, known := range values {
			if v == known {
				*dst = v
				return
			}
		}
		if v != "" {
			r.problems.add(n.Line, Error, "%s: %q is none of %s", path, v, strings.Join(values, ", "))
		}
	})
}

func (r *reader) wrongType(n *yaml.Node, path, want string) {
	is := map[yaml.Kind]string{yaml.MappingNode: "keys and values", yaml.SequenceNode: "a list"}[n.Kind]
	if is == "" {
		is = strconv.Quote(n.Value)
	}
	r.problems.add(n.Line, Error, "%s must be %s, and is %s", path, want, is)
}
