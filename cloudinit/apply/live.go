package apply

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/cloudinit"
)

// pendingFile notes what the running systemd must be told of changes on disk. It
// is written before the changes are made and removed when it was told: a run that
// is cut off in between would otherwise leave a systemd that knows nothing of
// them, and no difference for the next run to find.
const pendingFile = "/run/fleet-cloudinit/pending"

// The lines of the pending file; units to be started are there by their names.
const (
	pendingReload   = "reload"
	pendingNetworkd = "networkd"
	pendingStart    = "start "
)

const networkd = "systemd-networkd.service"

// live plans what is to be told to the running host.
func (p *planner) live(out *plan) error {
	if p.opts.Manager == nil {
		return nil
	}
	hostname, err := p.hostname()
	if err != nil {
		return err
	}
	if now, err := p.opts.Manager.Hostname(); err != nil {
		return fmt.Errorf("asking for the host's name: %w", err)
	} else if hostname != "" && hostname != now {
		out.hostname = hostname
		out.after = append(out.after, Change{Verb: "set", Subject: "the host's name", Detail: fmt.Sprintf("%s, not %s", hostname, now)})
	}
	old, _, _, err := p.read(pendingFile)
	if err != nil {
		return err
	}
	out.pending = strings.Split(strings.TrimSpace(string(old)), "\n")
	add := func(line string) {
		if !slices.Contains(out.pending, line) {
			out.pending = append(out.pending, line)
		}
	}
	units, network := false, false
	for _, s := range out.steps {
		units = units || slices.ContainsFunc(unitDirs, func(dir string) bool { return strings.HasPrefix(s.path, dir+"/") })
		network = network || strings.HasPrefix(s.path, "/etc/systemd/network/") || strings.HasPrefix(s.path, "/run/systemd/network/")
	}
	if units {
		add(pendingReload)
		for _, name := range p.enabled {
			if p.opts.StartEnabled && !strings.Contains(name, "@.") {
				add(pendingStart + name)
			}
		}
	}
	if network && p.in.RestartNetworkd {
		add(pendingNetworkd)
	}
	out.pending = slices.DeleteFunc(out.pending, func(l string) bool { return l == "" })
	for _, l := range out.pending {
		switch name, start := strings.CutPrefix(l, pendingStart); {
		case start:
			out.after = append(out.after, Change{Verb: "start", Subject: name, Detail: "it is enabled"})
		case l == pendingReload:
			out.after = append(out.after, Change{Verb: "reload", Subject: "systemd", Detail: "units changed"})
		case l == pendingNetworkd:
			out.after = append(out.after, Change{Verb: "restart", Subject: networkd, Detail: "its files changed"})
		}
	}
	return nil
}

// hostname is the name that the config gives the host; "" if it gives none.
func (p *planner) hostname() (string, error) {
	if p.in.Hostname != "" {
		return p.in.Hostname, nil
	}
	if p.nodes["/etc/hostname"] == nil {
		return "", nil
	}
	text, _, _, err := p.read("/etc/hostname")
	for l := range strings.Lines(string(text)) {
		if l = strings.TrimSpace(l); l != "" && l[0] != '#' {
			return l, nil
		}
	}
	return "", err
}

// scripts puts the config's scripts where they are run from.
func (p *planner) scripts() {
	for _, s := range p.in.Scripts {
		at, err := p.place(p.opts.scriptFile(s))
		if err == nil {
			err = p.put(at, node{want: entry{kind: regular, mode: cloudinit.ScriptMode}, content: []byte(s.Text), secret: true})
		}
		p.note(err)
	}
}

func scriptID(s cloudinit.Script) string {
	sum := sha256.Sum256([]byte(s.Text))
	return hex.EncodeToString(sum[:6])
}

func (o Options) scriptFile(s cloudinit.Script) string {
	return path.Join(o.Workspace, "scripts", scriptID(s))
}

// notePending writes down what is to be told, before anything is changed.
func (a *Applier) notePending(lines []string) error {
	if len(lines) == 0 {
		return nil
	}
	t := newTree(a.root)
	if err := t.put(pendingFile, node{want: entry{kind: regular, mode: 0o600}, content: []byte(strings.Join(lines, "\n") + "\n")}); err != nil {
		return err
	}
	return a.carryOut(t)
}

