package simulation

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/prometheus/client_golang/prometheus"
)

// picture is a world in which nothing happens but what a test does: hosts are off,
// and what is stored and what runs is put there by hand.
type picture struct {
	*world
	t     *testing.T
	files map[unit.Name]unit.Hash
}

// wellPicture is a cluster of three machines at rest, of which each invariant holds.
func wellPicture(t *testing.T) *picture {
	p := &picture{newWorld(1, plan{machines: 3, ttl: 12 * time.Second, maxOps: 512, batch: 512}, false), t, map[unit.Name]unit.Hash{}}
	p.judge.begin()
	for i := range p.hosts {
		p.present(i, "eu")
	}
	for _, u := range []struct {
		name    unit.Name
		options string
		on      int
	}{
		{"steady0.service", "", 0}, {"plain0.service", "", 0}, {"side0.service", "MachineOf=plain0.service", 0},
		{"db0.service", "Conflicts=db*.service", 1}, {"db1.service", "Conflicts=db*.service", 2},
		{"web@0.service", "MachineMetadata=region=eu", 1}, {"iso0.service", "Isolation=stop", 2},
	} {
		text := p.text(u.options, Behaviour{}, 0)
		p.files[u.name] = unit.HashOf(text.raw)
		p.store.Put(registry.DefaultPrefix+"files/"+string(p.files[u.name]), string(text.raw))
		done := p.judge.submits(u.name)
		p.wants(u.name, unit.TargetLaunched)
		done(true)
		p.told(u.name, u.on, unit.TargetLaunched)
		p.says(u.name, u.on, "active")
		p.begins(u.name, u.on)
	}
	p.pass(time.Second)
	return p
}

func (p *picture) put(key string, value any) {
	b, err := json.Marshal(value)
	if err != nil {
		p.t.Fatal(err)
	}
	p.store.Put(registry.DefaultPrefix+key, string(b))
}

func (p *picture) id(i int) machine.ID { return p.hosts[i].Machine().ID }

func (p *picture) at(name unit.Name, on int) string { return string(p.id(on)) + "/" + string(name) }

func (p *picture) present(i int, region string) {
	p.put("machines/"+string(p.id(i)), machine.Machine{ID: p.id(i), Metadata: map[string]string{"region": region}})
}

func (p *picture) lose(i int) { p.store.Delete(machineKeys + string(p.id(i))) }

func (p *picture) wants(name unit.Name, target unit.Target) {
	p.put("units/"+string(name), record.Unit{File: p.files[name], Target: target})
}

func (p *picture) spec(name unit.Name, target unit.Target) record.Spec {
	if !target.Wanted() {
		return record.Spec{Target: target}
	}
	return record.Spec{Target: target, File: p.files[name]}
}

func (p *picture) told(name unit.Name, on int, target unit.Target) {
	p.put("schedule/"+p.at(name, on), p.spec(name, target))
}

func (p *picture) says(name unit.Name, on int, active string) {
	p.put("states/"+p.at(name, on), record.State{Spec: p.spec(name, unit.TargetLaunched), SystemdState: unit.SystemdState{Load: "loaded", Active: active, Sub: "running"}})
}

func (p *picture) instance(name unit.Name, on int) Instance {
	return Instance{Machine: p.id(on), Unit: name, Invocation: "i", File: p.files[name], Since: p.now}
}

func (p *picture) begins(name unit.Name, on int) { p.judge.Began(p.instance(name, on)) }

func (p *picture) ends(name unit.Name, on int) { p.judge.Ended(p.instance(name, on), p.now) }

func (p *picture) leads(i int) { p.store.Put(leaderKeys+"1", string(p.id(i))) }

// by has a host's fleetd do something.
func (p *picture) by(i int, do func()) {
	n := p.hosts[i]
	p.world.by(p.process("fleetd", n.Host, n.link, p.log("fleetd")), do)()
}

func (p *picture) pass(d time.Duration) { p.run(p.now.Add(d)) }

