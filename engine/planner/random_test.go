package planner

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

var (
	someHosts = []string{"a", "b", "c", "d", "e"}
	someUnits = []unit.Name{
		"db.service", "log.service", "web@1.service", "web@2.service", "web@3.service",
		"app.service", "side.service", "new.service", "old.service", "g.service",
	}
	someTexts = []string{
		"", "", "",
		"Conflicts=web@*.service",
		"Conflicts=%p@*.service\nConflicts=db.service",
		"Conflicts=*",
		"MachineOf=db.service",
		"MachineOf=app.service",
		"MachineOf=db.service log.service",
		"MachineOf=g.service",
		"MachineMetadata=region=eu",
		"MachineMetadata=region=eu\nConflicts=app.service",
		"MachineMetadata=region!=eu",
		"MachineMetadata=disk=ssd",
		"MachineID=a0000000",
		"Global=true",
		"Global=true\nMachineMetadata=disk=ssd",
		"Global=true\nConflicts=web@*",
		"Replaces=old.service",
		"Replaces=web@*",
		"Replaces=new.service db.service",
		"MachineOf=db.service\nReplaces=old.service",
		"Isolation=stop",
		"Nonsense=1",
	}
)

// world draws what happens to a sim, and judges what the planner makes of it.
type world struct {
	*sim
	t *rapid.T
	// twin is fed the same and must decide the same.
	twin *Planner
	// late: the planner hears of things with a delay.
	late bool
	// snapshot: what the twin hears first may come in any order.
	snapshot bool
	// vanished are the placements that somebody took away by hand since the
	// planner last planned.
	vanished map[record.Key]record.Spec
}

func newWorld(t *rapid.T, late bool) *world {
	w := &world{sim: newSim(), t: t, twin: New(Config{Grace: grace}), late: late, vanished: map[record.Key]record.Spec{}}
	for _, h := range someHosts[:rapid.IntRange(1, 3).Draw(t, "hosts")] {
		w.machine(w.drawMachine(h))
	}
	return w
}

func (w *world) drawMachine(name string) machine.Machine {
	meta := map[string]string{}
	if r := rapid.SampledFrom([]string{"", "eu", "us"}).Draw(w.t, "region"); r != "" {
		meta["region"] = r
	}
	if rapid.Bool().Draw(w.t, "ssd") {
		meta["disk"] = "ssd"
	}
	return machine.Machine{ID: id(name), Metadata: meta}
}

func (w *world) drawHost() machine.ID { return id(rapid.SampledFrom(someHosts).Draw(w.t, "host")) }

func (w *world) drawUnit() unit.Name { return rapid.SampledFrom(someUnits).Draw(w.t, "unit") }

// anyKey draws one of the keys; false if there are none.
func anyKey[V any](t *rapid.T, m map[record.Key]V) (record.Key, bool) {
	if len(m) == 0 {
		return record.Key{}, false
	}
	return rapid.SampledFrom(sortedKeys(m)).Draw(t, "key"), true
}

func (w *world) actions() map[string]func(*rapid.T) {
	step := func(t *rapid.T) { w.plan(time.Duration(rapid.IntRange(0, 3).Draw(t, "seconds")) * time.Second) }
	submit := func(t *rapid.T) {
		w.submit(w.drawUnit(), rapid.SampledFrom([]unit.Target{"launched", "launched", "loaded", "inactive"}).Draw(t, "target"),
			"[X-Fleet]\n"+rapid.SampledFrom(someTexts).Draw(t, "text")+"\n")
	}
	edit := func(change func(*record.Unit)) func(*rapid.T) {
		return func(*rapid.T) { w.edit(w.drawUnit(), change) }
	}
	agents := func(*rapid.T) { w.agents() }
	return map[string]func(*rapid.T){
		"":        func(*rapid.T) {},
		"step":    step,
		"step2":   step,
		"later":   func(*rapid.T) { w.plan(grace) },
		"submit":  submit,
		"submit2": submit,
		"submit3": submit,
		"agents":  agents,
		"agent": func(t *rapid.T) {
			if k, ok := anyKey(t, w.view.Schedule); ok {
				w.agent(k)
			}
		},
		"load":    edit(func(u *record.Unit) { u.Target = unit.TargetLoaded }),
		"launch":  edit(func(u *record.Unit) { u.Target = unit.TargetLaunched }),
		"unload":  edit(func(u *record.Unit) { u.Target = unit.TargetInactive }),
		"destroy": edit(func(u *record.Unit) { u.Target = unit.TargetDestroyed }),
		"restart": edit(func(u *record.Unit) { u.Restart++ }),
		"join":    func(*rapid.T) { w.join(w.drawHost()) },
		"join2":   func(*rapid.T) { w.join(w.drawHost()) },
		"die":     func(*rapid.T) { w.lose(w.drawHost(), true) },
		"cut off": func(*rapid.T) { w.lose(w.drawHost(), false) },
		"relabel": func(*rapid.T) { w.relabel(w.drawHost(), false) },
		"leave":   func(*rapid.T) { w.relabel(w.drawHost(), true) },
		"cordon":  func(*rapid.T) { w.overrides(w.drawHost(), &record.Overrides{Cordoned: true}) },
		"override": func(*rapid.T) {
			w.overrides(w.drawHost(), &record.Overrides{Metadata: map[string]string{"region": "eu"}})
		},
		"uncordon": func(*rapid.T) { w.overrides(w.drawHost(), nil) },
		"vanish": func(t *rapid.T) {
			if k, ok := anyKey(t, w.view.Schedule); ok {
				w.vanished[k] = w.view.Schedule[k]
				w.placement(k, nil)
			}
		},
		"vanish unit": func(*rapid.T) {
			// Not a destroyed one: that would be a release.
			if name := w.drawUnit(); w.view.Units[name].Target != unit.TargetDestroyed {
				w.unit(name, nil)
			}
		},
		"vanish file": func(*rapid.T) {
			if u, ok := w.view.Units[w.drawUnit()]; ok {
				w.file(u.File, nil)
			}
		},
		"suspend": func(t *rapid.T) {
			w.cluster(false)
			if plan := w.plan(0); len(plan.Decisions) > 0 && !w.late {
				t.Fatalf("decided without a cluster: %v", plan.Decisions)
			}
			w.cluster(true)
		},
		"new leader": func(*rapid.T) {
			w.newLeader()
			w.snapshot = true
			clear(w.vanished)
			w.twin = New(Config{Grace: grace})
		},
	}
}

