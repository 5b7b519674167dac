package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"pgregory.net/rapid"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// sim is an agent's host and cluster under rapid's command: a Stepper on a fake
// systemd and a real disk, that can be killed at any call.
type sim struct {
	t     *rapid.T
	dir   string
	sys   *fakeSystemd
	now   time.Time
	reach reach

	stepper *Stepper
	core    *core

	schedule map[unit.Name]record.Spec
	texts    map[unit.Hash][]byte
	lost     map[unit.Hash]bool // not in etcd for now
	cluster  *record.Cluster
	states   map[unit.Name]record.State // as etcd has them

	crashAt int // calls to systemd until the agent is killed; negative: never
	failing bool
	quiet   bool // nothing may happen
}

type killed struct{}

func newSim(t *rapid.T, dir string) *sim {
	s := &sim{
		t: t, dir: dir, sys: newFakeSystemd(), now: time.Unix(1e9, 0), crashAt: -1,
		schedule: map[unit.Name]record.Spec{}, texts: map[unit.Hash][]byte{}, lost: map[unit.Hash]bool{},
		cluster: &record.Cluster{ID: "c", Schema: "1.0.0"}, states: map[unit.Name]record.State{},
	}
	s.sys.slow = true
	s.sys.fault = s.fault
	for i := range 3 {
		text := fmt.Appendf(nil, "[Service]\nExecStart=/bin/sleep %d\n", i)
		if i == 2 {
			text = append(text, "[X-Fleet]\nIsolation=stop\n[Install]\nWantedBy=multi-user.target\n"...)
		}
		s.texts[unit.HashOf(text)] = text
	}
	s.boot()
	return s
}

// fault kills the agent, or makes a call fail.
func (s *sim) fault(call string, after bool) error {
	if s.crashAt == 0 {
		panic(killed{})
	}
	s.crashAt--
	if s.failing {
		return errors.New("systemd refuses: a fault")
	}
	if !after {
		s.check(call)
	}
	return nil
}

// boot starts an agent on what the one before has left.
func (s *sim) boot() {
	log := logrus.New()
	log.SetLevel(logrus.PanicLevel)
	s.crashAt, s.failing = -1, false
	stepper, err := NewStepper(Options{
		Registry: simCluster{sim: s}, Presence: simCluster{sim: s}, Systemd: s.sys,
		Records: simRecords{store{dir: s.dir, boot: "b"}, s}, TTL: ttl, Log: logrus.NewEntry(log),
		Machine: func() machine.Machine { return machine.Machine{ID: me, BootID: "b"} },
		Uptime:  func() (time.Duration, error) { return s.now.Sub(time.Unix(0, 0)), nil },
	}, s.now, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	s.stepper, s.core = stepper, stepper.agent.core
	s.deliver()
}

const ttl = time.Minute

// deliver gives the agent a snapshot.
func (s *sim) deliver() {
	view := record.NewView()
	view.Cluster = s.cluster
	for name, spec := range s.schedule {
		view.Schedule[record.Key{Machine: me, Unit: name}] = spec
	}
	for name, state := range s.states {
		view.States[record.Key{Machine: me, Unit: name}] = state
	}
	s.stepper.Follow(s.stepper.Following(), registry.Update{Reset: true, View: view})
}

// tell tells the agent of a change.
func (s *sim) tell(c record.Change) {
	s.stepper.Follow(s.stepper.Following(), registry.Update{Changes: []record.Change{c}, View: &record.View{Cluster: s.cluster}})
}

// settle lets the agent act until nothing of it is left that takes but a moment;
// if it is killed meanwhile, a new one starts.
func (s *sim) settle() {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(killed); !ok {
				panic(r)
			}
			s.boot()
			s.settle()
		}
	}()
	following := s.stepper.Following()
	for end, n := s.now.Add(200*time.Millisecond), 0; ; n++ {
		wake := s.stepper.Step(s.now)
		if s.stepper.Following() != following {
			following = s.stepper.Following()
			s.deliver()
			continue
		}
		if wake.IsZero() || wake.After(end) {
			s.now = end
			return
		}
		s.now = wake
		if n > 1000 {
			s.t.Fatal("the agent doesn't come to rest")
		}
	}
}

// check holds what is done to a unit against the instructions.
func (s *sim) check(call string) {
	what, arg, _ := strings.Cut(call, " ")
	switch what {
	case "states", "invocation", "logs", "reload":
		return
	}
	if s.quiet {
		s.t.Fatalf("%s, though nothing has changed", call)
	}
	name := unit.Name(arg)
	h := s.core.units[name]
	if h == nil { // all of a batch
		if s.suspended() {
			s.t.Fatalf("%s without a cluster", call)
		}
		return
	}
	spec, scheduled := s.schedule[name]
	begun := h.rec != nil && h.rec.Intent != nil && h.rec.Intent.Target == unit.TargetNone
	isolating := h.rec != nil && h.rec.StopsCutOff && s.core.reach != reachable && (h.op == doStop || h.op == doKill)
	switch {
	case isolating:
	case s.suspended():
		s.t.Fatalf("%s without a cluster", call)
	case !scheduled && !(begun && (h.op == doStop || h.op == doRemove)):
		s.t.Fatalf("%s, which isn't scheduled", call)
	case h.op == doStart || h.op == doRestart:
		if spec.Target != unit.TargetLaunched {
			s.t.Fatalf("%s, which is scheduled as %s", call, spec.Target)
		}
	case h.op == doStop:
		if spec.Target == unit.TargetLaunched {
			s.t.Fatalf("%s, which is to run", call)
		}
	case h.op == doRemove:
		if scheduled && spec.Target != unit.TargetNone {
			s.t.Fatalf("%s, which is scheduled as %s", call, spec.Target)
		}
		if u := s.sys.get(name); u.active != "inactive" && u.active != "failed" {
			s.t.Fatalf("%s while it is %s", call, u.active)
		}
	}
}

