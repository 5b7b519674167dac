package simulation

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/engine/planner"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// rests reports whether the cluster has come to rest.
func (j *judge) rests() bool {
	trial := *j
	trial.quiet = true
	trial.rest()
	return trial.wrong == nil
}

// rest judges what has become of the cluster when all has been well for long.
func (j *judge) rest() {
	j.judges(converges)
	j.places()
	j.plannerRests()
	j.asWanted()
}

// places finds out what is wanted where.
func (j *judge) places() {
	j.placed, j.there = map[unit.Name][]machine.ID{}, map[machine.ID][]unit.Name{}
	for _, k := range sorted(j.view.Schedule) {
		if j.view.Schedule[k].Target.Wanted() {
			j.placed[k.Unit] = append(j.placed[k.Unit], k.Machine)
			j.there[k.Machine] = append(j.there[k.Machine], k.Unit)
		}
	}
}

// asWanted judges by what units' files and operators say alone.
func (j *judge) asWanted() {
	for _, name := range slices.Sorted(maps.Keys(j.view.Units)) {
		j.unitAtRest(name, j.view.Units[name])
	}
	for _, name := range slices.Sorted(maps.Keys(j.running)) {
		for _, id := range slices.Sorted(maps.Keys(j.running[name])) {
			k := record.Key{Machine: id, Unit: name}
			if _, known := j.view.Units[name]; !known && j.untold[k] {
				continue
			}
			if spec := j.view.Schedule[k]; spec.Target != unit.TargetLaunched {
				j.fail(converges, name, id, "it runs, and the schedule has %q", spec.Target)
			}
		}
	}
	for _, k := range sorted(j.view.Schedule) {
		if _, live := j.view.Machines[k.Machine]; live && !j.view.Schedule[k].Target.Wanted() {
			j.fail(converges, k.Unit, k.Machine, "it is still to be taken away")
		}
	}
	if len(j.view.Machines) != len(j.w.hosts) {
		j.fail(converges, "", "", "%d of %d machines are there", len(j.view.Machines), len(j.w.hosts))
	}
}

// plannerRests has a planner that begins find nothing to do.
func (j *judge) plannerRests() {
	p := planner.New(planner.Config{Grace: j.w.ttl})
	for i, changes := range [][]record.Change{j.view.Changes(), nil} {
		if plan := p.Step(j.w.now.Add(time.Duration(i)*j.w.ttl), changes); len(plan.Decisions) > 0 {
			j.fail(converges, "", "", "a planner that begins has more to do: %v", plan.Decisions)
			return
		}
	}
	for _, name := range slices.Sorted(maps.Keys(j.view.Units)) {
		if !j.view.Units[name].Target.Wanted() || len(j.placed[name]) > 0 {
			continue
		}
		if e, ok := p.Explain(name); ok && e.Fits && len(e.Placed) == 0 {
			j.fail(converges, name, "", "it is wanted and fits somewhere, but is placed nowhere: %s", e.Summary)
		}
	}
}

func (j *judge) unitAtRest(name unit.Name, u record.Unit) {
	t, known := j.w.texts[u.File]
	if !known || u.Target == unit.TargetDestroyed {
		j.fail(converges, name, "", "it is still %s, with file %s", u.Target, u.File.Short())
		return
	}
	req := t.requirements(name)
	on := j.placed[name]
	for _, id := range on {
		k := record.Key{Machine: id, Unit: name}
		spec := j.view.Schedule[k]
		st := j.view.States[k]
		runs := j.running[name][k.Machine]
		if runs != nil && t.does.Life == 0 {
			j.judges(truthTold)
		}
		switch {
		case st.Spec != spec && t.does.Life == 0 && t.does.Refuses == 0:
			j.fail(converges, name, k.Machine, "it is told %+v, and says %s", spec, sayState(&st))
		case runs != nil && t.does.Life == 0 && st.Active != "active":
			j.fail(truthTold, name, k.Machine, "it runs, and its state is %s", sayState(&st))
		case st.Error != "" && t.does.Refuses == 0:
			j.fail(converges, name, k.Machine, "it has the error %q", st.Error)
		case runs == nil && spec.Target == unit.TargetLaunched && t.does.Refuses == 0 && t.does.Life == 0:
			j.fail(noneLost, name, k.Machine, "it is launched, and doesn't run")
		case runs != nil && runs.File != u.File:
			j.fail(converges, name, k.Machine, "it runs with the file %s, not %s", runs.File.Short(), u.File.Short())
		}
		j.fits(name, req, k.Machine)
	}
	switch {
	case u.Target.Wanted() && req.Empty() && j.unrelated(name) && len(on) != 1:
		if len(on) > 1 || !j.allCordoned() {
			j.fail(noneLost, name, "", "it demands nothing, and is placed on %v", on)
		}
	case !u.Target.Wanted() && len(on) > 0:
		j.fail(converges, name, "", "it is inactive, and placed on %v", on)
	case !req.Global && len(on) > 1:
		j.fail(neverTwo, name, "", "it is placed on %v", on)
	}
}

