package simulation

import (
	"encoding/json"
	"strings"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/etcdmodel"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// Where what the leader alone may write is stored, and what tells who it is.
const (
	scheduleKeys = registry.DefaultPrefix + "schedule/"
	stateKeys    = registry.DefaultPrefix + "states/"
	machineKeys  = registry.DefaultPrefix + "machines/"
	leaderKeys   = registry.DefaultPrefix + "leader/"
)

// reign is what the judge knows of the lead, as etcd has it.
type reign struct {
	writer *process                 // whose request etcd carries out; nil: nobody's
	leader string                   // the oldest candidate's key
	since  time.Time                // that it is
	absent map[machine.ID]time.Time // machines without a presence key, and since when
}

// by has a request be known as a process's while etcd carries it out.
func (w *world) by(p *process, do func()) func() {
	return func() {
		w.store.Pass(w.now)
		w.judge.writer = p
		do()
		w.judge.writer = nil
	}
}

// written judges an event at the moment at which it is committed.
func (j *judge) written(e etcdmodel.Event) {
	key := string(e.Kv.Key)
	switch {
	case strings.HasPrefix(key, leaderKeys):
		j.crowned()
	case strings.HasPrefix(key, machineKeys):
		id := machine.ID(key[len(machineKeys):])
		if delete(j.absent, id); e.Deleted {
			j.absent[id] = j.w.now
		}
	case strings.HasPrefix(key, scheduleKeys) && j.writer != nil:
		on, name, _ := strings.Cut(key[len(scheduleKeys):], "/")
		j.decided(machine.ID(on), unit.Name(name), e)
	}
}

// crowned finds out who leads: the oldest candidate.
func (j *judge) crowned() {
	oldest, rev := "", int64(0)
	for _, key := range j.w.store.Keys(leaderKeys) {
		if kv := j.w.store.Get(key); oldest == "" || kv.CreateRevision < rev {
			oldest, rev = key, kv.CreateRevision
		}
	}
	if oldest != j.leader {
		j.leader, j.since = oldest, j.w.now
	}
}

// decided judges a write to the schedule. Only the leader may make it; and what a
// leader found missing when it began has agent_ttl to come back.
func (j *judge) decided(on machine.ID, name unit.Name, e etcdmodel.Event) {
	j.judges(onlyLeader)
	if j.leader == "" || string(j.w.store.Get(j.leader).Value) != string(h(j.writer)) {
		j.fail(onlyLeader, name, on, "%s wrote its schedule, and doesn't lead", j.writer.name)
		return
	}
	lost, absent := j.absent[on]
	if !absent || lost.After(j.since) || !j.steady(name) || e.Deleted || e.Prev == nil || wanted(e.Kv.Value) || !wanted(e.Prev.Value) || j.placedBeside(on, name) {
		return
	}
	j.judges(missingHaveTime)
	if waited := j.w.now.Sub(j.since); waited < (hostClock{j.w, j.writer.link}).lasts(j.w.ttl) {
		j.fail(missingHaveTime, name, on, "its machine is given up %s after the leader began", waited)
	}
}

func wanted(value []byte) bool {
	var spec record.Spec
	return json.Unmarshal(value, &spec) == nil && spec.Target.Wanted()
}

// placedBeside reports whether a unit has a place on another machine that is there, or
// is known to be there: its key may have been deleted by hand.
func (j *judge) placedBeside(on machine.ID, name unit.Name) bool {
	for _, room := range []string{scheduleKeys, stateKeys} {
		for _, key := range j.w.store.Keys(room) {
			id, other, _ := strings.Cut(key[len(room):], "/")
			_, absent := j.absent[machine.ID(id)]
			if unit.Name(other) == name && machine.ID(id) != on && !absent && wanted(j.w.store.Get(key).Value) {
				return true
			}
		}
	}
	return false
}
