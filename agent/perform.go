package agent

import (
	"context"
	"fmt"
	"time"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/unit"
)

// perform sets in motion what the core has decided.
func (a *Agent) perform(out output, now time.Time) {
	if out.cluster != nil {
		if err := a.records.SaveCluster(out.cluster); err != nil {
			a.log.WithError(err).Error("can't write down which cluster this host belongs to")
		}
	}
	if len(out.fetch) > 0 {
		a.fetch(out.fetch)
	}
	if len(out.forget) > 0 {
		a.sys.Unwatch(out.forget...)
	}
	a.ended = a.ended || out.final
	for name, s := range out.states {
		a.pending[name] = s
		if at := a.tellAt(s, now); a.publishAt.IsZero() || at.Before(a.publishAt) {
			a.publishAt = at
		}
	}
	a.ended = false
	a.unread = append(a.unread, out.logs...)
	for _, act := range out.actions {
		if act.verb == doInstall {
			a.installs = append(a.installs, act)
			continue
		}
		a.operate(func() {
			a.slots <- struct{}{}
			start := time.Now()
			r := a.do(a.opLife, act)
			<-a.slots
			a.measure(act.verb, []result{r}, start)
			a.done(r)
		})
	}
	a.installNext()
}

// installNext installs what waits, all of it together. One batch is under way at a
// time: what comes meanwhile goes with the next, so that a reload is shared by as
// many as can be.
func (a *Agent) installNext() {
	if len(a.installs) == 0 || a.installing {
		return
	}
	batch := a.installs
	a.installs, a.installing = nil, true
	a.operate(func() {
		start := time.Now()
		results := a.install(a.opLife, batch)
		a.measure(doInstall, results, start)
		a.done(results...)
		a.post(func(time.Time) { a.installing = false })
	})
}

// operate runs something that may go on a little after the loop's end.
func (a *Agent) operate(f func()) {
	a.active++
	a.driver.operate(func() {
		f()
		a.post(func(time.Time) { a.active-- })
	})
}

func (a *Agent) measure(v verb, results []result, start time.Time) {
	failed := 0
	for _, r := range results {
		if r.err != nil {
			failed++
			a.log.WithField("unit", r.action.name).WithError(r.err).Warnf("%s failed", v)
		}
	}
	a.metrics.operated(v, len(results), failed, start)
}

// fetch gets unit files, all in one call.
func (a *Agent) fetch(hashes []unit.Hash) {
	a.operate(func() {
		got, err := a.opts.Registry.Files(a.life, hashes)
		if err != nil && a.life.Err() == nil {
			a.log.WithError(err).Warn("can't get unit files from etcd; trying again")
		}
		a.post(func(now time.Time) { a.core.fetched(now, hashes, got, err) })
	})
}

// done tells the core how operations went, and has their jobs waited for.
func (a *Agent) done(results ...result) {
	a.post(func(now time.Time) {
		for _, r := range results {
			if r.jobEnd != nil {
				a.jobs++
				r.job = a.jobs
				a.await(r)
			}
			if r.err != nil && r.recorded && r.action.verb == doInstall {
				a.resync = true // what systemd makes of it, nobody has told yet
			}
			if r.relink {
				a.reloadAt = now.Add(reloadAfter)
			}
			a.core.finished(now, r)
		}
	})
}

// await waits for a job's end.
func (a *Agent) await(r result) {
	a.awaited++
	a.driver.await(r.jobEnd, func(now time.Time, ending string) { // empty if the connection broke
		a.awaited--
		end := jobEnd{name: r.action.name, job: r.job, result: ending}
		if r.action.verb == doStop {
			a.ends = append(a.ends, end)
			return
		}
		a.take() // systemd tells the unit's new state before the job's end
		a.ended = true
		a.core.ended(now, end.name, end.job, end.result)
	})
}

// do does one operation other than an install: write the intent, act, write
// what was done.
func (a *Agent) do(ctx context.Context, act action) (r result) {
	r.action = act
	if r.err = a.writeIntent(ctx, &r.action); r.err != nil {
		return r
	}
	r.recorded = true
	name := act.name
	switch act.verb {
	case doStart:
		if r.err = a.mayStart(act.after); r.err == nil {
			r.jobEnd, r.err = a.sys.Start(ctx, name)
		}
	case doRestart:
		if r.err = a.mayStart(act.after); r.err == nil {
			r.jobEnd, r.err = a.sys.Restart(ctx, name)
		}
	case doStop:
		if act.after.CutOff {
			var cancel context.CancelFunc
			ctx, cancel = a.soon(ctx)
			defer cancel()
		}
		r.jobEnd, r.err = a.sys.Stop(ctx, name)
		return r // its record is that of before: the intent stands until the unit is down
	case doKill:
		ctx, cancel := a.soon(ctx)
		defer cancel()
		r.err = a.sys.Kill(ctx, name)
	case doRemove:
		r.relink, r.err = act.disable, a.remove(ctx, act)
	case doExamine:
		var id string
		if id, r.err = a.sys.Invocation(ctx, name); r.err == nil {
			act.after = act.after.examined(id)
			r.action.after = act.after
		}
	}
	if r.err == nil && act.after != nil {
		if err := a.records.Save(act.after); err != nil {
			if act.verb == doNote || act.verb == doExamine {
				r.err = err
			}
			a.log.WithField("unit", name).WithError(err).Error("can't write down what was done")
		}
	}
	return r
}

