package simulation

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// violation is a promise that was broken.
type violation struct {
	invariant invariant
	unit      unit.Name
	on        machine.ID
	at        time.Time
	what      string
}

func (v *violation) Error() string {
	return fmt.Sprintf("%s, at %.3f s: %s: %s", v.invariant, v.at.Sub(epoch).Seconds(), v.unit, v.what)
}

// judge knows what is true, and holds it against the promises: what runs where it
// is told by the models of systemd, what is stored by the model of etcd.
type judge struct {
	w     *world
	wrong *violation
	quiet bool // what is wrong isn't said: it is but a look

	feed *registry.Feed
	view *record.View
	rev  int64

	running map[unit.Name]map[machine.ID]*life
	ran     map[unit.Name]machine.ID // where it began to run for the last time
	strange map[machine.ID]*absence
	// torn are the machines whose presence somebody deleted by hand, and the leases
	// that they live on: they are not lost before those end, or before a leader that
	// has begun since has waited agent_ttl for them in vain.
	torn map[machine.ID]tear
	// untold are the instructions that somebody deleted by hand and that no leader has
	// restored: if the unit is destroyed then, while its machine is away, nobody knows
	// any more that it is fleet's.
	untold map[record.Key]bool
	// untraced are those of which somebody deleted the state, too: what runs there is
	// known to nobody until its machine says it again, and may be placed elsewhere.
	untraced map[record.Key]bool
	asked    map[unit.Name]*wishes

	reign

	// What is wanted where, when the cluster is at rest.
	placed map[unit.Name][]machine.ID
	there  map[machine.ID][]unit.Name
}

// life is an instance.
type life struct{ Instance }

// wishes are what operators asked for of a unit.
type wishes struct {
	acked    bool // it was submitted, and that was confirmed
	destroys int  // attempts since
	lately   time.Time
}

func newJudge(w *world) *judge {
	return &judge{w: w, running: map[unit.Name]map[machine.ID]*life{}, ran: map[unit.Name]machine.ID{}, strange: map[machine.ID]*absence{}, torn: map[machine.ID]tear{}, untold: map[record.Key]bool{}, untraced: map[record.Key]bool{}, asked: map[unit.Name]*wishes{}, reign: reign{absent: map[machine.ID]time.Time{}}}
}

// begin has the judge look at the store from now on.
func (j *judge) begin() {
	j.feed = j.w.observer()
	u, err := j.feed.Snapshot(j.w.direct())
	if err != nil {
		panic(err)
	}
	j.view, j.rev = u.View, u.View.Revision
	j.tick()
}

// tick judges once a second what takes time to be wrong.
func (j *judge) tick() {
	j.w.after(time.Second, func() {
		j.ended()
		j.touches()
		for _, name := range slices.Sorted(maps.Keys(j.running)) {
			j.doubles(name)
		}
		j.lost()
		j.tick()
	})
}

func (j *judge) fail(invariant invariant, name unit.Name, on machine.ID, format string, args ...any) {
	if j.wrong == nil {
		j.wrong = &violation{invariant, name, on, j.w.now, fmt.Sprintf(format, args...)}
		if !j.quiet {
			j.w.note(name, on, "WRONG: %s", j.wrong)
		}
	}
}

// look takes over what was stored since the last look.
func (j *judge) look() {
	if j.feed == nil || j.w.store.Revision() == j.rev {
		return
	}
	upTo := j.w.store.Revision()
	u, err := j.feed.Take(j.w.store.Told(j.rev, j.feed.Wants))
	if err != nil { // compacted meanwhile
		if u, err = j.feed.Snapshot(j.w.direct()); err != nil {
			panic(err)
		}
		j.view = u.View
		for id := range j.w.byID {
			if !j.present(id) {
				j.gone(id)
			}
			delete(j.torn, id)
		}
	}
	j.rev = upTo
	for _, c := range u.Changes {
		j.change(c)
	}
}

func (j *judge) change(c record.Change) {
	w := j.w
	switch c := c.(type) {
	case record.MachineChange:
		switch {
		case c.New == nil && j.torn[c.ID].lease != 0:
			w.note("", c.ID, "stored: the machine's key is gone, but not its lease")
		case c.New == nil:
			w.note("", c.ID, "stored: the machine is gone")
			j.gone(c.ID)
		default:
			delete(j.torn, c.ID)
			w.note("", c.ID, "stored: the machine is there (%s, leaving %v)", c.New.BootID, c.New.Leaving)
		}
	case record.UnitChange:
		w.note(c.Name, "", "stored: %s", say(c.New))
		if c.New == nil {
			if a := j.asked[c.Name]; a != nil && a.destroys == 0 && a.acked {
				j.fail(noneLost, c.Name, "", "it was acknowledged and nobody destroyed it, but it vanished from the store")
			}
		}
	case record.PlacementChange:
		w.note(c.Unit, c.Machine, "stored: schedule %s", say(c.New))
		if c.New != nil {
			delete(j.untold, c.Key)
		}
		if now, was := c.New, c.Old; now != nil && now.Target.Wanted() || now == nil && was != nil && !was.Target.Wanted() {
			delete(j.untraced, c.Key) // known again, or taken away
		}
		if c.New != nil && !c.New.Target.Wanted() && j.steady(c.Unit) {
			j.ended()
			untraced := j.untraced[c.Key] && j.placedBeside(c.Machine, c.Unit)
			if j.judges(noMoveWithout); !untraced && !j.mayLeave(c.Machine) {
				j.fail(noMoveWithout, c.Unit, c.Machine, "nobody touched it, its machine was neither lost nor left, and yet it is taken away")
			}
		}
	case record.StateChange:
		w.note(c.Unit, c.Machine, "stored: state %s", sayState(c.New))
	}
}

