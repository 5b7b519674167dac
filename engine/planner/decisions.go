package planner

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// Decision is one write that the planner wants made. Its string is one line
// for the log.
type Decision interface {
	fmt.Stringer
	isDecision()
}

// Place tells a machine to load or launch a unit: a new placement, or one whose
// target, file or restart count changed.
type Place struct {
	record.Key
	Spec   record.Spec
	Reason string
}

// Withdraw tells a machine to stop and forget a unit (target none).
type Withdraw struct {
	record.Key
	Reason string
}

// Forget ends a withdrawal that the machine has acknowledged: its schedule key
// and its state key go.
type Forget struct{ record.Key }

// Release ends the destruction of a unit that is placed nowhere any more: its
// key goes.
type Release struct{ Unit unit.Name }

// Restore writes a unit anew whose key vanished without having been destroyed.
type Restore struct {
	Unit   unit.Name
	Record record.Unit
	Reason string
}

// CollectFile takes away a text that nothing refers to.
type CollectFile struct{ Hash unit.Hash }

// RestoreFile writes a text anew that vanished while it was referred to.
type RestoreFile struct {
	Hash unit.Hash
	Text []byte
}

func (Place) isDecision()       {}
func (Withdraw) isDecision()    {}
func (Forget) isDecision()      {}
func (Release) isDecision()     {}
func (Restore) isDecision()     {}
func (CollectFile) isDecision() {}
func (RestoreFile) isDecision() {}

func (d Place) String() string {
	return fmt.Sprintf("place %s on %s, %s: %s", d.Unit, d.Machine.Short(), d.Spec.Target, d.Reason)
}

func (d Withdraw) String() string {
	return fmt.Sprintf("withdraw %s from %s: %s", d.Unit, d.Machine.Short(), d.Reason)
}

func (d Forget) String() string {
	return fmt.Sprintf("forget %s on %s: it has been withdrawn", d.Unit, d.Machine.Short())
}

func (d Release) String() string {
	return fmt.Sprintf("release %s: it is destroyed and placed nowhere", d.Unit)
}

func (d Restore) String() string {
	return fmt.Sprintf("restore %s, %s: %s", d.Unit, d.Record.Target, d.Reason)
}

func (d CollectFile) String() string {
	return fmt.Sprintf("collect file %s: nothing refers to it", d.Hash.Short())
}

func (d RestoreFile) String() string {
	return fmt.Sprintf("restore file %s: its key vanished while units need it", d.Hash.Short())
}

// Plan is what one Step decided. No two decisions write the same key.
type Plan struct {
	// Decisions in the order in which they must become true if they can't all
	// at once: what is restored first, then what is taken away, then what is
	// placed, and what is cleaned up last. Within a kind they are sorted.
	Decisions []Decision
	// Wake is when Step must be called again even if nothing changes; zero if
	// nothing is pending.
	Wake time.Time
	// Warnings are for the log, each given once.
	Warnings []string
}

// ranks of decisions, in the order of Plan.Decisions.
const (
	rankRestoreFile = iota
	rankRestore
	rankWithdraw
	rankForget
	rankPlace
	rankRelease
	rankCollect
	rankCount
)

// draft collects a Step's decisions. A later decision on a key takes the place
// of an earlier one: etcd refuses a transaction that writes a key twice.
type draft struct {
	ranks    [rankCount][]Decision // entries that were replaced are nil
	slots    [][]draftSlot         // a seat keeps its own: none is dropped in the Step that decided on it
	warnings []string
	// displaced are the seats on live machines that units were to leave which are
	// wanted; relented those of them that they got back.
	displaced []*seat
	relented  map[*seat]bool
}

// draftSlot says where the decision on a key is, and what the seat was before
// it.
type draftSlot struct {
	seat         *seat
	spec, sent   *record.Spec
	index, rank  int32
	before       int32 // how many values were to come back before sent
	placed, lost bool
}

func (d *draft) add(rank int32, x Decision) { d.ranks[rank] = append(d.ranks[rank], x) }

// expect makes room for that many placements.
func (d *draft) expect(n int) {
	if n > slotChunk {
		d.ranks[rankPlace] = slices.Grow(d.ranks[rankPlace], n)
	}
}

// of gives the decision on a seat, or nil.
func (d *draft) of(s *seat) *draftSlot {
	chunk, at := int(s.slot)/slotChunk, int(s.slot)%slotChunk
	if chunk < len(d.slots) && at < len(d.slots[chunk]) && d.slots[chunk][at].seat == s {
		return &d.slots[chunk][at]
	}
	return nil
}