func (w *world) join(id machine.ID) {
	if _, ok := w.view.Machines[id]; ok {
		return
	}
	w.hosts[id] = w.drawMachine(short(id))
	w.comeBack(id)
}

// relabel gives a live machine other metadata.
func (w *world) relabel(id machine.ID, leaving bool) {
	if _, ok := w.view.Machines[id]; !ok {
		return
	}
	m := w.drawMachine(short(id))
	m.Leaving = leaving
	w.machine(m)
}

// plan has the planner and its twin plan, and judges the plan.
func (w *world) plan(after time.Duration) Plan {
	n := len(w.pending)
	if w.late {
		n = rapid.IntRange(0, n).Draw(w.t, "heard")
	}
	heard := slices.Concat(w.pending[:n]...)
	var first []record.Change
	if n > 0 {
		first = w.pending[0]
	}
	was := oracle{clone(w.view)}
	for k, spec := range w.vanished {
		if _, ok := was.Schedule[k]; !ok {
			was.Schedule[k] = spec
		}
	}
	plan := w.stepWith(after, n)
	if w.snapshot && n > 0 { // told in another order, it is the same
		w.snapshot = false
		heard = slices.Concat(shuffled(first, rapid.Uint64().Draw(w.t, "order")), heard[len(first):])
	}
	twin := w.twin.Step(w.now, heard)
	for _, d := range plan.Decisions {
		w.t.Log("  decided:", d)
	}
	for _, warning := range plan.Warnings {
		if strings.Contains(warning, "no end") {
			w.t.Fatal(warning)
		}
	}
	if d := cmp.Diff(plan, twin); d != "" {
		w.t.Fatalf("the same input gave another plan:\n%s", d)
	}
	w.judgeKeys(plan)
	if !w.late && plan.Suspended == "" {
		w.judge(was, plan)
		clear(w.vanished)
	}
	return plan
}

func clone(v *record.View) *record.View {
	c := *v
	c.Files, c.Units = maps.Clone(v.Files), maps.Clone(v.Units)
	c.Schedule, c.States = maps.Clone(v.Schedule), maps.Clone(v.States)
	c.Machines, c.Overrides = maps.Clone(v.Machines), maps.Clone(v.Overrides)
	return &c
}

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

// rest lets everything come to rest and judges what has become of it.
func (w *world) rest() {
	for range 200 {
		plan := w.plan(0)
		if !w.agents() && len(plan.Decisions) == 0 && len(w.pending) == 0 {
			if plan.Wake.IsZero() {
				w.judgeRest()
				return
			}
			w.plan(plan.Wake.Sub(w.now))
		}
	}
	w.t.Fatalf("the cluster never comes to rest")
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
			if spec := is.Schedule[record.Key{Machine: m, Unit: name}]; spec != (record.Spec{Target: u.Target, File: u.File, Restart: u.Restart}) {
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

// rounds multiplies rapid's number of checks, which is made for slower code.
const rounds = 20

// TestRandom: whatever happens, every plan keeps the promises, and once
// nothing happens any more everything is where it belongs.
func TestRandom(t *testing.T) {
	for range rounds {
		rapid.Check(t, func(t *rapid.T) {
			w := newWorld(t, false)
			t.Repeat(w.actions())
			w.rest()
		})
	}
}

// TestRandomLate is the same with a planner that hears of things late, its own
// writes included.
func TestRandomLate(t *testing.T) {
	for range rounds {
		rapid.Check(t, func(t *rapid.T) {
			w := newWorld(t, true)
			t.Repeat(w.actions())
			w.late = false
			w.rest()
		})
	}
}

func shuffled(changes []record.Change, seed uint64) []record.Change {
	out := slices.Clone(changes)
	rand.New(rand.NewPCG(seed, seed)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}
