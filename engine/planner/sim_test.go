package planner

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// sim is a cluster without etcd: the stored state, agents that do what they
// are told, and a planner that leads.
type sim struct {
	view    *record.View
	pending [][]record.Change // not told to the planner yet, a transaction each
	inTxn   bool
	planner *Planner
	now     time.Time
	// running is what the hosts' systemds really have, absent hosts included.
	running map[record.Key]record.Spec
	hosts   map[machine.ID]machine.Machine // as they present themselves when they are there
	// begin is called before a host loads or starts a unit that it didn't have.
	begin func(record.Key, record.Spec)
}

const grace = 30 * time.Second

func newSim() *sim {
	s := &sim{
		view:    record.NewView(),
		planner: New(Config{Grace: grace}),
		now:     time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC),
		running: map[record.Key]record.Spec{},
		hosts:   map[machine.ID]machine.Machine{},
		begin:   func(record.Key, record.Spec) {},
	}
	s.cluster(true)
	return s
}

// id makes a machine's ID out of a short name, readable in its short form.
func id(name string) machine.ID {
	return machine.ID(name + strings.Repeat("0", max(0, 32-len(name))))
}

// short undoes id.
func short(id machine.ID) string { return strings.TrimRight(string(id), "0") }

func (s *sim) do(c record.Change) {
	s.view.Apply(c)
	if s.inTxn {
		last := len(s.pending) - 1
		s.pending[last] = append(s.pending[last], c)
		return
	}
	s.pending = append(s.pending, []record.Change{c})
}

// txn makes all that changes in do one transaction: watchers see it at once.
func (s *sim) txn(do func()) {
	s.pending = append(s.pending, nil)
	s.inTxn = true
	do()
	s.inTxn = false
}

func (s *sim) cluster(there bool) {
	c := record.ClusterChange{Old: s.view.Cluster}
	if there {
		c.New = &record.Cluster{ID: "test", Schema: "1.0.0"}
	}
	s.do(c)
}

func (s *sim) machine(m machine.Machine) {
	s.hosts[m.ID] = m
	c := record.MachineChange{ID: m.ID, New: &m}
	if old, ok := s.view.Machines[m.ID]; ok {
		c.Old = &old
	}
	s.do(c)
}

// lose lets a machine's lease run out. dead: the host is gone with all that ran.
func (s *sim) lose(id machine.ID, dead bool) {
	old, ok := s.view.Machines[id]
	if !ok {
		return
	}
	for _, k := range sortedKeys(s.view.States) {
		if k.Machine == id {
			s.state(k, nil)
		}
	}
	s.do(record.MachineChange{ID: id, Old: &old})
	if dead {
		maps.DeleteFunc(s.running, func(k record.Key, _ record.Spec) bool { return k.Machine == id })
	}
}

// comeBack has a lost machine join again and report what it still runs.
func (s *sim) comeBack(id machine.ID) {
	s.machine(s.hosts[id])
	for _, k := range sortedKeys(s.running) {
		if k.Machine == id {
			s.state(k, &record.State{Spec: s.running[k]})
		}
	}
}

func (s *sim) overrides(id machine.ID, o *record.Overrides) {
	c := record.OverridesChange{ID: id, New: o}
	if old, ok := s.view.Overrides[id]; ok {
		c.Old = &old
	}
	s.do(c)
}

func (s *sim) submit(name unit.Name, target unit.Target, text string) {
	hash := unit.HashOf([]byte(text))
	s.txn(func() {
		s.do(record.FileChange{Hash: hash, Text: []byte(text)})
		s.unit(name, &record.Unit{File: hash, Target: target})
	})
}

func (s *sim) unit(name unit.Name, u *record.Unit) {
	c := record.UnitChange{Name: name, New: u}
	if old, ok := s.view.Units[name]; ok {
		c.Old = &old
	} else if u == nil {
		return
	}
	s.do(c)
}

// edit changes a unit's record as the API does; nothing if there is none.
func (s *sim) edit(name unit.Name, change func(*record.Unit)) {
	u, ok := s.view.Units[name]
	if !ok || u.Target == unit.TargetDestroyed {
		return
	}
	change(&u)
	s.unit(name, &u)
}

func (s *sim) placement(k record.Key, spec *record.Spec) {
	c := record.PlacementChange{Key: k, New: spec}
	if old, ok := s.view.Schedule[k]; ok {
		c.Old = &old
	} else if spec == nil {
		return
	}
	s.do(c)
}

