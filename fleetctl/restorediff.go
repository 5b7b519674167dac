package main

import (
	"bytes"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/fleetctl/backup"
	"github.com/fleet-project/fleet/unit"
)

// difference is what lies between a backup and the cluster.
type difference struct {
	// Backup is the cluster that the backup is of, Cluster the one that is asked.
	Backup  string    `json:"backup"`
	Cluster string    `json:"cluster"`
	Taken   time.Time `json:"taken"`
	Changes []change  `json:"changes"`
	// Unchanged is how many units and machines are as the backup has them.
	Unchanged int `json:"unchanged"`

	units map[unit.Name]backup.Unit // as they will be
}

// change is what would become of one unit, or of what was said of one machine.
type change struct {
	Kind string `json:"kind"` // unit or machine
	Name string `json:"name"` // a machine's id
	// Action is create, replace (the text), target (the desired state alone), set
	// (what is said of the machine), destroy, reset (what was said), or leave: the
	// backup doesn't have it.
	Action string `json:"action"`
	// From and To are a unit's desired states.
	From unit.Target `json:"from,omitempty"`
	To   unit.Target `json:"to,omitempty"`
	// Restarts: it is launched, and its text changes.
	Restarts bool `json:"restarts,omitempty"`
	// Lines are what goes (-) and comes (+).
	Lines []string `json:"lines,omitempty"`

	unit    backup.Unit
	machine backup.Machine
}

func (c change) equal(o change) bool {
	return c.Kind == o.Kind && c.Name == o.Name && c.Action == o.Action && c.From == o.From && c.To == o.To && slices.Equal(c.Lines, o.Lines)
}

// compare finds what it takes to make the cluster, as it is now, what is wanted.
func compare(wanted, now *backup.File, prune bool) *difference {
	d := &difference{Backup: wanted.Cluster, Cluster: now.Cluster, Taken: wanted.Taken, Changes: []change{}, units: map[unit.Name]backup.Unit{}}
	machines := map[string]backup.Machine{}
	for _, m := range now.Machines {
		machines[m.ID] = m
	}
	for _, m := range wanted.Machines {
		d.add(machineChange(m, machines[m.ID]))
		delete(machines, m.ID)
	}
	for _, id := range slices.Sorted(maps.Keys(machines)) {
		d.add(extra(change{Kind: "machine", Name: id, Lines: removed(said(machines[id])), machine: backup.Machine{ID: id}}, "reset", prune))
	}
	units := map[unit.Name]backup.Unit{}
	for _, u := range now.Units {
		units[u.Name] = u
	}
	for _, u := range wanted.Units {
		old, exists := units[u.Name]
		d.add(unitChange(u, old, exists))
		d.units[u.Name] = u
		delete(units, u.Name)
	}
	for _, name := range slices.Sorted(maps.Keys(units)) {
		if !prune {
			d.units[name] = units[name]
		}
		d.add(extra(change{Kind: "unit", Name: string(name), From: units[name].Target, unit: units[name]}, "destroy", prune))
	}
	return d
}

func (d *difference) add(c change) {
	if c.Action == "" {
		d.Unchanged++
		return
	}
	d.Changes = append(d.Changes, c)
}

// extra is a change of what the backup doesn't have.
func extra(c change, action string, prune bool) change {
	if c.Action = action; !prune {
		c.Action, c.Lines = "leave", nil
	}
	return c
}

func machineChange(m, old backup.Machine) change {
	was, is := said(old), said(m)
	if slices.Equal(was, is) {
		return change{}
	}
	return change{Kind: "machine", Name: m.ID, Action: "set", Lines: lineDiff(was, is), machine: m}
}

// said is what was said of a machine, a line each.
func said(m backup.Machine) (lines []string) {
	if m.Cordoned {
		lines = append(lines, "cordoned")
	}
	for _, k := range slices.Sorted(maps.Keys(m.Metadata)) {
		lines = append(lines, "metadata "+k+"="+m.Metadata[k])
	}
	for _, k := range slices.Sorted(slices.Values(m.Removed)) {
		lines = append(lines, "without metadata "+k)
	}
	return lines
}

func unitChange(u, old backup.Unit, exists bool) change {
	c := change{Kind: "unit", Name: string(u.Name), From: old.Target, To: u.Target, unit: u}
	switch {
	case !exists:
		c.Action = "create"
	case !bytes.Equal(u.Text, old.Text):
		c.Action, c.Restarts = "replace", old.Target == unit.TargetLaunched && u.Target == unit.TargetLaunched
		c.Lines = lineDiff(linesOf(old.Text), linesOf(u.Text))
	case u.Target != old.Target:
		c.Action = "target"
	default:
		return change{}
	}
	return c
}