func say[T any](v *T) string {
	if v == nil {
		return "nothing any more"
	}
	return fmt.Sprintf("%+v", *v)
}

func sayState(s *record.State) string {
	if s == nil {
		return "nothing any more"
	}
	return fmt.Sprintf("%s restart %d %s/%s %s", s.Target, s.Restart, s.Active, s.Sub, s.Error)
}

// deleted notes that somebody has deleted a key by hand.
func (j *judge) deleted(key string) {
	at, told := strings.CutPrefix(key, scheduleKeys)
	at, said := strings.CutPrefix(at, stateKeys)
	on, name, _ := strings.Cut(at, "/")
	k := record.Key{Machine: machine.ID(on), Unit: unit.Name(name)}
	if told {
		j.untold[k] = true
	}
	if (told || said) && j.w.store.Get(scheduleKeys+at) == nil && j.w.store.Get(stateKeys+at) == nil {
		j.untraced[k] = true
	}
}

// led reports whether there is a leader that can act.
func (j *judge) led() bool {
	for _, n := range j.w.hosts {
		if n.process != nil && n.process.leads && !n.process.dead && n.wellConnected() {
			return true
		}
	}
	return false
}

// wellConnected reports whether a host's fleetd works, and reaches etcd.
func (n *node) wellConnected() bool {
	w := n.world
	return n.Up() && n.Alive() && !w.now.Before(n.process.frozen) && n.link.reaches() && n.link.loss == 0 && n.link.lag == 0 &&
		!w.outage && w.slowness == 0 && w.now.After(n.helpless)
}

// Began is Witness's.
func (j *judge) Began(i Instance) {
	j.w.note(i.Unit, i.Machine, "RUNS (%s, %s)", i.Invocation, i.File.Short())
	if j.running[i.Unit] == nil {
		j.running[i.Unit] = map[machine.ID]*life{}
	}
	j.running[i.Unit][i.Machine] = &life{i}
	j.look()
	j.ended()
	j.moved(i)
	j.doubles(i.Unit)
}

// Ended is Witness's.
func (j *judge) Ended(i Instance, at time.Time) {
	j.w.note(i.Unit, i.Machine, "ends (%s)", i.Invocation)
	delete(j.running[i.Unit], i.Machine)
	j.look()
	j.ended()
	if !j.steady(i.Unit) {
		return
	}
	if j.judges(noMoveWithout); !j.mayEnd(i) {
		j.fail(noMoveWithout, i.Unit, i.Machine, "nobody touched it, its machine was neither lost nor left, and yet it was stopped")
	}
}

func (j *judge) steady(name unit.Name) bool {
	return strings.HasPrefix(string(name), "steady") || strings.HasPrefix(string(name), "alone")
}

// mayEnd reports whether there is a cause for a steady unit's instance to end.
func (j *judge) mayEnd(i Instance) bool {
	n := j.w.byID[i.Machine]
	spec, told := j.view.Schedule[record.Key{Machine: i.Machine, Unit: i.Unit}]
	switch {
	case j.mayLeave(i.Machine):
		return true
	case told && !spec.Target.Wanted(): // that there is a cause for that was judged before
		return true
	case strings.HasPrefix(string(i.Unit), "alone"): // Isolation=stop: it may be cut off
		return !n.wellConnected() || j.w.now.Sub(n.troubled()) < j.w.ttl
	}
	return false
}

// mayLeave reports whether there is a cause for a machine to lose its units.
func (j *judge) mayLeave(id machine.ID) bool {
	n, m := j.w.byID[id], j.view.Machines[id]
	switch {
	case !n.downUntil.IsZero(), n.leaving != nil && n.leaving == n.process, m.Leaving: // powered off, or handing over
		return true
	}
	return j.strange[id] != nil // it was lost; its units may be elsewhere
}

// present reports whether a machine is.
func (j *judge) present(id machine.ID) bool {
	_, there := j.view.Machines[id]
	return there
}

// submits notes that an operator submits a unit; the result is to be told how
// that went.
func (j *judge) submits(name unit.Name) func(acked bool) {
	a := j.asked[name]
	if a == nil {
		a = &wishes{}
		j.asked[name] = a
	}
	before := a.destroys
	return func(acked bool) {
		// A destroy that nobody was told of may still be on its way.
		if acked && a.destroys == before && j.w.now.Sub(a.lately) > 2*lateAtMost {
			a.acked, a.destroys = true, 0
		}
	}
}

// destroys notes that an operator destroys a unit.
func (j *judge) destroys(name unit.Name) {
	if a := j.asked[name]; a != nil {
		a.destroys++
		a.lately = j.w.now
		a.acked = false
	}
}

// lost looks for units that were acknowledged and are not stored.
func (j *judge) lost() {
	for _, name := range slices.Sorted(maps.Keys(j.asked)) {
		a := j.asked[name]
		if !a.acked || a.destroys > 0 {
			continue
		}
		j.judges(noneLost)
		if u, ok := j.view.Units[name]; !ok || u.Target == unit.TargetDestroyed {
			j.fail(noneLost, name, "", "it was acknowledged, and is not stored")
		}
	}
}
