package agent

import (
	"context"
	"errors"
	"time"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/unit"
)

// result is how an operation went.
type result struct {
	action action
	err    error
	// recorded: action.before has been written.
	recorded bool
	// state is what systemd says after doInstall.
	state  systemd.State
	seen   bool
	reason string // doInstall: why systemd can't load it
	job    uint64 // doStart, doRestart, doStop: the number of the accepted job
	relink bool   // links were made or taken away

	jobEnd <-chan string // the loop's own: gets the job's result
}

// finished takes over how an operation went.
func (c *core) finished(now time.Time, r result) {
	h := c.units[r.action.name]
	if h == nil {
		return
	}
	h.op = ""
	c.touch(h.name)
	if r.recorded && r.action.before != nil {
		h.rec = r.action.before
	}
	if r.err != nil && r.recorded && r.action.verb == doInstall {
		unsure := *h.rec
		unsure.Disk = "" // the file may be missing, or systemd may not have read it
		h.rec = &unsure
	}
	if r.seen && (!h.seen || r.state.Newer(h.state)) {
		h.state, h.seen = r.state, true
	}
	if r.err != nil && r.recorded && (r.action.verb == doStart || r.action.verb == doRestart) {
		h.examine = true // it may have taken place all the same
	}
	switch {
	case r.err == nil:
	case errors.Is(r.err, systemd.ErrDisconnected), errors.Is(r.err, context.Canceled):
		// No word on the unit. Asked anew when systemd is back; a new unit has
		// nothing to be asked about.
		h.seen = h.seen && errors.Is(r.err, context.Canceled)
		h.retry = now.Add(backoff(0))
		return
	default:
		c.fail(h, now, r.err.Error())
		h.denied = errors.As(r.err, new(*systemd.RefusedError))
		h.killed = h.killed || r.action.verb == doKill
		return
	}
	if r.action.verb != doExamine { // which is but a look before the next attempt
		c.resetError(h)
	}
	c.succeeded(h, r)
}

func (c *core) succeeded(h *held, r result) {
	switch r.action.verb {
	case doRemove:
		h.rec, h.state, h.seen = nil, systemd.State{}, false
		h.stopped, h.stopping, h.starting, h.killed, h.examine = false, false, false, false, false
	case doKill:
		h.killed = true
	case doStop:
		h.rec = r.action.after
		h.job, h.stopping, h.starting, h.stopped = r.job, true, false, false
	case doStart, doRestart:
		h.rec = r.action.after
		h.job, h.begun = r.job, r.job
		h.starting, h.stopping, h.stopped, h.killed, h.examine = true, false, false, false, false
		h.renewing = r.action.verb == doRestart && h.state.Active == "active"
	case doInstall:
		h.rec = r.action.after
		if r.reason != "" {
			h.err, h.advisory = r.reason, true
		}
	case doNote, doExamine:
		h.rec = r.action.after
		h.examine = false
	}
}

// ended takes over how one of systemd's jobs ended, along with the unit's state
// after it. The result is empty if the connection broke meanwhile.
func (c *core) ended(now time.Time, name unit.Name, job uint64, result string) {
	h := c.units[name]
	if h == nil || h.job != job {
		return // another job has replaced it
	}
	c.touch(name)
	h.starting = false
	if h.stopping {
		h.stopping = false
		switch {
		case !h.seen: // asked again when systemd is back
		case down(h.state):
			h.stopped = true
		default:
			c.fail(h, now, "systemd says that it is "+h.state.Active+" ("+h.state.Sub+") after it was told to stop it: "+result)
		}
		return
	}
	if result == systemd.JobDone && h.rec != nil && h.rec.Simple && h.runs() {
		h.proof = now.Add(proofTime)
	}
	switch result {
	case "", systemd.JobDone, systemd.JobFailed, systemd.JobCanceled:
		if result == systemd.JobFailed && h.seen && h.state.Active == "inactive" {
			h.err, h.advisory = refused, true
		} // else the unit's state says it all
	case systemd.JobDependency:
		h.err, h.advisory = "systemd didn't start it: something that it requires failed (see `systemctl list-dependencies "+string(name)+"`)", true
	case systemd.JobTimeout:
		h.err, h.advisory = "systemd gave up on starting it: its job timed out", true
	default:
		h.err, h.advisory = "systemd didn't start it: "+result, true
	}
}