func (s *sim) state(k record.Key, st *record.State) {
	c := record.StateChange{Key: k, New: st}
	if old, ok := s.view.States[k]; ok {
		c.Old = &old
	} else if st == nil {
		return
	}
	s.do(c)
}

func (s *sim) file(h unit.Hash, text []byte) { s.do(record.FileChange{Hash: h, Text: text}) }

// agent carries out one instruction, if the host is there to do it, and
// reports. It gives whether there was anything to do.
func (s *sim) agent(k record.Key) bool {
	spec, told := s.view.Schedule[k]
	st, says := s.view.States[k]
	if _, live := s.view.Machines[k.Machine]; !live || !told || says && st.Spec == spec {
		return false
	}
	if spec.Target == unit.TargetNone {
		delete(s.running, k)
	} else {
		if _, has := s.running[k]; !has {
			s.begin(k, spec)
		}
		s.running[k] = spec
	}
	s.state(k, &record.State{Spec: spec})
	return true
}

// agents has all agents carry out all instructions.
func (s *sim) agents() (busy bool) {
	for _, k := range sortedKeys(s.view.Schedule) {
		busy = s.agent(k) || busy
	}
	return busy
}

// step plans, and commits the decisions.
func (s *sim) step(after time.Duration) Plan { return s.stepWith(after, len(s.pending)) }

// stepWith plans when only the first n transactions have been heard of.
func (s *sim) stepWith(after time.Duration, n int) Plan {
	s.now = s.now.Add(after)
	changes := slices.Concat(s.pending[:n]...)
	s.pending = slices.Clone(s.pending[n:])
	plan := s.planner.Step(s.now, changes)
	s.commit(plan)
	return plan
}

func (s *sim) commit(plan Plan) {
	for _, d := range plan.Decisions {
		switch d := d.(type) {
		case Place:
			s.placement(d.Key, &d.Spec)
		case Withdraw:
			s.placement(d.Key, &record.Spec{Target: unit.TargetNone})
		case Forget:
			s.txn(func() {
				s.placement(d.Key, nil)
				s.state(d.Key, nil)
			})
		case Release:
			if s.view.Units[d.Unit].Target == unit.TargetDestroyed {
				s.unit(d.Unit, nil)
			}
		case Restore:
			if _, ok := s.view.Units[d.Unit]; !ok {
				s.unit(d.Unit, &d.Record)
			}
		case CollectFile:
			if !s.resubmitted(d.Hash) {
				s.file(d.Hash, nil)
			}
		case RestoreFile:
			s.file(d.Hash, d.Text)
		default:
			panic(fmt.Sprintf("unknown decision %T", d))
		}
	}
}

// resubmitted reports whether a file was written since the planner's revision.
func (s *sim) resubmitted(h unit.Hash) bool {
	for _, c := range slices.Concat(s.pending...) {
		if f, ok := c.(record.FileChange); ok && f.Hash == h && f.Text != nil {
			return true
		}
	}
	return false
}

// newLeader throws the planner away, as a change of leaders does.
func (s *sim) newLeader() {
	s.planner = New(Config{Grace: grace})
	s.pending = [][]record.Change{s.view.Changes()}
}

// settle lets planner and agents go on until nothing happens any more.
func (s *sim) settle() []Decision {
	var all []Decision
	for range 1000 {
		plan := s.step(0)
		all = append(all, plan.Decisions...)
		if !s.agents() && len(plan.Decisions) == 0 && len(s.pending) == 0 {
			return all
		}
	}
	panic("the cluster never comes to rest")
}

// placed gives where a unit is placed, live machines only unless all.
func (s *sim) placed(name unit.Name, all bool) []machine.ID {
	var ids []machine.ID
	for _, k := range sortedKeys(s.view.Schedule) {
		_, live := s.view.Machines[k.Machine]
		if k.Unit == name && s.view.Schedule[k].Target != unit.TargetNone && (all || live) {
			ids = append(ids, k.Machine)
		}
	}
	return ids
}

func sortedKeys[V any](m map[record.Key]V) []record.Key {
	return slices.SortedFunc(maps.Keys(m), func(a, b record.Key) int {
		if c := strings.Compare(string(a.Unit), string(b.Unit)); c != 0 {
			return c
		}
		return strings.Compare(string(a.Machine), string(b.Machine))
	})
}

// knows gives what reports whether a machine is told anything of a unit, or says
// anything.
func (s *sim) knows(name unit.Name) func(machine.ID) bool {
	return func(id machine.ID) bool {
		k := record.Key{Machine: id, Unit: name}
		_, told := s.view.Schedule[k]
		_, says := s.view.States[k]
		return told || says
	}
}
