package agent

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/sirupsen/logrus"
	"pgregory.net/rapid"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// sim is an agent's host and cluster under rapid's command: the real core, the
// real operations and records, a fake systemd, and a driver in the loop's place
// that can be killed at any call.
type sim struct {
	t   *rapid.T
	dir string
	sys *fakeSystemd
	now time.Time

	agent *Agent
	core  *core
	ends  []simEnd
	jobs  uint64

	schedule map[unit.Name]record.Spec
	texts    map[unit.Hash][]byte
	lost     map[unit.Hash]bool // not in etcd for now
	cluster  *record.Cluster
	states   map[unit.Name]record.State // as etcd has them

	crashAt int // calls to systemd until the agent is killed; negative: never
	failing bool
	quiet   bool // nothing may happen
}

type simEnd struct {
	verb verb
	name unit.Name
	job  uint64
	end  <-chan string
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
func (s *sim) fault(call string, _ bool) error {
	if s.crashAt == 0 {
		panic(killed{})
	}
	s.crashAt--
	if s.failing {
		return errors.New("systemd refuses: a fault")
	}
	return nil
}

// boot starts an agent on what the one before has left.
func (s *sim) boot() {
	log := logrus.New()
	log.SetLevel(logrus.PanicLevel)
	s.agent = New(Options{
		Registry: newFakeCluster(), Systemd: s.sys, Dir: s.dir, TTL: time.Minute, Log: logrus.NewEntry(log),
		Machine: func() machine.Machine { return machine.Machine{ID: "m", BootID: "b"} },
	})
	s.crashAt, s.failing, s.ends = -1, false, nil
	if err := s.agent.restore(context.Background()); err != nil {
		s.t.Fatal(err)
	}
	s.core = s.agent.core
	s.deliver()
	s.core.reported(maps.Clone(s.states))
	s.resync()
}

func (s *sim) resync() {
	states, err := s.sys.States(context.Background(), s.core.names())
	if err != nil {
		s.t.Fatal(err)
	}
	s.core.observe(states)
}

// deliver gives the agent a snapshot of the schedule.
func (s *sim) deliver() {
	changes := map[unit.Name]*record.Spec{}
	for name, spec := range s.schedule {
		changes[name] = &spec
	}
	s.core.follow(true, s.cluster, changes)
}

// mortal runs f; if the agent is killed in it, a new one starts.
func (s *sim) mortal(f func()) {
	defer func() {
		if r := recover(); r != nil {
			if _, ok := r.(killed); !ok {
				panic(r)
			}
			s.boot()
			s.settle()
		}
	}()
	f()
}

// settle lets the agent act until it has nothing left to do.
func (s *sim) settle() { s.mortal(s.settled) }

func (s *sim) settled() {
	for range 100 {
		s.core.observe(s.sys.Take().States)
		out := s.core.settle(s.now)
		if out.cluster != nil {
			if err := s.agent.records.SaveCluster(out.cluster); err != nil {
				s.t.Fatal(err)
			}
		}
		for name, state := range out.states {
			s.publish(name, state)
		}
		if len(out.fetch) > 0 {
			got := map[unit.Hash][]byte{}
			for _, hash := range out.fetch {
				if !s.lost[hash] {
					got[hash] = s.texts[hash]
				}
			}
			s.core.fetched(s.now, out.fetch, got, nil)
		}
		s.act(out.actions)
		if len(out.actions) == 0 && len(out.fetch) == 0 && len(s.core.dirty) == 0 {
			return
		}
	}
	s.t.Fatal("the agent doesn't come to rest")
}

func (s *sim) act(actions []action) {
	var installs []action
	for _, a := range actions {
		s.check(a)
		if a.verb == doInstall {
			installs = append(installs, a)
			continue
		}
		s.finish(s.agent.do(context.Background(), a))
	}
	if len(installs) > 0 {
		for _, r := range s.agent.install(context.Background(), installs) {
			s.finish(r)
		}
	}
}

func (s *sim) finish(r result) {
	if r.jobEnd != nil {
		s.jobs++
		r.job = s.jobs
		s.ends = append(s.ends, simEnd{r.action.verb, r.action.name, r.job, r.jobEnd})
	}
	s.core.finished(s.now, r)
}

// check holds an action against the instructions.
func (s *sim) check(a action) {
	spec, scheduled := s.schedule[a.name]
	h := s.core.units[a.name]
	begun := h.rec != nil && h.rec.Intent != nil && h.rec.Intent.Target == unit.TargetNone
	suspended := s.cluster == nil || s.cluster.ID != "c"
	if s.quiet {
		s.t.Fatalf("%s %s, though nothing has changed", a.verb, a.name)
	}
	isolating := h.rec != nil && h.rec.StopsCutOff && s.core.reach != reachable && (a.verb == doStop || a.verb == doKill)
	switch {
	case isolating:
	case suspended:
		s.t.Fatalf("%s %s without a cluster", a.verb, a.name)
	case !scheduled && !(begun && (a.verb == doStop || a.verb == doRemove)):
		s.t.Fatalf("%s %s, which isn't scheduled", a.verb, a.name)
	case a.verb == doStart || a.verb == doRestart:
		if spec.Target != unit.TargetLaunched {
			s.t.Fatalf("%s %s, which is scheduled as %s", a.verb, a.name, spec.Target)
		}
	case a.verb == doStop:
		if spec.Target == unit.TargetLaunched {
			s.t.Fatalf("stop %s, which is to run", a.name)
		}
	case a.verb == doRemove:
		if scheduled && spec.Target != unit.TargetNone {
			s.t.Fatalf("remove %s, which is scheduled as %s", a.name, spec.Target)
		}
		if u := s.sys.get(a.name); u.active != "inactive" && u.active != "failed" {
			s.t.Fatalf("remove %s while it is %s", a.name, u.active)
		}
	}
}

func (s *sim) publish(name unit.Name, state *record.State) {
	if state == nil {
		delete(s.states, name)
		return
	}
	if old, ok := s.states[name]; ok && old == *state {
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
func (s *sim) jobsEnd() { s.mortal(s.jobsEnded) }

func (s *sim) jobsEnded() {
	for _, name := range slices.Sorted(maps.Keys(s.sys.units)) {
		s.sys.finish(name)
	}
	s.core.observe(s.sys.Take().States)
	ends := s.ends
	s.ends = nil
	for _, e := range ends {
		select {
		case r := <-e.end:
			if e.verb == doStop {
				states, _ := s.sys.States(context.Background(), []unit.Name{e.name})
				s.core.observe(states)
			}
			s.core.ended(s.now, e.name, e.job, r)
		default:
			s.ends = append(s.ends, e)
		}
	}
}

// engine takes note of acknowledgements, as the real one does.
func (s *sim) engine() {
	for _, name := range slices.Sorted(maps.Keys(s.states)) {
		state := s.states[name]
		if spec, ok := s.schedule[name]; ok && spec.Target == unit.TargetNone && state.Target == unit.TargetNone {
			delete(s.schedule, name)
			delete(s.states, name)
			s.core.follow(false, s.cluster, map[unit.Name]*record.Spec{name: nil})
		}
	}
}

// calm removes all faults and lets everything come to rest.
func (s *sim) calm() {
	s.failing, s.crashAt = false, -1
	clear(s.lost)
	s.cluster = &record.Cluster{ID: "c", Schema: "1.0.0"}
	s.deliver()
	s.core.connect(reachable)
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
