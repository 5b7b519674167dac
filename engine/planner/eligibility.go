package planner

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/unit"
)

// mode is what a unit would do on a machine.
type mode uint8

const (
	stay  mode = iota // it is there: may it remain
	enter             // may it come
	oust              // may it come once the units that it replaces have left
)

// refusals collects why a unit doesn't fit; a nil one only wants to know
// whether.
type refusals struct{ reasons []string }

func (r *refusals) addf(format string, args ...any) {
	r.reasons = append(r.reasons, fmt.Sprintf(format, args...))
}

// fits asks every filter whether the unit may be on the machine. With why it
// asks them all, so that a person gets all reasons at once.
func (p *Planner) fits(j *job, h *host, m mode, why *refusals) bool {
	p.work.looks++
	ok := true
	for _, f := range [...]func(*job, *host, mode, *refusals) bool{
		p.fitsPresence, p.fitsIdentity, p.fitsMetadata, p.fitsLeaders, p.fitsConflicts, p.fitsReplaced, p.fitsReplacing, p.fitsOwn,
	} {
		if !f(j, h, m, why) {
			if why == nil {
				return false
			}
			ok = false
		}
	}
	return ok
}

// suits asks the filters that depend on the machine alone.
func (p *Planner) suits(j *job, h *host) bool {
	return p.fitsPresence(j, h, enter, nil) && p.fitsIdentity(j, h, enter, nil) && p.fitsMetadata(j, h, enter, nil)
}

func (p *Planner) fitsPresence(_ *job, h *host, m mode, why *refusals) bool {
	switch {
	case h.open:
		return true
	case !h.live():
		if why != nil {
			why.addf("absent: the machine is not in the cluster")
		}
	case h.rec.Leaving:
		if why != nil {
			why.addf("leaving: the machine hands its units over")
		}
	case m != stay && h.over.Cordoned:
		if why != nil {
			why.addf("cordoned: nothing new is placed here")
		}
	default:
		return true
	}
	return false
}

func (p *Planner) fitsIdentity(j *job, h *host, _ mode, why *refusals) bool {
	ok := true
	if id := j.req.MachineID; id != "" && id != string(h.id) && id != h.id.Short() {
		if ok = false; why != nil {
			why.addf("MachineID=%s: another machine", id)
		}
	}
	if id := j.req.BootID; id != "" && id != string(h.id) && id != h.id.Short() && !h.bootedAs(id) {
		if ok = false; why != nil {
			why.addf("X-ConditionMachineBootID=%s: another machine, or another boot", id)
		}
	}
	return ok
}

// bootedAs reports whether the machine's present boot has that ID, which is
// without dashes.
func (h *host) bootedAs(id string) bool {
	return h.live() && id == strings.ReplaceAll(string(h.rec.BootID), "-", "")
}

func (p *Planner) fitsMetadata(j *job, h *host, _ mode, why *refusals) bool {
	if why == nil {
		if c := j.class; len(j.req.Metadata) > 0 && h.at >= 0 && c.generation == c.ring.generation {
			return c.allowed.has(h.at)
		}
		return firstBroken(j.req.Metadata, h.meta) < 0
	}
	ok := true
	for i := range j.req.Metadata {
		r := &j.req.Metadata[i]
		v, has := h.meta[r.Key]
		if r.Match(v, has) {
			continue
		}
		ok = false
		if has {
			why.addf("MachineMetadata=%s: this machine has %s=%s", r, r.Key, v)
		} else {
			why.addf("MachineMetadata=%s: this machine has no %s", r, r.Key)
		}
	}
	return ok
}

// fitsLeaders: the units that MachineOf names must be here.
func (p *Planner) fitsLeaders(j *job, h *host, _ mode, why *refusals) bool {
	ok := true
	for _, name := range j.req.MachineOf {
		leader := p.jobs.get(name)
		if leader != nil {
			if s := leader.on(h); s != nil && s.counted == held {
				continue
			}
		}
		if ok = false; why == nil {
			return false
		}
		why.addf("MachineOf=%s: %s", name, p.whereabouts(name, leader))
	}
	return ok
}

