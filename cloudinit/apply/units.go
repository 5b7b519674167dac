package apply

import (
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/coreos/ignition/v2/config/util"
	"github.com/coreos/ignition/v2/config/v3_6/types"
)

const (
	etcUnits = "/etc/systemd/system"
	runUnits = "/run/systemd/system"
	devNull  = "/dev/null"
)

// units puts the config's units: first their files, then what enables them, as
// that may depend on any file.
func (p *planner) units() {
	for _, file := range p.in.Unmask {
		p.note(p.unmask(file))
	}
	for _, u := range p.cfg.Systemd.Units {
		if err := p.unit(u); err != nil {
			p.refuse("unit %s: %w", u.Name, err)
		}
	}
	preset := &preset{}
	for _, u := range p.cfg.Systemd.Units {
		if u.Enabled == nil {
			continue
		}
		var err error
		if *u.Enabled {
			err = p.enable(u.Name, etcUnits)
		} else {
			err = p.disable(u.Name, map[string]bool{})
		}
		if err != nil {
			p.refuse("unit %s: %w", u.Name, err)
		}
		preset.rules = append(preset.rules, rule{*u.Enabled, u.Name})
	}
	// As at boot: a socket can't be opened once its service runs.
	isSocket := func(name string) bool { return path.Ext(name) == ".socket" }
	sockets := slices.DeleteFunc(slices.Clone(p.enabled), func(name string) bool { return !isSocket(name) })
	p.enabled = append(sockets, slices.DeleteFunc(p.enabled, isSocket)...)
	for _, name := range p.in.EnableRuntime {
		if err := p.enable(name, runUnits); err != nil {
			p.refuse("unit %s: %w", name, err)
		}
	}
	p.note(p.putPreset(preset))
}

func (p *planner) unit(u types.Unit) error {
	if strings.HasPrefix(u.Name, ".") || strings.ContainsAny(u.Name, "/\x00") {
		return fmt.Errorf("%q is no unit's name", u.Name)
	}
	if util.IsTrue(u.Mask) && util.IsTrue(u.Enabled) {
		return fmt.Errorf("mask: true and enabled: true exclude each other")
	}
	for _, d := range u.Dropins {
		if d.Contents == nil {
			continue
		}
		if strings.HasPrefix(d.Name, ".") || strings.ContainsAny(d.Name, "/\x00") {
			return fmt.Errorf("%q is no drop-in's name", d.Name)
		}
		if err := p.text(path.Join(etcUnits, u.Name+".d", d.Name), *d.Contents); err != nil {
			return err
		}
	}
	file := path.Join(etcUnits, u.Name)
	switch {
	case util.IsTrue(u.Mask):
		return p.symlink(file, devNull)
	case util.NotEmpty(u.Contents):
		return p.text(file, *u.Contents)
	case util.IsFalse(u.Mask):
		return p.unmask(file)
	}
	return nil
}

// text writes a file of root's that everybody may read, in place of a link or
// another file.
func (p *planner) text(file, text string) error {
	return p.inPlace(file, node{want: entry{kind: regular, mode: 0o644}, content: []byte(text)})
}

func (p *planner) symlink(file, target string) error {
	return p.inPlace(file, node{want: entry{kind: symlink, target: target}})
}

// inPlace puts something where nothing, a file or a link is.
func (p *planner) inPlace(file string, n node) error {
	at, err := p.place(file)
	if err != nil {
		return err
	}
	e, err := p.lstat(at)
	if err != nil {
		return err
	}
	if e.kind == directory || e.kind == special {
		return fmt.Errorf("%s is %s", file, e)
	}
	return p.put(at, n)
}

// unmask removes what masks a unit. A file that says something stays.
func (p *planner) unmask(file string) error {
	at, err := p.resolve(file)
	if err != nil {
		return err
	}
	e, err := p.lstat(at)
	if err != nil || !masks(e) {
		return err
	}
	if at, err = p.place(file); err != nil {
		return err
	}
	return p.put(at, node{want: entry{kind: missing}})
}

func masks(e entry) bool {
	return e.kind == symlink && e.target == devNull || e.kind == regular && e.size == 0
}

// preset is what Ignition leaves for systemd's first boot, which enables by it.
const presetFile = "/etc/systemd/system-preset/20-ignition.preset"

type rule struct {
	enable bool
	unit   string
}

type preset struct{ rules []rule }

// putPreset says in the preset file what was said of units, and keeps what it
// says of others. A template's instances are on one line, as the first line that
// fits a unit holds.
func (p *planner) putPreset(pre *preset) error {
	if len(pre.rules) == 0 {
		return nil
	}
	at, err := p.place(presetFile)
	if err != nil {
		return err
	}
	text, _, _, err := p.read(at)
	if err != nil {
		return err
	}
	lines := split(string(text))
	for _, r := range pre.rules {
		lines = r.in(lines)
	}
	return p.put(at, node{want: entry{kind: regular, mode: 0o644}, content: []byte(strings.Join(lines, ""))})
}

// in puts a rule into a preset's lines.
func (r rule) in(lines []string) []string {
	template, instance := templateOf(r.unit)
	var out []string
	done := false
	for _, l := range lines {
		words := strings.Fields(l)
		switch {
		case len(words) > 2 && words[0] == "enable" && words[1] == r.unit && r.enable && strings.Contains(r.unit, "@."):
			// of the template's instances, and not of its default one
		case len(words) >= 2 && words[1] == r.unit && (words[0] == "enable" || words[0] == "disable"):
			// An instance is enabled on its template's line.
			if !done && (instance == "" || !r.enable) {
				out, done = append(out, r.line()), true
			}
			continue
		case instance != "" && len(words) >= 3 && words[0] == "enable" && words[1] == template:
			instances := slices.DeleteFunc(words[2:], func(s string) bool { return s == instance && !r.enable || done && r.enable })
			if r.enable && !done {
				if !slices.Contains(instances, instance) {
					instances = append(instances, instance)
				}
				done = true
			}
			if len(instances) > 0 {
				out = append(out, "enable "+template+" "+strings.Join(instances, " ")+"\n")
			}
			continue
		}
		if !strings.HasSuffix(l, "\n") {
			l += "\n"
		}
		out = append(out, l)
	}
	if !done {
		out = append(out, r.line())
	}
	return out
}

func (r rule) line() string {
	if !r.enable {
		return "disable " + r.unit + "\n"
	}
	if template, instance := templateOf(r.unit); instance != "" {
		return "enable " + template + " " + instance + "\n"
	}
	return "enable " + r.unit + "\n"
}

// templateOf parts an instance's name: "" if it is none.
func templateOf(name string) (template, instance string) {
	at, dot := strings.Index(name, "@"), strings.LastIndex(name, ".")
	if at < 0 || dot < at {
		return name, ""
	}
	return name[:at+1] + name[dot:], name[at+1 : dot]
}
