package planner

import (
	"fmt"
	"reflect"
	"time"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// judgeKeys: no key is written twice in one plan.
func (w *world) judgeKeys(plan Plan) {
	seen := map[string]bool{}
	for _, d := range plan.Decisions {
		var key string
		switch d := d.(type) {
		case Place:
			key = fmt.Sprint(d.Key)
		case Withdraw:
			key = fmt.Sprint(d.Key)
		case Forget:
			key = fmt.Sprint(d.Key)
		case Release:
			key = fmt.Sprint(d.Unit)
		case Restore:
			key = fmt.Sprint(d.Unit)
		case CollectFile:
			key = fmt.Sprint(d.Hash)
		case RestoreFile:
			key = fmt.Sprint(d.Hash)
		}
		if seen[key] {
			w.t.Fatalf("%s is written twice: %v", key, plan.Decisions)
		}
		seen[key] = true
	}
}

// judge compares a plan with what was stored before and is stored now.
func (w *world) judge(was oracle, plan Plan) {
	is := oracle{w.view}
	ran := oracle{clone(was.View)} // what runs without having been told is there as well
	for k, st := range was.States {
		if _, told := was.Schedule[k]; !told && st.Target.Wanted() {
			ran.Schedule[k] = st.Spec
		}
	}
	for _, d := range plan.Decisions {
		switch d := d.(type) {
		case Place:
			w.judgePlace(was, is, d)
		case Withdraw:
			w.judgeWithdraw(ran, is, d)
		case Forget:
			if st := was.States[d.Key]; st.Target != unit.TargetNone {
				w.t.Fatalf("%v: not acknowledged", d)
			}
		case Release:
			if was.Units[d.Unit].Target != unit.TargetDestroyed {
				w.t.Fatalf("%v: it was not destroyed", d)
			}
			for m := range is.Machines {
				if is.placed(d.Unit, m) || is.lingers(d.Unit, m) {
					w.t.Fatalf("%v: it may still run on %s", d, short(m))
				}
			}
		}
	}
	for name := range is.Units {
		req, ok := is.req(name)
		if on := w.placed(name, false); ok && !req.Global && len(on) > 1 {
			w.t.Fatalf("%s is placed on %v at once", name, on)
		}
	}
	w.judgeConflicts(is)
}

func (w *world) judgeConflicts(is oracle) {
	for m := range is.Machines {
		names := is.names(m)
		for i, a := range names {
			for _, b := range names[i+1:] {
				if is.placed(a, m) && is.placed(b, m) && is.conflict(a, b) && is.readable(a) && is.readable(b) {
					w.t.Fatalf("%s and %s conflict, and both are on %s", a, b, short(m))
				}
			}
		}
	}
}

// judgeBegin: a unit that comes to a host is in conflict with nothing that it has, by
// the very files that it has, unless these no longer counted when the planner
// planned last. Where somebody takes keys away by hand, nobody can promise that.
func (w *world) judgeBegin(k record.Key, spec record.Spec) {
	if w.byHand || w.wasLate {
		return
	}
	conflicts := func(a unit.Name, file unit.Hash, b unit.Name) bool {
		req, err := mustParse(w.texts[file]).Requirements(a)
		return err == nil && oracle{}.matches(req.Conflicts, b)
	}
	for other, has := range w.running {
		if other.Machine != k.Machine || other.Unit == k.Unit || !w.planned.conflict(k.Unit, other.Unit) {
			continue
		}
		if conflicts(k.Unit, spec.File, other.Unit) || conflicts(other.Unit, has.File, k.Unit) {
			w.t.Fatalf("%s begins %s beside %s, with which it conflicts", short(k.Machine), k.Unit, other.Unit)
		}
	}
}

func mustParse(text string) *unit.File {
	f, err := unit.Parse([]byte(text))
	if err != nil {
		panic(err)
	}
	return f
}

func (o oracle) readable(name unit.Name) bool {
	_, ok := o.req(name)
	return ok
}

func (w *world) judgePlace(was, is oracle, d Place) {
	req, ok := is.req(d.Unit)
	rewritten := was.Schedule[d.Key] == d.Spec // after a key vanished
	if !ok {
		if !rewritten {
			w.t.Fatalf("%v: its requirements can't be read", d)
		}
		return
	}
	if !is.live(d.Machine) {
		if !rewritten {
			w.t.Fatalf("%v: the machine is absent", d)
		}
		return
	}
	m := enter
	if was.placed(d.Unit, d.Machine) || was.States[d.Key].Target.Wanted() {
		m = stay
	}
	if !is.may(d.Unit, d.Machine, m) {
		w.t.Fatalf("%v: it doesn't fit there", d)
	}
	if req.Global || rewritten {
		return
	}
	for other := range is.Machines {
		if other == d.Machine {
			continue
		}
		if is.placed(d.Unit, other) || is.lingers(d.Unit, other) {
			w.t.Fatalf("%v: it has yet to leave %s", d, short(other))
		}
	}
}

func (w *world) judgeWithdraw(was, is oracle, d Withdraw) {
	u := is.Units[d.Unit]
	if d.Reason == "its schedule key vanished" {
		return // it was withdrawn before
	}
	if !u.Target.Wanted() || !is.readable(d.Unit) {
		if u.Target.Wanted() {
			w.t.Fatalf("%v: its requirements can't be read", d)
		}
		return
	}
	elsewhere := len(w.placed(d.Unit, false)) > 0
	for m := range was.Machines {
		elsewhere = elsewhere || m != d.Machine && was.States[record.Key{Machine: m, Unit: d.Unit}].Target.Wanted()
	}
	switch {
	case !is.live(d.Machine) && !elsewhere:
		w.t.Fatalf("%v: the machine is absent, and the unit is placed nowhere else", d)
	case is.live(d.Machine) && !elsewhere && was.may(d.Unit, d.Machine, stay) && is.may(d.Unit, d.Machine, stay) && !w.replaced(is, d.Key):
		w.t.Fatalf("%v: it could have stayed", d)
	}
}

// replaced reports whether some unit waits for this one to make way.
func (w *world) replaced(is oracle, k record.Key) bool {
	for name, u := range is.Units {
		if u.Target.Wanted() && is.replaces(name, k.Unit) && len(w.placed(name, false)) == 0 {
			return true
		}
	}
	return false
}

func (w *world) judgeRest() {
	is := oracle{w.view}
	for name, u := range is.Units {
		w.judgeUnitAtRest(is, name, u)
	}
	for k, spec := range is.Schedule {
		if spec.Target == unit.TargetNone && is.live(k.Machine) {
			w.t.Fatalf("%v is withdrawn and not forgotten", k)
		}
		if _, ok := is.Units[k.Unit]; !ok && spec.Target != unit.TargetNone {
			w.t.Fatalf("%v is placed, but there is no such unit", k)
		}
	}
	for k := range w.running {
		if _, known := is.Units[k.Unit]; known && is.live(k.Machine) && !is.placed(k.Unit, k.Machine) && is.readable(k.Unit) {
			w.t.Fatalf("%v runs without being placed", k)
		}
	}
	if !reflect.DeepEqual(*w.planner.unbound, bonds{unbound: true}) {
		w.t.Fatalf("the bonds of all that have none were written to: %+v", *w.planner.unbound)
	}
	used := map[unit.Hash]bool{}
	for _, u := range is.Units {
		used[u.File] = true
	}
	for _, s := range is.Schedule {
		used[s.File] = true
	}
	for _, s := range is.States {
		used[s.File] = true
	}
	for h := range is.Files {
		if !used[h] {
			w.t.Fatalf("file %s is not used and not collected", h.Short())
		}
	}
	fresh := New(Config{Grace: grace})
	for _, after := range []time.Duration{0, grace} {
		if plan := fresh.Step(w.now.Add(after), nil2changes(w.view, after)); len(plan.Decisions) > 0 {
			w.t.Fatalf("a fresh planner finds more to do: %v", plan.Decisions)
		}
	}
}

func nil2changes(v *record.View, after time.Duration) []record.Change {
	if after > 0 {
		return nil
	}
	return v.Changes()
}

func (w *world) judgeUnitAtRest(is oracle, name unit.Name, u record.Unit) {
	req, ok := is.req(name)
	on := w.placed(name, false)
	switch {
	case u.Target == unit.TargetDestroyed:
		w.t.Fatalf("%s is destroyed and not released", name)
	case !u.Target.Wanted():
		if all := w.placed(name, true); len(all) > 0 {
			w.t.Fatalf("%s is inactive, but placed on %v", name, all)
		}
		return
	case !ok:
		return
	}
	for m := range is.Machines {
		fits := is.may(name, m, enter)
		switch {
		case is.placed(name, m):
			if !is.may(name, m, stay) {
				w.t.Fatalf("%s stays on %s, where it doesn't fit", name, short(m))
			}
			if spec := is.Schedule[record.Key{Machine: m, Unit: name}]; spec != (record.Spec{Target: u.Target, File: u.File, Restart: u.RestartCount(m)}) {
				w.t.Fatalf("%s is told %v on %s", name, spec, short(m))
			}
		case fits && req.Global:
			w.t.Fatalf("%s is global, but not on %s", name, short(m))
		case fits && len(on) == 0:
			w.t.Fatalf("%s fits on %s, but is placed nowhere", name, short(m))
		case len(on) == 0 && !req.Global && is.canReplace(name, m):
			w.t.Fatalf("%s could replace a unit on %s, but is placed nowhere", name, short(m))
		}
	}
	e, _ := w.planner.Explain(name)
	if len(e.Placed) != len(on) || !req.Global && len(on) == 0 && e.Fits || e.Summary == "" {
		w.t.Fatalf("%s is placed on %v, which is explained as %+v", name, on, e)
	}
}
