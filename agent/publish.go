package agent

import (
	"time"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// publish says how a unit is, if that differs from what was said before.
func (c *core) publish(h *held) {
	if h.op != "" || !c.following || c.units[h.name] != h || h.words.awaited() || h.unproven() {
		return // something is to be said in a moment, or never again
	}
	s := c.statement(h)
	switch {
	case s == nil && h.published == nil:
	case s != nil && h.published != nil && *s == *h.published:
	default:
		c.out.states[h.name] = s
		h.published = s
	}
}

// proofTime is how long the program of a simple service must run for its start to
// be told. systemd calls such a service active as soon as it has forked: a program
// that isn't there, or gives up at once, fails a few milliseconds later.
const proofTime = 15 * time.Millisecond

// unproven reports whether a simple service has just begun to run.
func (h *held) unproven() bool {
	return h.seen && h.runs() && (!h.proof.IsZero() || h.starting && h.rec != nil && h.rec.Simple && !h.renewing)
}

// statement is what this host has to say about a unit; nil if nothing.
func (c *core) statement(h *held) *record.State {
	switch {
	case h.acked:
		return &record.State{
			Spec:         record.Spec{Target: unit.TargetNone},
			SystemdState: unit.SystemdState{Load: "not-found", Active: "inactive", Sub: "dead"},
		}
	case h.rec == nil || h.rec.Done.Target == "":
		if h.err == "" {
			return nil
		}
		// Nothing was carried out. What systemd has under this name, if anything,
		// isn't fleet's to tell.
		return &record.State{
			Spec:         record.Spec{Target: unit.TargetInactive},
			SystemdState: unit.SystemdState{Load: "error", Active: "failed", Sub: "failed"},
			Error:        h.err,
		}
	case !h.seen:
		return h.published
	case h.waits():
		// Launched and inactive would read as a oneshot that is done, active as a
		// restart that is done.
		return h.published
	}
	// Systemd's words, unchanged: a unit that it can't start is inactive to it.
	// Why, is in Error.
	return &record.State{Spec: h.rec.Done, SystemdState: h.state.SystemdState, Error: h.trouble(), Log: h.words.told()}
}

// waits reports whether the job that is to start the unit waits its turn.
func (h *held) waits() bool {
	return h.starting && (h.state.Active == "inactive" || h.state.Active == "failed" || h.renewing)
}
