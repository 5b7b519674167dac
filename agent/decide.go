package agent

import (
	"fmt"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// verb names an operation on one unit.
type verb string

const (
	doInstall verb = "install" // claim the name, write the file, enable
	doStart   verb = "start"
	doRestart verb = "restart"
	doStop    verb = "stop"
	doKill    verb = "kill"
	doRemove  verb = "remove"  // disable, remove the file and the record
	doNote    verb = "note"    // only write the record
	doExamine verb = "examine" // find out whether an intent took place
)

// action is one operation, for the loop to do.
type action struct {
	verb verb
	name unit.Name
	// before is to be written before acting, after when systemd has accepted.
	before, after *Record

	text    []byte // doInstall
	claim   bool   // doInstall: the name may be the host's
	enable  bool   // doInstall
	disable bool   // doInstall, doRemove: links are there
}

// do has the loop act, if nothing else is under way for the unit.
func (c *core) do(h *held, a action) {
	a.name = h.name
	h.op = a.verb
	c.out.actions = append(c.out.actions, a)
}

// instruction gives what is to be done with a unit; nil: nothing at all.
func (c *core) instruction(h *held) *record.Spec {
	switch {
	case c.leaving && h.rec != nil:
		return &record.Spec{Target: unit.TargetNone}
	case h.want != nil:
		return h.want
	case h.rec != nil && h.rec.withdrawing():
		return h.rec.Intent // a withdrawal that was begun is finished
	}
	return nil
}

// decide finds the next operation for a unit: one step from what is towards
// what should be.
func (c *core) decide(h *held) {
	if h.op != "" {
		return
	}
	want := c.instruction(h)
	if h.rec == nil {
		c.decideNew(h, want)
		return
	}
	if want != nil && want.Target.Wanted() && h.rec.withdrawing() && c.suspended() == nil {
		// The withdrawal is off, though it may have stopped the unit already.
		after := *h.rec
		after.Intent = &record.Spec{Target: unit.TargetLoaded, File: after.Disk, Restart: after.Done.Restart}
		c.do(h, action{verb: doNote, after: &after})
		return
	}
	if !h.seen {
		return
	}
	// This holds without a cluster as well: it is for hosts that are cut off. One that
	// is being taken away is stopped by that; but who guards doesn't finish what an
	// earlier fleetd has begun.
	withdraws := want != nil && want.Target == unit.TargetNone && (c.leaving || c.suspended() == nil)
	if h.rec.StopsCutOff && c.reach != reachable && !withdraws {
		c.isolate(h)
		return
	}
	if want == nil || !h.retry.IsZero() || c.suspended() != nil && !c.leaving {
		return
	}
	switch {
	case h.examine:
		c.do(h, action{verb: doExamine, after: h.rec})
	case want.Target == unit.TargetNone:
		c.withdraw(h, *want)
	case !want.Target.Wanted():
		h.err = fmt.Sprintf("an instruction that this version of fleet doesn't know: %q", want.Target)
	case h.rec.Disk != want.File:
		c.install(h, *want)
	case want.Target == unit.TargetLoaded:
		c.load(h, *want)
	default:
		c.launch(h, *want)
	}
}

// decideNew decides on a unit that fleet has nothing of on this host.
func (c *core) decideNew(h *held, want *record.Spec) {
	switch {
	case want == nil:
		delete(c.units, h.name)
		c.out.forget = append(c.out.forget, h.name)
		if h.published != nil {
			c.out.states[h.name] = nil
			h.published = nil
		}
	case c.suspended() != nil:
	case want.Target == unit.TargetNone:
		h.acked = true
		c.resetError(h)
	case want.Target.Wanted() && !c.leaving && h.retry.IsZero():
		c.install(h, *want)
	}
}

// install gives systemd the unit's text, once that is here.
func (c *core) install(h *held, want record.Spec) {
	t := c.texts[want.File]
	if t == nil {
		t = &text{}
		c.texts[want.File] = t
	}
	if t.text == nil {
		if t.missing {
			h.err = fmt.Sprintf("the unit file %s isn't in etcd; submit the unit again if it doesn't come back", want.File.Short())
		}
		if !t.asking && t.retry.IsZero() {
			t.asking = true
			c.out.fetch = append(c.out.fetch, want.File)
		}
		return
	}
	before := Record{Name: h.name, Boot: c.boot}
	a := action{verb: doInstall, text: t.text, claim: h.rec == nil}
	if h.rec != nil {
		before = *h.rec
		a.disable = h.rec.Enabled
	}
	before.Disk, before.Intent = want.File, &want
	before.Enabled, before.StopsCutOff, before.Simple = false, false, false
	if f, err := unit.Parse(t.text); err == nil {
		a.enable = f.HasInstall()
		before.Simple = f.ServiceType(h.name) == "simple"
		if r, err := f.Requirements(h.name); err == nil {
			before.StopsCutOff = r.Isolation == unit.IsolationStop
		}
	}
	before.Enabled = a.enable || a.disable
	after := before
	after.Enabled = a.enable
	if after.Done.Target != unit.TargetLaunched {
		after.Done = record.Spec{Target: unit.TargetLoaded, File: want.File, Restart: want.Restart}
	}
	if after.Done == want {
		after.Intent, after.Before = nil, ""
	}
	a.before, a.after = &before, &after
	c.do(h, a)
}

// intent gives the record to write before acting, nil if it says so already.
func (h *held) intent(want record.Spec) *Record {
	if h.rec.Intent != nil && *h.rec.Intent == want {
		return nil
	}
	r := *h.rec
	r.Intent = &want
	return &r
}

// carriedOut gives the record to write when want has come true.
func (h *held) carriedOut(want record.Spec) *Record {
	r := *h.rec
	r.Done, r.Intent, r.Before, r.CutOff = want, nil, "", false
	return &r
}

// examined gives the record of a unit whose start was intended, now that
// systemd says which its run is. If it is another run than before, the start
// took place.
func (r *Record) examined(run string) *Record {
	out := *r
	if run != "" && run != r.Before {
		out.Done, out.CutOff = *r.Intent, false
	}
	out.Intent, out.Before = nil, ""
	return &out
}

// withdrawing reports whether the unit was begun to be taken away.
func (r *Record) withdrawing() bool {
	return r.Intent != nil && r.Intent.Target == unit.TargetNone
}

// mayRun reports whether fleet has started the unit, or may have.
func (h *held) mayRun() bool {
	return h.rec.Done.Target == unit.TargetLaunched ||
		h.rec.Intent != nil && h.rec.Intent.Target == unit.TargetLaunched
}

// load brings a unit to "loaded": known to systemd, and stopped if fleet had
// started it. One that something else has started, such as its timer, is left.
func (c *core) load(h *held, want record.Spec) {
	switch {
	case h.rec.Done.Target == unit.TargetLaunched && c.stop(h, want):
	case h.rec.Done != want || h.rec.Intent != nil || h.rec.CutOff:
		c.do(h, action{verb: doNote, after: h.carriedOut(want)})
	}
}

// launch brings a unit to "launched".
func (c *core) launch(h *held, want record.Spec) {
	done, intent := h.rec.Done, h.rec.Intent
	launched := done.Target == unit.TargetLaunched
	stopped := h.rec.CutOff || intent != nil && intent.Target != unit.TargetLaunched
	anew := done.File != want.File && (launched || !down(h.state))
	switch {
	case anew || launched && done.Restart < want.Restart:
		c.do(h, action{verb: doRestart, before: h.intent(want), after: h.carriedOut(want)})
	case !launched || stopped:
		c.do(h, action{verb: doStart, before: h.intent(want), after: h.carriedOut(want)})
	case done != want || intent != nil:
		c.do(h, action{verb: doNote, after: h.carriedOut(want)})
	}
}

// withdraw stops a unit, whoever has started it, and takes it away.
func (c *core) withdraw(h *held, want record.Spec) {
	if !c.stop(h, want) {
		c.do(h, action{verb: doRemove, disable: h.rec.Enabled})
	}
}

// stop stops a unit; false if that has been done. A stop is always asked for,
// even if the unit seems to be down: systemd may have a start queued.
func (c *core) stop(h *held, want record.Spec) bool {
	if h.stopped && down(h.state) {
		return false
	}
	if !h.stopping {
		before := h.intent(want)
		after := h.rec
		if before != nil {
			after = before
		}
		c.do(h, action{verb: doStop, before: before, after: after})
	}
	return true
}

// isolate stops a unit that must not outlive the host's lease.
func (c *core) isolate(h *held) {
	switch {
	case !h.rec.CutOff && (h.mayRun() || !down(h.state)):
		before := *h.rec
		before.CutOff = true
		c.do(h, action{verb: doStop, before: &before, after: &before})
	case !h.rec.CutOff:
	case c.reach == nearlyDead && !h.killed:
		// Even if systemd calls it down: with KillMode=process it may have left
		// processes behind.
		c.do(h, action{verb: doKill})
	case down(h.state):
	case !h.stopping && h.retry.IsZero():
		c.do(h, action{verb: doStop, after: h.rec})
	}
}