// seat makes the decision on a seat's schedule key. It must be called before
// the seat is changed accordingly.
func (d *draft) seat(s *seat, rank int32, x Decision) {
	slot := d.of(s)
	if slot == nil {
		slot = d.newSlot(s)
	} else { // what was before the first of them
		d.ranks[slot.rank][slot.index] = nil
	}
	slot.rank, slot.index = rank, int32(len(d.ranks[rank]))
	d.add(rank, x)
}

// slotChunk is how many slots are made at a time, at most: a million in one piece
// would be copied again and again while they become more.
const slotChunk = 1024

// newSlot gives a seat its slot, with what it is before the decision.
func (d *draft) newSlot(s *seat) *draftSlot {
	last := len(d.slots) - 1
	if last < 0 || len(d.slots[last]) == slotChunk {
		last++
		d.slots = append(d.slots, nil)
		if last > 0 { // many are decided on
			d.slots[last] = make([]draftSlot, 0, slotChunk)
		}
	}
	at := len(d.slots[last])
	s.slot = int32(last*slotChunk + at)
	d.slots[last] = append(d.slots[last], draftSlot{seat: s, placed: s.placed, lost: s.lost, spec: s.spec, sent: s.sent, before: int32(s.before())})
	return &d.slots[last][at]
}

// cancel takes the decision on a seat back.
func (d *draft) cancel(s *seat) {
	slot := d.of(s)
	d.ranks[slot.rank][slot.index] = nil
	slot.seat = nil
}

func (d *draft) warn(format string, args ...any) {
	d.warnings = append(d.warnings, fmt.Sprintf(format, args...))
}

func (d *draft) plan(wake time.Time) Plan {
	var all []Decision
	for _, list := range d.ranks {
		list = slices.DeleteFunc(list, func(x Decision) bool { return x == nil })
		// How units were looked at depends on the order in which things were
		// told; what was decided doesn't.
		switch list = sortRuns(list); {
		case len(all) > 0:
			all = append(all, list...)
		case len(list) > 0:
			all = list
		}
	}
	slices.Sort(d.warnings)
	return Plan{Decisions: all, Wake: wake, Warnings: d.warnings}
}

// sortRuns sorts decisions that were made in order, for the most part: each
// pass over what was marked makes a few ascending runs.
func sortRuns(list []Decision) []Decision {
	var ends []int
	for i := range list {
		if i > 0 && byKey(list[i-1], list[i]) > 0 {
			ends = append(ends, i)
		}
	}
	if len(ends) > 64 {
		slices.SortFunc(list, byKey)
		return list
	}
	ends = append(ends, len(list))
	for len(ends) > 1 {
		out := make([]Decision, 0, len(list))
		var merged []int
		from := 0
		for i := 0; i < len(ends); i += 2 {
			if i+1 == len(ends) {
				out = append(out, list[from:]...)
			} else {
				out = merge(out, list[from:ends[i]], list[ends[i]:ends[i+1]])
				from = ends[i+1]
			}
			merged = append(merged, len(out))
		}
		list, ends = out, merged
	}
	return list
}

func merge(out, a, b []Decision) []Decision {
	for len(a) > 0 && len(b) > 0 {
		if byKey(a[0], b[0]) <= 0 {
			out, a = append(out, a[0]), a[1:]
		} else {
			out, b = append(out, b[0]), b[1:]
		}
	}
	return append(append(out, a...), b...)
}

// byKey orders decisions of one kind by the keys that they write.
func byKey(a, b Decision) int {
	x, y := keyOf(a), keyOf(b)
	return cmp.Or(cmp.Compare(x.Unit, y.Unit), cmp.Compare(x.Machine, y.Machine))
}

// keyOf gives what a decision is about; Machine is empty where there is none,
// and a file's hash stands in for the unit.
func keyOf(x Decision) record.Key {
	switch x := x.(type) {
	case Place:
		return x.Key
	case Withdraw:
		return x.Key
	case Forget:
		return x.Key
	case Release:
		return record.Key{Unit: x.Unit}
	case Restore:
		return record.Key{Unit: x.Unit}
	case CollectFile:
		return record.Key{Unit: unit.Name(x.Hash)}
	case RestoreFile:
		return record.Key{Unit: unit.Name(x.Hash)}
	}
	return record.Key{}
}