// soon bounds what a lease that ends waits for: a systemd that hangs must not keep
// the next thing from being tried.
func (a *Agent) soon(ctx context.Context) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, a.opts.TTL/10)
}

// writeIntent writes action.before, with what systemd calls the unit's run now.
func (a *Agent) writeIntent(ctx context.Context, act *action) error {
	if act.before == nil {
		return nil
	}
	if in := act.before.Intent; in != nil && in.Target == unit.TargetLaunched && !act.claim {
		id, err := a.sys.Invocation(ctx, act.name)
		if err != nil {
			return err
		}
		act.before.Before = id
		if act.after != nil && act.after.Intent != nil {
			act.after.Before = id
		}
	}
	return a.records.Save(act.before)
}

// remove takes a stopped unit away.
func (a *Agent) remove(ctx context.Context, act action) error {
	if act.disable {
		if err := a.sys.Disable(ctx, []unit.Name{act.name}); err != nil {
			a.log.WithField("unit", act.name).WithError(err).Warn("its [Install] links can't be taken away")
		}
	}
	if err := a.sys.ResetFailed(ctx, act.name); err != nil {
		return err
	}
	if err := a.sys.Remove(act.name); err != nil {
		return err
	}
	return a.records.Remove(act.name)
}

// install gives systemd a batch of units: one claim, all files, at most one
// reload, one look at the outcome.
func (a *Agent) install(ctx context.Context, acts []action) []result {
	results := make([]result, len(acts))
	var claims []systemd.File
	for i, act := range acts {
		results[i] = result{action: act}
		if act.claim {
			claims = append(claims, systemd.File{Name: act.name, Text: act.text})
		}
	}
	refused, err := a.sys.Claim(ctx, claims)
	failed(results, refused, err)
	var files []systemd.File
	var disable, enable, names []unit.Name
	for i := range results {
		r := &results[i]
		if r.err != nil {
			continue
		}
		if r.err = a.writeIntent(ctx, &r.action); r.err != nil {
			continue
		}
		r.recorded = true
		files = append(files, systemd.File{Name: r.action.name, Text: r.action.text})
		names = append(names, r.action.name)
		if r.action.disable {
			disable = append(disable, r.action.name)
		}
		if r.action.enable {
			enable = append(enable, r.action.name)
		}
	}
	if len(files) == 0 {
		return results
	}
	a.sys.Watch(names...)
	if err := a.sys.Disable(ctx, disable); err != nil {
		a.log.WithError(err).Warn("[Install] links can't be taken away")
	}
	unwritten, err := a.sys.Write(ctx, files)
	if failed(results, unwritten, err); err != nil {
		return results
	}
	if err := a.sys.Enable(ctx, enable); err != nil {
		// What is started by fleet doesn't need the links.
		a.log.WithError(err).Warn("units can't be enabled; their [Install] sections have no effect")
	}
	states, err := a.sys.States(ctx, names)
	failed(results, nil, err)
	for i := range results {
		if r := &results[i]; r.err == nil {
			a.installed(ctx, r, states[r.action.name])
		}
	}
	return results
}

// failed notes errors: each unit's own, and one of all of them.
func failed(results []result, own map[unit.Name]error, all error) {
	for i := range results {
		if r := &results[i]; r.err == nil {
			if r.err = own[r.action.name]; r.err == nil {
				r.err = all
			}
		}
	}
}

// installed looks at what systemd made of a unit's file, and writes down that
// the unit is installed.
func (a *Agent) installed(ctx context.Context, r *result, s systemd.State) {
	r.relink = r.action.disable || r.action.enable
	r.state, r.seen = s, true
	r.reason = a.loadError(ctx, r.action.name, s)
	if err := a.records.Save(r.action.after); err != nil {
		a.log.WithField("unit", r.action.name).WithError(err).Error("can't write down what was done")
	}
}

// loadError says why systemd couldn't make sense of a unit's file; empty if it
// could.
func (a *Agent) loadError(ctx context.Context, name unit.Name, s systemd.State) string {
	if s.Load == "loaded" || s.Load == "" {
		return ""
	}
	reason, err := a.sys.LoadError(ctx, name)
	if err != nil || reason == "" {
		reason = "see `systemctl status " + string(name) + "` on the host"
	}
	if s.Load == "masked" {
		return fmt.Sprintf("systemd has %s masked: an empty file or a link to /dev/null takes its place", name)
	}
	return fmt.Sprintf("systemd can't load %s (%s): %s", name, s.Load, reason)
}
