package planner

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
)

// Explanation says where a unit is and where it could be, and why not
// elsewhere.
type Explanation struct {
	Unit unit.Name
	// Summary is one sentence: where the unit is, or what keeps it from being
	// placed.
	Summary string
	// Placed are the live machines that are told to run it, sorted.
	Placed []machine.ID
	// Fits: at least one machine would take it, or has it and may keep it.
	Fits bool
	// Problem says why nothing can be decided about the unit: its file is
	// missing or can't be read. Empty if all is well.
	Problem string
	// Machines has a verdict on each live machine, sorted by ID.
	Machines []Verdict
}

// Verdict says whether a machine would take a unit. A machine that has the
// unit already fits if the unit may stay.
type Verdict struct {
	ID       machine.ID
	Hostname string
	Fits     bool
	Placed   bool     // the unit is placed here
	Reasons  []string // why it doesn't fit: one for each option that refuses
}

// Explain says machine by machine whether a unit fits; false if the cluster
// has no such unit. It asks the very filters that decisions are made by.
func (p *Planner) Explain(name unit.Name) (Explanation, bool) {
	j := p.jobs.get(name)
	if j == nil || j.rec == nil {
		return Explanation{}, false
	}
	return p.explain(j), true
}

func (p *Planner) explain(j *job) Explanation {
	out := Explanation{Unit: j.name}
	for _, s := range j.held() {
		out.Placed = append(out.Placed, s.host.id)
	}
	if j.reqErr != nil {
		out.Problem = j.reqErr.Error()
		out.Summary = p.summary(j, out)
		return out
	}
	for _, h := range p.hosts {
		if h.live() {
			out.Machines = append(out.Machines, p.verdict(j, h))
		}
	}
	slices.SortFunc(out.Machines, func(a, b Verdict) int { return cmp.Compare(a.ID, b.ID) })
	out.Fits = slices.ContainsFunc(out.Machines, func(v Verdict) bool { return v.Fits })
	out.Summary = p.summary(j, out)
	return out
}

func (p *Planner) verdict(j *job, h *host) Verdict {
	v := Verdict{ID: h.id, Hostname: h.rec.Hostname}
	m := enter
	if s := j.on(h); s != nil && s.counted == held {
		m, v.Placed = stay, true
	} else if len(j.takes) > 0 {
		if _, ok := p.prey(j, h); ok {
			m = oust // what it replaces makes way for it
		}
	}
	why := &refusals{}
	v.Fits = p.fits(j, h, m, why)
	v.Reasons = why.reasons
	return v
}

// summary puts an explanation into one sentence.
func (p *Planner) summary(j *job, e Explanation) string {
	where := make([]string, len(e.Placed))
	for i, id := range e.Placed {
		where[i] = id.Short()
	}
	switch {
	case p.cluster == nil:
		return "Nothing is decided while the cluster's key is gone."
	case j.rec.Target == unit.TargetDestroyed:
		return "It is being destroyed." + p.lingering(j)
	case !j.wanted():
		return "It is inactive: nobody asked for it to be loaded or launched." + p.lingering(j)
	case e.Problem != "":
		return "It is kept where it is and placed nowhere new: " + e.Problem + "."
	case j.req.Global:
		return fmt.Sprintf("It is a global unit, placed on %s.", machines(len(where)))
	case len(where) > 0:
		out := "It is placed on " + strings.Join(where, ", ") + "."
		if p.inCircle(j) {
			out += " By MachineOf it follows itself in a circle: it stays while all of them do, and could be placed nowhere else."
		}
		return out
	}
	if why := p.lingering(j); why != "" {
		return "It is placed nowhere yet." + why
	}
	if until, ok := p.postponed[j]; ok {
		return fmt.Sprintf("Its machine is absent, and has until %s to come back before the unit moves.", until.UTC().Format("15:04:05 MST"))
	}
	if p.inCircle(j) {
		return "It is placed nowhere: by MachineOf it follows itself in a circle."
	}
	switch {
	case j.claim != nil:
		return "It waits for the units that it replaces to leave " + j.claim.id.Short() + "."
	case len(e.Machines) == 0:
		return "It is placed nowhere: the cluster has no machines."
	case !e.Fits && len(e.Machines) == 1:
		return "It is placed nowhere: it doesn't fit on the only machine."
	case !e.Fits:
		return fmt.Sprintf("It is placed nowhere: it fits on none of %d machines.", len(e.Machines))
	}
	return "It is about to be placed."
}

// lingering says on which live machines a unit has yet to be stopped.
func (p *Planner) lingering(j *job) string {
	var ids []string
	for _, s := range j.seats {
		if s.host.live() && s.counted == leaving {
			id := s.host.id.Short()
			if s.said && s.trouble() != "" {
				id += " (" + s.trouble() + ")"
			}
			ids = append(ids, id)
		}
	}
	if len(ids) == 0 {
		return ""
	}
	return " It has yet to be stopped on " + strings.Join(ids, ", ") + "."
}

func machines(n int) string {
	if n == 1 {
		return "1 machine"
	}
	return fmt.Sprintf("%d machines", n)
}