// Each invariant is judged: what breaks it is called by its name, and what is like it
// and allowed is not.
func TestJudge(t *testing.T) {
	rests := func(p *picture) { p.judge.rest() }
	asWanted := func(p *picture) { p.judge.places(); p.judge.asWanted() } // a planner would have changed it
	goesOn := func(p *picture) { p.pass(2 * time.Second) }
	covered := map[invariant]bool{}
	for _, c := range []struct {
		name   string
		breaks func(p *picture)
		judge  func(p *picture)
		want   invariant
	}{
		{"all is well", func(*picture) {}, func(p *picture) { goesOn(p); rests(p); p.judge.idle(func() {}) }, ""},

		{"a second instance", func(p *picture) { p.begins("plain0.service", 1) }, goesOn, neverTwo},
		{"a second instance, of a lost machine's", func(p *picture) { p.lose(0); p.begins("plain0.service", 1) }, goesOn, ""},
		{"a second instance, of a global unit", func(p *picture) { p.begins("global0.service", 0); p.begins("global0.service", 1) }, goesOn, ""},
		{"a third instance, beside a lost machine's", func(p *picture) { p.lose(0); p.begins("plain0.service", 1); p.begins("plain0.service", 2) }, goesOn, neverTwo},
		{"two places", func(p *picture) {
			p.told("db0.service", 0, unit.TargetLoaded)
			p.put("states/"+p.at("db0.service", 0), record.State{Spec: p.spec("db0.service", unit.TargetLoaded)})
		}, asWanted, neverTwo},
		{"an isolated unit's second instance, of a lost machine's", func(p *picture) { p.lose(2); p.begins("iso0.service", 1) }, goesOn, neverTwoIsolated},
		{"the same while systemd can't be reached there", func(p *picture) { p.hosts[2].cripple(time.Second); p.lose(2); p.begins("iso0.service", 1) }, goesOn, ""},

		{"a stored unit vanishes", func(p *picture) { p.store.Delete(registry.DefaultPrefix + "units/plain0.service") }, goesOn, noneLost},
		{"a stored unit is to be destroyed", func(p *picture) { p.wants("plain0.service", unit.TargetDestroyed) }, goesOn, noneLost},
		{"the same when an operator has said so", func(p *picture) {
			p.judge.destroys("plain0.service")
			p.wants("plain0.service", unit.TargetDestroyed)
		}, goesOn, ""},
		{"what is launched doesn't run", func(p *picture) { p.ends("plain0.service", 0) }, rests, noneLost},

		{"a unit is stopped without a cause", func(p *picture) { p.ends("steady0.service", 0) }, goesOn, noMoveWithout},
		{"a unit is stopped on a lost machine", func(p *picture) { p.lose(0); p.ends("steady0.service", 0) }, goesOn, ""},
		{"a unit is taken away without a cause", func(p *picture) { p.told("steady0.service", 0, unit.TargetNone) }, goesOn, noMoveWithout},
		{"a unit is taken away from a lost machine", func(p *picture) { p.lose(0); p.told("steady0.service", 0, unit.TargetNone) }, goesOn, ""},

		{"a unit is placed nowhere", func(p *picture) {
			p.ends("web@0.service", 1)
			p.store.Delete(scheduleKeys+p.at("web@0.service", 1), stateKeys+p.at("web@0.service", 1))
		}, rests, converges},
		{"a machine is missing", func(p *picture) { p.lose(2) }, asWanted, converges},
		{"something runs that nobody wants", func(p *picture) { p.begins("stray.service", 1) }, asWanted, converges},
		{"nothing is said of a unit", func(p *picture) { p.store.Delete(stateKeys + p.at("plain0.service", 0)) }, asWanted, converges},
		{"an untrue state", func(p *picture) { p.says("plain0.service", 0, "inactive") }, asWanted, truthTold},

		{"metadata that doesn't match", func(p *picture) { p.present(1, "us") }, asWanted, metadataHolds},
		{"the same of a machine without rules", func(p *picture) { p.present(0, "us") }, asWanted, ""},
		{"apart from what it belongs to", func(p *picture) { p.moves("side0.service", 0, 1) }, asWanted, machineOfHolds},
		{"beside what it conflicts with", func(p *picture) { p.moves("db1.service", 2, 1) }, asWanted, conflictsHold},

		{"who doesn't lead schedules", func(p *picture) { p.leads(1); p.by(0, func() { p.told("new.service", 1, unit.TargetLaunched) }) }, goesOn, onlyLeader},
		{"nobody leads, and somebody schedules", func(p *picture) { p.by(0, func() { p.told("new.service", 1, unit.TargetLaunched) }) }, goesOn, onlyLeader},
		{"the leader schedules", func(p *picture) { p.leads(0); p.by(0, func() { p.told("new.service", 1, unit.TargetLaunched) }) }, goesOn, ""},
		{"a new leader gives up who is missing", func(p *picture) { p.givesUp(time.Second) }, goesOn, missingHaveTime},
		{"a new leader gives up who is missing for long", func(p *picture) { p.givesUp(p.ttl + time.Second) }, goesOn, ""},

		{"a write", func(*picture) {}, func(p *picture) { p.judge.idle(func() { p.says("plain0.service", 0, "active") }) }, idleWritesNothing},
		{"a repair", func(p *picture) {
			metrics := prometheus.NewRegistry()
			repairs := prometheus.NewCounter(prometheus.CounterOpts{Name: "fleet_engine_safety_net_repairs_total"})
			metrics.MustRegister(repairs)
			repairs.Inc()
			p.engines = append(p.engines, metrics)
		}, func(p *picture) { p.judge.idle(func() {}) }, netFindsNothing},
	} {
		covered[c.want] = true
		t.Run(c.name, func(t *testing.T) {
			p := wellPicture(t)
			if p.judge.wrong != nil {
				t.Fatal("before:", p.judge.wrong)
			}
			c.breaks(p)
			p.judge.look()
			c.judge(p)
			switch v := p.judge.wrong; {
			case v == nil && c.want != "":
				t.Errorf("nothing is wrong, and it should be that %s", c.want)
			case v != nil && v.invariant != c.want:
				t.Errorf("want %q: %v", c.want, v)
			}
		})
	}
	for _, i := range invariants {
		if !covered[i] {
			t.Errorf("nothing here breaks: %s", i)
		}
	}
}

// moves has a unit be on another machine, in everybody's eyes.
func (p *picture) moves(name unit.Name, from, to int) {
	p.ends(name, from)
	p.store.Delete(scheduleKeys+p.at(name, from), stateKeys+p.at(name, from))
	p.told(name, to, unit.TargetLaunched)
	p.says(name, to, "active")
	p.begins(name, to)
}

// givesUp has a leader that finds a machine missing take its unit away after that time.
func (p *picture) givesUp(after time.Duration) {
	p.lose(0)
	p.pass(time.Second)
	p.leads(1)
	p.pass(after)
	p.by(1, func() { p.told("steady0.service", 0, unit.TargetNone) })
}
