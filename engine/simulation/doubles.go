package simulation

import (
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// doubles looks for a second instance of a unit.
//
// A machine that was lost, because its lease ended, may go on running what it ran
// with Isolation=run: that is what cut off means. It has its lease back first, and
// then settleTime to be told and to stop it. A unit with Isolation=stop must be
// down before, whatever became of fleetd.
func (j *judge) doubles(name unit.Name) {
	on := j.running[name]
	if len(on) < 2 || j.global(name) {
		return
	}
	var known []machine.ID
	for _, id := range slices.Sorted(maps.Keys(on)) {
		lost := j.strange[id] != nil
		switch {
		case j.untraced[record.Key{Machine: id, Unit: name}]: // nobody can know
		case !lost, j.isolated(name) && !j.powerless(id):
			known = append(known, id)
		default:
			j.w.count("doubled on a lost machine")
		}
	}
	switch {
	case len(known) < 2:
	case j.isolated(name):
		j.fail(neverTwoIsolated, name, known[0], "runs on %v at once", known)
	default:
		j.fail(neverTwo, name, known[0], "runs on %v at once, none of which is lost", known)
	}
}

// moved counts what could be a second instance: a unit that begins on another machine
// than it ran on; one with Isolation=stop, while that is lost.
func (j *judge) moved(i Instance) {
	was, ran := j.ran[i.Unit]
	j.ran[i.Unit] = i.Machine
	switch {
	case !ran, was == i.Machine, j.global(i.Unit):
	case !j.isolated(i.Unit):
		j.judges(neverTwo)
	case j.strange[was] != nil:
		j.judges(neverTwoIsolated)
	}
}

func (j *judge) global(name unit.Name) bool { return strings.HasPrefix(string(name), "global") }

// isolated reports whether a unit must never run twice, cut off or not.
func (j *judge) isolated(name unit.Name) bool {
	return strings.HasPrefix(string(name), "alone") || strings.HasPrefix(string(name), "iso")
}

// powerless reports whether nothing on a lost machine could stop a unit in time: the
// machine is suspended, or just goes on; or nobody on it could reach systemd while
// its lease ran out; or nobody there could know.
func (j *judge) powerless(id machine.ID) bool {
	n := j.w.byID[id]
	if lease := j.strange[id].lease; lease != 0 && j.w.store.Lives(lease) {
		return true
	}
	waking := wakingTime(j.w.ttl)
	if !n.guardless.Before(n.asleep.Add(-j.w.ttl)) { // the dead man's switch counts on from where it was
		waking += j.w.ttl * 7 / 10
	}
	return j.w.now.Before(n.asleep.Add(waking)) || !j.strange[id].since.After(n.helpless.Add(j.w.ttl))
}

// wakingTime is what a host that was suspended has, once it goes on, to kill what
// others run by then: an agent looks so often.
func wakingTime(ttl time.Duration) time.Duration { return min(ttl/20, time.Second) + 2*lookEvery }

// absence is a machine's that was lost: the cluster may have given its units to
// others. It ends when the machine has been in touch for long enough to have
// carried out what it was told.
type absence struct {
	since   time.Time
	inTouch time.Time // since when, zero while it isn't
	// lease is there if somebody has deleted its key: while that lives, its agent has no
	// cause to stop anything.
	lease int64
}

// tear is the deletion of a machine's key.
type tear struct {
	lease int64
	at    time.Time
}

// settleTime is what a machine that is back has to take its units away: it may be
// told late, and a unit may take long to stop, or to start before it can be.
const settleTime = 45 * time.Second

// gone notes that a machine was lost to the cluster.
func (j *judge) gone(id machine.ID) {
	if j.strange[id] == nil {
		j.strange[id] = &absence{since: j.w.now}
	}
	j.strange[id].inTouch, j.strange[id].lease = time.Time{}, 0
}

// vanished notes that a key was deleted though its lease lives.
func (j *judge) vanished(key string, lease int64) {
	if id := machine.ID(key[strings.LastIndexByte(key, '/')+1:]); j.w.byID[id] != nil {
		j.torn[id] = tear{lease, j.w.now}
	}
}

// ended looks whether the leases of machines have ended whose keys were deleted.
func (j *judge) ended() {
	for id, t := range j.torn {
		if !j.w.store.Lives(t.lease) || j.w.now.Sub(t.at) >= j.w.ttl {
			delete(j.torn, id)
			j.gone(id)
			j.strange[id].lease = t.lease
		}
	}
}

// touches ends the absences of machines that have been back for long enough.
func (j *judge) touches() {
	for _, id := range slices.Sorted(maps.Keys(j.strange)) {
		a, n := j.strange[id], j.w.byID[id]
		_, there := j.view.Machines[id]
		switch {
		case !there || !n.wellConnected() || !j.led():
			a.inTouch = time.Time{}
		case a.inTouch.IsZero():
			a.inTouch = j.w.now
		case j.w.now.Sub(a.inTouch) > settleTime:
			delete(j.strange, id)
		}
	}
}
