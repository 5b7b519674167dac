package planner

import (
	"slices"
	"strings"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// oracle judges plans the slow way: over the stored state, without an index.
type oracle struct{ *record.View }

// req gives a unit's requirements; false if they can't be had.
func (o oracle) req(name unit.Name) (unit.Requirements, bool) {
	u, ok := o.Units[name]
	text, has := o.Files[u.File]
	if !ok || !has {
		return unit.Requirements{}, false
	}
	f, err := unit.Parse(text)
	if err != nil {
		return unit.Requirements{}, false
	}
	req, err := f.Requirements(name)
	return req, err == nil
}

func (o oracle) live(id machine.ID) bool {
	_, ok := o.Machines[id]
	return ok
}

func (o oracle) matches(globs []unit.Glob, name unit.Name) bool {
	return slices.ContainsFunc(globs, func(g unit.Glob) bool { return g.Match(name) })
}

func (o oracle) conflict(a, b unit.Name) bool {
	x, _ := o.req(a)
	y, _ := o.req(b)
	return a != b && (o.matches(x.Conflicts, b) || o.matches(y.Conflicts, a))
}

func (o oracle) replaces(a, b unit.Name) bool {
	x, _ := o.req(a)
	return a != b && o.matches(x.Replaces, b)
}

// follows reports whether a's MachineOf names b.
func (o oracle) follows(a, b unit.Name) bool {
	x, _ := o.req(a)
	return slices.Contains(x.MachineOf, b)
}

// replacesBack reports whether moving b can make a move in turn, through
// whomever.
func (o oracle) replacesBack(b, a unit.Name, seen map[unit.Name]bool) bool {
	if seen[b] {
		return false
	}
	seen[b] = true
	if o.replaces(b, a) || o.follows(a, b) {
		return true
	}
	for c, u := range o.Units {
		if u.Target.Wanted() && (o.replaces(b, c) || o.follows(c, b)) && o.replacesBack(c, a, seen) {
			return true
		}
	}
	return false
}

func (o oracle) placed(name unit.Name, on machine.ID) bool {
	spec, ok := o.Schedule[record.Key{Machine: on, Unit: name}]
	return ok && spec.Target != unit.TargetNone
}

// lingers reports whether a unit may be on a machine without being placed
// there: told to leave it, or never told to come.
func (o oracle) lingers(name unit.Name, on machine.ID) bool {
	k := record.Key{Machine: on, Unit: name}
	spec, told := o.Schedule[k]
	st, says := o.States[k]
	if told {
		return spec.Target == unit.TargetNone
	}
	return says && st.Target.Wanted()
}

// names gives every unit that has anything to do with a machine.
func (o oracle) names(on machine.ID) (out []unit.Name) {
	add := func(k record.Key) {
		if k.Machine == on && !slices.Contains(out, k.Unit) {
			out = append(out, k.Unit)
		}
	}
	for k := range o.Schedule {
		add(k)
	}
	for k := range o.States {
		add(k)
	}
	return out
}

// may reports whether a unit may stay on a machine, or come to it.
func (o oracle) may(name unit.Name, on machine.ID, m mode) bool {
	req, ok := o.req(name)
	host, live := o.Machines[on]
	over := o.Overrides[on]
	if !ok || !live || host.Leaving || m == enter && over.Cordoned {
		return false
	}
	if req.MachineID != "" && req.MachineID != string(on) && req.MachineID != on.Short() {
		return false
	}
	boot := strings.ReplaceAll(string(host.BootID), "-", "")
	if req.BootID != "" && !slices.Contains([]string{boot, string(on), on.Short()}, req.BootID) {
		return false
	}
	meta := over.Apply(host.Metadata)
	for _, r := range req.Metadata {
		if v, has := meta[r.Key]; !r.Match(v, has) {
			return false
		}
	}
	for _, leader := range req.MachineOf {
		if !o.placed(leader, on) {
			return false
		}
	}
	runs := o.States[record.Key{Machine: on, Unit: name}].Target.Wanted()
	for _, other := range o.names(on) {
		here := o.placed(other, on)
		if other == name {
			if m == enter && !here && o.lingers(other, on) {
				return false
			}
			continue
		}
		if (here || m == enter && o.lingers(other, on)) && o.conflict(name, other) {
			return false
		}
		if !runs && other != name && o.lingers(other, on) && o.matches(req.Conflicts, other) {
			return false
		}
		if here && o.replaces(other, name) {
			return false
		}
		if m == enter && (here || o.lingers(other, on)) && o.replaces(name, other) {
			return false
		}
	}
	return true
}

// canReplace reports whether a unit with Replaces could take a machine from
// units that are there.
func (o oracle) canReplace(name unit.Name, on machine.ID) bool {
	// As if they had left already.
	without := record.NewView()
	*without = *o.View
	without.Schedule = map[record.Key]record.Spec{}
	found := false
	for k, spec := range o.Schedule {
		if k.Machine == on && o.replaces(name, k.Unit) {
			if _, ok := o.req(k.Unit); !ok && o.Units[k.Unit].Target.Wanted() || o.replacesBack(k.Unit, name, map[unit.Name]bool{}) {
				return false
			}
			found = found || o.Units[k.Unit].Target.Wanted()
			continue
		}
		without.Schedule[k] = spec
	}
	return found && oracle{without}.may(name, on, enter)
}
