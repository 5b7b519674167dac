package planner

import (
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
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
	// late: the planner hears of things with a delay; wasLate: at some time.
	late, wasLate bool
	// snapshot: what the twin hears first may come in any order.
	snapshot bool
	// texts are the unit files that were ever submitted.
	texts  map[unit.Hash]string
	byHand bool // somebody takes keys away by hand
	// planned is what was stored when the planner had planned last.
	planned oracle
	// vanished are the placements that somebody took away by hand since the
	// planner last planned.
	vanished map[record.Key]record.Spec
}

// newTwin gives a planner that keeps even few machines as sets.
func newTwin() *Planner {
	p := New(Config{Grace: grace})
	p.classes.ring.few = 0
	return p
}

func newWorld(t *rapid.T, late bool) *world {
	w := &world{sim: newSim(), t: t, twin: newTwin(), late: late, wasLate: late, planned: oracle{record.NewView()}, texts: map[unit.Hash]string{}, vanished: map[record.Key]record.Spec{}}
	w.begin = w.judgeBegin
	w.byHand = rapid.Bool().Draw(t, "by hand")
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
		w.hand(w.drawUnit(), rapid.SampledFrom([]unit.Target{"launched", "launched", "loaded", "inactive"}).Draw(t, "target"),
			rapid.SampledFrom(someTexts).Draw(t, "text"))
	}
	edit := func(change func(*record.Unit)) func(*rapid.T) {
		return func(*rapid.T) { w.edit(w.drawUnit(), change) }
	}
	agents := func(*rapid.T) { w.agents() }
	tamper := func(do func(*rapid.T)) func(*rapid.T) {
		if !w.byHand {
			return func(*rapid.T) {}
		}
		return do
	}
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
		"restart": edit(func(u *record.Unit) { *u = u.Restarted() }),
		"restart on": func(t *rapid.T) {
			name, on := w.drawUnit(), w.drawHost()
			w.edit(name, func(u *record.Unit) { *u = u.RestartedOn(on, w.knows(name)) })
		},
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
		"vanish": tamper(func(t *rapid.T) {
			if k, ok := anyKey(t, w.view.Schedule); ok {
				w.vanished[k] = w.view.Schedule[k]
				w.placement(k, nil)
			}
		}),
		"vanish unit": tamper(func(*rapid.T) {
			// Not a destroyed one: that would be a release.
			if name := w.drawUnit(); w.view.Units[name].Target != unit.TargetDestroyed {
				w.unit(name, nil)
			}
		}),
		"vanish file": tamper(func(*rapid.T) {
			if u, ok := w.view.Units[w.drawUnit()]; ok {
				w.file(u.File, nil)
			}
		}),
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
			w.twin = newTwin()
		},
	}
}

// hand submits a unit with these [X-Fleet] options.
func (w *world) hand(name unit.Name, target unit.Target, options string) {
	text := "[X-Fleet]\n" + options + "\n"
	w.texts[unit.HashOf([]byte(text))] = text
	w.submit(name, target, text)
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
	w.planned = oracle{clone(w.view)}
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
	if !w.late && w.view.Cluster != nil {
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

func shuffled(changes []record.Change, seed uint64) []record.Change {
	out := slices.Clone(changes)
	rand.New(rand.NewPCG(seed, seed)).Shuffle(len(out), func(i, j int) { out[i], out[j] = out[j], out[i] })
	return out
}