func linesOf(text []byte) []string {
	lines := strings.Split(string(text), "\n")
	if last := len(lines) - 1; lines[last] == "" {
		return lines[:last]
	}
	lines[len(lines)-1] += " (without a line break)"
	return lines
}

func removed(lines []string) []string { return lineDiff(lines, nil) }

// lineDiff gives the lines that go and those that come. What texts have in common
// at their beginnings and ends isn't shown: that tells most edits.
func lineDiff(old, new []string) (out []string) {
	for len(old) > 0 && len(new) > 0 && old[0] == new[0] {
		old, new = old[1:], new[1:]
	}
	for len(old) > 0 && len(new) > 0 && old[len(old)-1] == new[len(new)-1] {
		old, new = old[:len(old)-1], new[:len(new)-1]
	}
	for _, l := range old {
		out = append(out, "-"+l)
	}
	for _, l := range new {
		out = append(out, "+"+l)
	}
	return out
}

// todo is what is to be changed, in order: machines first, so that units find them
// as they will be; what is to go comes last.
func (d *difference) todo() []*change {
	var machines, units, gone []*change
	for i := range d.Changes {
		switch c := &d.Changes[i]; c.Action {
		case "leave":
		case "set", "reset":
			machines = append(machines, c)
		case "destroy":
			gone = append(gone, c)
		default:
			units = append(units, c)
		}
	}
	return slices.Concat(machines, units, gone)
}

// circles finds units that each would have to be where another one is already, as
// fleetd would when half of them were restored.
func (d *difference) circles(path string) string {
	leaders := map[unit.Name][]unit.Name{}
	for name, u := range d.units {
		if f, err := unit.Parse(u.Text); err == nil {
			if req, err := f.Requirements(name); err == nil {
				leaders[name] = req.MachineOf
			}
		}
	}
	done := map[unit.Name]bool{}
	var problems unit.Problems
	var visit func(name unit.Name, above []unit.Name)
	visit = func(name unit.Name, above []unit.Name) {
		if i := slices.Index(above, name); i >= 0 {
			circle := ""
			for _, n := range append(slices.Clone(above[i:]), name) {
				circle += " → " + string(n)
			}
			problems = append(problems, unit.Problem{
				Line: d.units[name].Line, Option: string(name) + ": [X-Fleet] MachineOf", Msg: "goes in a circle: " + strings.TrimPrefix(circle, " → "),
				Remedy: "take MachineOf out of one of these units: the others follow it",
			})
			return
		}
		if done[name] {
			return
		}
		above = append(above, name)
		for _, leader := range leaders[name] {
			visit(leader, above)
		}
		done[name] = true
	}
	for _, name := range slices.Sorted(maps.Keys(leaders)) {
		visit(name, nil)
	}
	if len(problems) == 0 {
		return ""
	}
	return problems.InFile(path) + "\nNothing was changed."
}

// print tells a person.
func (d *difference) print(out io.Writer) error {
	var b strings.Builder
	if d.Backup != d.Cluster {
		fmt.Fprintf(&b, "The backup is of another cluster, %s; this one is %s.\n", d.Backup, d.Cluster)
	}
	kept := 0
	for _, c := range d.Changes {
		if c.Action == "leave" {
			kept++
		}
		fmt.Fprintf(&b, "%-8s%s %s%s\n", c.Action, c.Kind, c.Name, c.detail())
		for _, l := range c.Lines {
			fmt.Fprintf(&b, "    %s\n", l)
		}
	}
	todo := len(d.Changes) - kept
	fmt.Fprintf(&b, "%d to change, %d as in the backup", todo, d.Unchanged)
	if !d.Taken.IsZero() {
		b.WriteString(" of " + d.Taken.Format(time.RFC3339))
	}
	if kept > 0 {
		fmt.Fprintf(&b, ", %d that it doesn't have (they stay; with --prune they would go)", kept)
	}
	b.WriteString(".\n")
	_, err := io.WriteString(out, b.String())
	return err
}

func (c change) detail() string {
	switch c.Action {
	case "create":
		return " " + string(c.To)
	case "replace":
		text := ""
		if c.From != c.To {
			text = fmt.Sprintf(" %s → %s", c.From, c.To)
		}
		if c.Restarts {
			text += " (is restarted)"
		}
		return text
	case "target":
		return fmt.Sprintf(" %s → %s", c.From, c.To)
	case "destroy", "leave":
		if c.Kind == "unit" {
			return " " + string(c.From)
		}
	}
	return ""
}
