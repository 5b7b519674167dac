package cloudinit

import (
	"errors"
	"regexp"

	"github.com/fleet-project/fleet/unit"
	"go.yaml.in/yaml/v3"
)

// unitEntry is one of coreos.units.
type unitEntry struct {
	name, content, command string
	mask, enable, runtime  bool
	dropIns                []dropIn
	commandLine            int
}

type dropIn struct{ name, content string }

var (
	networkUnit = regexp.MustCompile(`^[A-Za-z0-9][\w.@:-]*\.(network|netdev|link)$`)
	dropInName  = regexp.MustCompile(`^[A-Za-z0-9_][\w.@:-]*\.conf$`)
)

func (r *reader) unit(c *cloudConfig, n *yaml.Node, path string) {
	var u unitEntry
	command := r.oneOf(&u.command, "start", "stop", "restart", "reload", "try-restart", "reload-or-restart", "reload-or-try-restart")
	r.mapping(n, path, map[string]take{
		"name": r.text(func(v string, n *yaml.Node, path string) {
			if _, err := unit.ParseName(v); err != nil && !networkUnit.MatchString(v) {
				r.problems.Add(n.Line, Error, "%s: %v", path, err)
			}
			u.name = v
		}),
		"mask": r.flag(&u.mask), "enable": r.flag(&u.enable), "runtime": r.flag(&u.runtime),
		"content": r.unitText(&u.content),
		"command": func(n *yaml.Node, path string) {
			u.commandLine = n.Line
			command(n, path)
		},
		"drop_ins": r.list(func(n *yaml.Node, path string) { r.dropIn(&u, n, path) }),
	})
	network := networkUnit.MatchString(u.name)
	switch {
	case u.name == "etcd.service" && u.command != "" && u.command != "stop" && u.content == "":
		r.problems.Add(u.commandLine, Warning, "%s: etcd.service is not of fleet, which brings etcd2.service: write that, unless the host has an etcd of its own", path)
	case u.name == "":
		r.problems.Add(n.Line, Error, "%s has no name", path)
	case u.content == "" && u.command == "" && !u.mask && !u.enable && !u.runtime && len(u.dropIns) == 0:
		r.problems.Add(n.Line, Warning, "%s says nothing of %s", path, u.name)
	case network && u.command != "":
		r.problems.Add(u.commandLine, Warning, "%s.command is not used: systemd-networkd is restarted for %s", path, u.name)
	case network && u.enable:
		r.problems.Add(n.Line, Warning, "%s.enable is not used: systemd-networkd reads %s wherever it is", path, u.name)
	}
	if u.mask && u.content != "" {
		r.problems.Add(n.Line, Warning, "%s: %s is masked: its content is not written", path, u.name)
	}
	c.units = append(c.units, u)
}

func (r *reader) dropIn(u *unitEntry, n *yaml.Node, path string) {
	var d dropIn
	r.mapping(n, path, map[string]take{"name": r.into(&d.name), "content": r.unitText(&d.content)})
	switch {
	case !dropInName.MatchString(d.name):
		r.problems.Add(n.Line, Error, "%s: %.80q is no drop-in's name: it must end in .conf and have no slash", path, d.name)
	case d.content == "":
		r.problems.Add(n.Line, Error, "%s has no content: nothing would be written", path)
	default:
		u.dropIns = append(u.dropIns, d)
	}
}

// unitText reads a unit file, and has our own parser check it. A problem's
// line is the config's where the text is a block (content: |), else the key's.
func (r *reader) unitText(dst *string) take {
	return r.text(func(v string, n *yaml.Node, path string) {
		*dst = v
		r.unitFile(v, path, func(line int) int {
			if n.Style&yaml.LiteralStyle != 0 {
				return n.Line + line
			}
			return n.Line
		})
	})
}

// unitFile checks a unit file inside of a config; at tells where its lines are.
func (r *reader) unitFile(text, path string, at func(line int) int) {
	_, err := unit.Parse([]byte(text))
	if err == nil {
		return
	}
	var all unit.Problems
	if !errors.As(err, &all) {
		r.problems.Add(at(1), Error, "%s: %v", path, err)
	}
	for _, p := range all {
		line := max(p.Line, 1)
		p.Line = 0 // told in the config's own lines
		r.problems.Add(at(line), Error, "%s: %v", path, p)
	}
}