// whereabouts says where a unit is, for somebody who wants to be with it.
func (p *Planner) whereabouts(name unit.Name, j *job) string {
	switch {
	case j == nil || j.rec == nil:
		return fmt.Sprintf("%s is not in the cluster", name)
	case p.inCircle(j):
		return fmt.Sprintf("%s is placed nowhere: it follows itself in a circle", name)
	}
	var ids []string
	for _, s := range j.held() {
		ids = append(ids, s.host.id.Short())
	}
	switch {
	case len(ids) == 0:
		return fmt.Sprintf("%s is placed nowhere", name)
	case len(ids) > 3:
		return fmt.Sprintf("%s is on other machines", name)
	}
	return fmt.Sprintf("%s is on %s", name, strings.Join(ids, ", "))
}

// fitsConflicts: nothing here may be in conflict with the unit. To come it
// must wait for those that are leaving, and no matter whose file has the
// Conflicts. To stay, only its own file counts: where two can't stay together,
// the one whose file says so leaves (see disturb). One that is placed and has
// yet to start must wait for those that are leaving as well.
func (p *Planner) fitsConflicts(j *job, h *host, m mode, why *refusals) bool {
	if s := j.on(h); m == stay && s != nil && !s.runs() {
		return p.fitsOwnConflicts(j, h, enter, why)
	}
	ok := p.fitsOwnConflicts(j, h, m, why)
	if m == stay || !ok && why == nil {
		return ok
	}
	return p.fitsOthersConflicts(j, h, m, why) && ok
}

// fitsOwnConflicts: nothing here may be what the unit's file names.
func (p *Planner) fitsOwnConflicts(j *job, h *host, m mode, why *refusals) bool {
	ok := true
	own := j.on(h).in(m)
	for _, g := range j.wants {
		n := g.at[h].covered.in(m)
		if n == 0 || n == own && slices.Contains(j.known, g) {
			continue
		}
		if ok = false; why == nil {
			return false
		}
		for _, s := range h.sorted() {
			if s.job != j && s.in(m) > 0 && slices.Contains(s.job.known, g) {
				why.addf("Conflicts=%s: %s %s here", g.glob, s.job.name, s.verb())
			}
		}
	}
	return ok
}

// fitsOthersConflicts: the files of what is here, or about to come, may not
// name the unit.
func (p *Planner) fitsOthersConflicts(j *job, h *host, m mode, why *refusals) bool {
	ok := true
	own := j.on(h).in(m)
	for _, g := range inOrder(j.known, why) {
		n := g.at[h].authors.in(m)
		if g.relation != conflicts || n == 0 || n == own && slices.Contains(j.wants, g) {
			continue
		}
		if ok = false; why == nil {
			return false
		}
		for _, s := range h.sorted() {
			if s.job != j && s.in(m) > 0 && slices.Contains(s.job.wants, g) && !matchedBy(j.wants, s.job) {
				why.addf("%s, which %s here, has Conflicts=%s", s.job.name, s.verb(), g.glob)
			}
		}
	}
	for _, c := range h.claimants() {
		if !j.conflictsWith(c) {
			continue
		}
		if ok = false; why == nil {
			return false
		}
		why.addf("%s, which is about to come here, and this unit conflict", c.name)
	}
	return ok
}

// disturb has the units looked at that can't stay on a machine because this
// one stays: those with a Conflicts for it, and those that it replaces.
func (p *Planner) disturb(j *job, h *host) {
	p.evict(j, h)
	own := j.on(h).in(stay)
	for _, g := range j.known {
		n := g.at[h].authors.in(stay)
		if g.relation != conflicts || n == 0 || n == own && slices.Contains(j.wants, g) {
			continue
		}
		for _, s := range h.seats {
			o := s.job
			if o != j && s.counted == held && slices.Contains(o.wants, g) {
				p.markAt(o, h)
			}
		}
	}
}

// matchedBy reports whether one of the patterns matches the unit's name.
func matchedBy(list []*pattern, j *job) bool {
	return slices.ContainsFunc(list, func(g *pattern) bool { return slices.Contains(j.known, g) })
}