func (a *Applier) clearPending() error {
	t := newTree(a.root)
	if err := t.put(pendingFile, node{want: entry{kind: missing}}); err != nil {
		return err
	}
	return a.carryOut(t)
}

func (a *Applier) carryOut(t *tree) error {
	steps, err := t.steps()
	if err != nil {
		return err
	}
	for _, s := range steps {
		if err := a.root.do(s); err != nil {
			return err
		}
	}
	return nil
}

// tell gives the running host its orders.
func (a *Applier) tell(ctx context.Context, p *plan, report *Report) error {
	m := a.opts.Manager
	if p.hostname != "" {
		if err := m.SetHostname(p.hostname); err != nil {
			return fmt.Errorf("setting the host's name to %s: %w", p.hostname, err)
		}
	}
	if slices.Contains(p.pending, pendingReload) {
		if err := m.Reload(ctx); err != nil {
			return err
		}
	}
	if a.opts.Placed != nil {
		if err := a.opts.Placed(); err != nil {
			return err
		}
	}
	if slices.Contains(p.pending, pendingNetworkd) {
		if err := a.command(ctx, cloudinit.Command{Unit: networkd, Verb: "restart"}, report); err != nil {
			return err
		}
	}
	for _, l := range p.pending {
		name, start := strings.CutPrefix(l, pendingStart)
		switch c := (cloudinit.Command{Unit: name, Verb: "start"}); {
		case !start:
		case a.opts.CommandsLater:
			report.Later = append(report.Later, c)
		default:
			if err := a.command(ctx, c, report); err != nil {
				return err
			}
		}
	}
	for _, c := range p.after {
		a.opts.Progress(c)
	}
	return a.clearPending()
}

func (a *Applier) command(ctx context.Context, c cloudinit.Command, report *Report) error {
	result, err := a.opts.Manager.Do(ctx, c.Unit, c.Verb)
	var refused interface{ NoSuchUnit() bool }
	missing := errors.As(err, &refused) && refused.NoSuchUnit()
	if missing && c.Implied {
		result, err = "skipped", nil
	}
	if err != nil {
		return fmt.Errorf("%s %s: %w", c.Verb, c.Unit, err)
	}
	o := Outcome{Unit: c.Unit, Verb: c.Verb, Result: result, OK: result == "done" || result == "skipped"}
	report.Commands = append(report.Commands, o)
	a.opts.Outcome(o)
	return nil
}

// notDone adds to an error what it keeps from being done.
func notDone(err error, commands []cloudinit.Command, scripts []cloudinit.Script) error {
	var left []string
	for _, c := range commands {
		left = append(left, c.Verb+" "+c.Unit)
	}
	for _, s := range scripts {
		left = append(left, fmt.Sprintf("the script of line %d", s.Line))
	}
	if len(left) == 0 {
		return err
	}
	return fmt.Errorf("%w\nso this was not done: %s", err, strings.Join(left, ", "))
}

// Run runs commands, and then scripts that an Apply has saved, each after the one
// before has ended. One that fails is in the report; an error is of asking, and
// ends it. A start of what runs already does nothing; a restart restarts.
func (a *Applier) Run(ctx context.Context, commands []cloudinit.Command, scripts []cloudinit.Script) (Report, error) {
	var report Report
	return report, a.run(ctx, commands, scripts, &report)
}

func (a *Applier) run(ctx context.Context, commands []cloudinit.Command, scripts []cloudinit.Script, report *Report) error {
	for i, c := range commands {
		if err := a.command(ctx, c, report); err != nil {
			return notDone(err, commands[i+1:], scripts)
		}
	}
	for _, s := range scripts {
		name := "fleet-cloudinit-script-" + scriptID(s) + ".service"
		result, err := a.opts.Manager.Run(ctx, name, []string{cloudinit.ScriptShell, a.opts.scriptFile(s)})
		if err != nil {
			return fmt.Errorf("running the script of line %d: %w", s.Line, err)
		}
		o := Outcome{Unit: name, Verb: "run", Result: result, OK: result == "done"}
		report.Scripts = append(report.Scripts, o)
		a.opts.Outcome(o)
	}
	return nil
}