func (s *sim) suspended() bool { return s.cluster == nil || s.cluster.ID != "c" }

// simRecords are on a disk. Nothing is written while all is quiet.
type simRecords struct {
	store
	sim *sim
}

func (r simRecords) Save(rec *Record) error {
	if r.sim.quiet {
		r.sim.t.Fatalf("%s: written down again: %+v", rec.Name, rec)
	}
	return r.store.Save(rec)
}

// simCluster is the agent's registry and presence.
type simCluster struct {
	Registry // the sim follows for it
	Presence
	sim *sim
}

func (c simCluster) CheckCluster(found *record.Cluster, known record.ClusterID) error {
	return new(registry.Registry).CheckCluster(found, known)
}

func (c simCluster) Files(_ context.Context, hashes []unit.Hash) (map[unit.Hash][]byte, error) {
	got := map[unit.Hash][]byte{}
	for _, hash := range hashes {
		if !c.sim.lost[hash] {
			got[hash] = c.sim.texts[hash]
		}
	}
	return got, nil
}

// RenewedAt is so long ago as the host is far from the cluster.
func (c simCluster) RenewedAt() time.Time {
	return c.sim.now.Add(-map[reach]time.Duration{cutOff: ttl * 3 / 4, nearlyDead: ttl}[c.sim.reach])
}

func (c simCluster) PutStates(_ context.Context, states map[unit.Name]*record.State) error {
	for name, state := range states {
		c.sim.publish(name, state)
	}
	return nil
}

func (s *sim) publish(name unit.Name, state *record.State) {
	if state == nil {
		delete(s.states, name)
		return
	}
	// An error may have gone and come back while states were held back.
	if old, ok := s.states[name]; ok && old == *state && state.Error == "" {
		s.t.Fatalf("%s: the same state published twice: %+v", name, old)
	}
	if state.Target == unit.TargetNone {
		if u := s.sys.get(name); u.active != "inactive" && u.active != "failed" && s.sys.files[name] != "" {
			s.t.Fatalf("%s: withdrawal acknowledged while it is %s", name, u.active)
		}
	}
	s.states[name] = *state
}

// jobsEnd lets all jobs end.
func (s *sim) jobsEnd() {
	for _, name := range slices.Sorted(maps.Keys(s.sys.units)) {
		s.sys.finish(name)
	}
	s.settle()
}

// engine takes note of acknowledgements, as the real one does.
func (s *sim) engine() {
	for _, name := range slices.Sorted(maps.Keys(s.states)) {
		state := s.states[name]
		if spec, ok := s.schedule[name]; ok && spec.Target == unit.TargetNone && state.Target == unit.TargetNone {
			delete(s.schedule, name)
			delete(s.states, name)
			s.tell(vanish(name))
		}
	}
}

// calm removes all faults and lets everything come to rest.
func (s *sim) calm() {
	s.failing, s.crashAt = false, -1
	clear(s.lost)
	s.cluster = &record.Cluster{ID: "c", Schema: "1.0.0"}
	s.reach = reachable
	s.deliver()
	for range 12 {
		s.settle()
		s.jobsEnd()
		s.engine()
		s.now = s.now.Add(2 * time.Minute)
	}
	s.settle()
}

// converged compares the host with the schedule.
func (s *sim) converged(vanished map[unit.Name]bool) {
	for name, spec := range s.schedule {
		h, u := s.core.units[name], s.sys.get(name)
		switch {
		case spec.Target == unit.TargetNone:
			s.t.Fatalf("%s is still to be withdrawn: %+v, %+v", name, h, h.rec)
		case h == nil || h.rec == nil || h.rec.Done != spec || h.rec.Intent != nil || h.rec.CutOff:
			s.t.Fatalf("%s: want %+v, record %+v, err %q", name, spec, h.rec, h.err)
		case s.sys.files[name] != string(s.texts[spec.File]):
			s.t.Fatalf("%s: has the wrong file", name)
		case spec.Target == unit.TargetLaunched && u.runs == 0:
			s.t.Fatalf("%s was never started", name)
		case spec.Target == unit.TargetLaunched && u.active == "active" && u.text != s.sys.files[name]:
			s.t.Fatalf("%s runs with an old text", name)
		case spec.Target == unit.TargetLoaded && u.active == "active":
			s.t.Fatalf("%s runs, though it is merely loaded", name)
		}
		want := record.State{Spec: spec, SystemdState: s.sys.state(name).SystemdState}
		if diff := cmp.Diff(want, s.states[name]); diff != "" {
			s.t.Fatalf("%s: published (-want +got)\n%s", name, diff)
		}
	}
	for name := range s.sys.files {
		if _, ok := s.schedule[name]; !ok && !vanished[name] {
			s.t.Fatalf("%s is left on the host", name)
		}
	}
}