// claimants gives the units that are to come here once others have left,
// sorted by name.
func (h *host) claimants() []*job {
	if len(h.claims) == 0 {
		return nil
	}
	return slices.SortedFunc(maps.Keys(h.claims), byName)
}

// fitsReplaced: no unit that replaces this one may be here, or have claimed
// the machine. That keeps a unit that was replaced from coming back.
func (p *Planner) fitsReplaced(j *job, h *host, _ mode, why *refusals) bool {
	ok := true
	own := j.on(h).in(stay)
	for _, g := range inOrder(j.known, why) {
		if g.relation != replaces {
			continue
		}
		n := g.at[h].authors.in(stay)
		if n == 0 || n == own && slices.Contains(j.takes, g) {
			continue
		}
		if ok = false; why == nil {
			return false
		}
		for _, s := range h.sorted() {
			if s.job != j && s.counted == held && slices.Contains(s.job.takes, g) {
				why.addf("%s, which runs here, has Replaces=%s", s.job.name, g.glob)
			}
		}
	}
	for _, c := range h.claimants() {
		if !c.replacesUnit(j) {
			continue
		}
		if ok = false; why == nil {
			return false
		}
		why.addf("%s takes this unit's place here", c.name)
	}
	return ok
}

// fitsReplacing: the units that this one replaces must have left, unless it is
// there already: then they go.
func (p *Planner) fitsReplacing(j *job, h *host, m mode, why *refusals) bool {
	if m != enter {
		return true
	}
	ok := true
	own := j.on(h).in(m)
	for _, g := range j.takes {
		n := g.at[h].covered.in(m)
		if n == 0 || n == own && slices.Contains(j.known, g) {
			continue
		}
		if ok = false; why == nil {
			return false
		}
		for _, s := range h.sorted() {
			if s.job == j || s.counted == away || !slices.Contains(s.job.known, g) {
				continue
			}
			switch {
			case s.counted == leaving:
				why.addf("Replaces=%s: %s has yet to leave", g.glob, s.job.name)
			case p.replacesBack(s.job, j):
				why.addf("Replaces=%s: %s runs here, and replaces this unit in turn", g.glob, s.job.name)
			default:
				why.addf("Replaces=%s: %s runs here", g.glob, s.job.name)
			}
		}
	}
	return ok
}

// fitsOwn: a unit comes back to a machine only when nothing is left there of
// its last stay, neither the unit nor the word that it is gone: an old
// acknowledgement must never pass for a new one.
func (p *Planner) fitsOwn(j *job, h *host, m mode, why *refusals) bool {
	if m == stay {
		return true
	}
	s := j.on(h)
	switch {
	case s == nil, s.counted == held, s.stray():
		return true
	case s.withdrawn() || s.said && s.says.Target == unit.TargetNone || s.forgotten:
		if why != nil {
			why.addf("it is being taken away from here first")
		}
		return false
	}
	return true
}

// inOrder gives patterns in the order in which reasons name them; any order
// will do while nobody asks for reasons.
func inOrder(list []*pattern, why *refusals) []*pattern {
	if why == nil {
		return list
	}
	list = slices.Clone(list)
	slices.SortFunc(list, func(a, b *pattern) int { return strings.Compare(string(a.glob), string(b.glob)) })
	return list
}

// in counts the seats as a unit that asks in that mode sees them.
func (n seatCounts) in(m mode) int32 {
	if m == stay {
		return n[held]
	}
	return n[held] + n[leaving]
}

// in is the seat's own part of such a count.
func (s *seat) in(m mode) int32 {
	if s == nil || s.counted == away || m == stay && s.counted == leaving {
		return 0
	}
	return 1
}

func (s *seat) verb() string {
	switch {
	case s.counted == leaving && s.placed:
		return "is leaving"
	case s.spec.Target == unit.TargetLoaded:
		return "is loaded"
	}
	return "runs"
}

// sorted gives the machine's seats in the order of the units' names.
func (h *host) sorted() []*seat {
	out := slices.Clone(h.seats)
	slices.SortFunc(out, func(a, b *seat) int { return byName(a.job, b.job) })
	return out
}

func (r *refusals) String() string { return strings.Join(r.reasons, "; ") }