func (j *judge) allCordoned() bool {
	for _, n := range j.w.hosts {
		if !j.view.Overrides[n.Machine().ID].Cordoned {
			return false
		}
	}
	return true
}

// fits judges a placement by the words of the unit file alone.
func (j *judge) fits(name unit.Name, req unit.Requirements, id machine.ID) {
	meta := j.view.Overrides[id].Apply(j.view.Machines[id].Metadata)
	for _, rule := range req.Metadata {
		j.judges(metadataHolds)
		if v, has := meta[rule.Key]; !rule.Match(v, has) {
			j.fail(metadataHolds, name, id, "%s does not hold there: %v", rule, meta)
		}
	}
	for _, leader := range req.MachineOf {
		j.judges(machineOfHolds)
		if !j.view.Schedule[record.Key{Machine: id, Unit: leader}].Target.Wanted() {
			j.fail(machineOfHolds, name, id, "%s is not there", leader)
		}
	}
	for _, other := range j.there[id] {
		if other == name {
			continue
		}
		for _, glob := range req.Conflicts {
			if j.judges(conflictsHold); glob.Match(other) {
				j.fail(conflictsHold, name, id, "it is in conflict with %s, which is there too", other)
			}
		}
	}
}

func sorted[V any](m map[record.Key]V) []record.Key {
	return slices.SortedFunc(maps.Keys(m), func(a, b record.Key) int {
		if c := strings.Compare(string(a.Unit), string(b.Unit)); c != 0 {
			return c
		}
		return strings.Compare(string(a.Machine), string(b.Machine))
	})
}

// idle judges what becomes of a cluster at rest while that passes.
func (j *judge) idle(passes func()) {
	j.judges(idleWritesNothing)
	before := j.w.store.Revision()
	if passes(); j.w.store.Revision() != before {
		j.fail(idleWritesNothing, "", "", "etcd's revision went from %d to %d in %s", before, j.w.store.Revision(), idleness)
	}
	j.judges(netFindsNothing)
	if n := j.repairs(); n > 0 {
		j.fail(netFindsNothing, "", "", "it had to repair %.0f decisions", n)
	}
}

// flaps reports whether something goes on changing by itself.
func (j *judge) flaps() bool {
	for name, u := range j.view.Units {
		t := j.w.texts[u.File]
		if u.Target == unit.TargetLaunched && (t.does.Life > 0 || t.does.Refuses > 0) && name != "" {
			return true
		}
	}
	return false
}

// repairs is how often a comparison with a fresh snapshot found something to do.
func (j *judge) repairs() (n float64) {
	for _, g := range j.w.engines {
		families, err := g.Gather()
		if err != nil {
			panic(err)
		}
		for _, f := range families {
			if f.GetName() == "fleet_engine_safety_net_repairs_total" {
				n += f.GetMetric()[0].GetCounter().GetValue()
			}
		}
	}
	return n
}

// unrelated reports whether no other unit's file says anything about one.
func (j *judge) unrelated(name unit.Name) bool {
	return j.steady(name) || strings.HasPrefix(string(name), "plain")
}
