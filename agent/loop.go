package agent

import (
	"context"
	"time"
)

// loop owns the core.
func (a *Agent) loop(ctx context.Context) {
	for {
		wake := a.turn(a.clock.Now())
		var timer <-chan time.Time
		if !wake.IsZero() {
			timer = a.clock.After(max(wake.Sub(a.clock.Now()), 0))
		}
		select {
		case <-ctx.Done():
			return
		case f := <-a.events:
			now := a.clock.Now()
			f(now)
			a.drain(now)
		case <-a.sys.Changed():
			a.take()
		case <-timer:
		}
	}
}

// drain takes in what else has happened, so that it is decided on together.
func (a *Agent) drain(now time.Time) {
	for range drain {
		select {
		case f := <-a.events:
			f(now)
		default:
			return
		}
	}
}

// post has the loop run f; without effect once it has ended.
func (a *Agent) post(f func(now time.Time)) { a.driver.post(f) }

// take takes over what systemd has signalled.
func (a *Agent) take() {
	changes := a.sys.Take()
	a.core.observe(changes.States)
	a.resync = a.resync || changes.Resync
}

// turn does whatever is due, and says when it wants to be called again though
// nothing happened.
func (a *Agent) turn(now time.Time) time.Time {
	wake := a.updateReach(now)
	out := a.core.settle(now)
	a.perform(out, now)
	if a.safe != nil && a.core.noneOutlives() {
		a.safe()
	}
	a.askEnds()
	a.readLogs()
	for _, next := range []time.Time{out.wake, a.publish(now), a.askAll(now), a.reload(now), a.compare(now)} {
		wake = earlier(wake, next)
	}
	a.report()
	return wake
}

// report makes the loop's view visible outside of it.
func (a *Agent) report() {
	health := a.core.suspended()
	active, changed := a.core.counted()
	a.mu.Lock()
	a.health = health
	if changed {
		a.units = 0
		for _, n := range active {
			a.units += n
		}
	}
	a.mu.Unlock()
	a.metrics.told(a.core.lost(health), a.core.reach != reachable, a.active)
	if changed {
		a.metrics.counted(active)
	}
	if len(a.emptied) > 0 && a.empty() {
		for _, c := range a.emptied {
			close(c)
		}
		a.emptied = nil
	}
}

// empty reports whether nothing of fleet's is left on this host, and others have
// been told.
func (a *Agent) empty() bool { return a.core.empty() && len(a.pending) == 0 && !a.putting }

// finish waits for all that Run has begun.
func (a *Agent) finish(cancelOps func()) {
	done := make(chan struct{})
	go func() {
		a.ops.Wait()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(grace):
	}
	cancelOps()
	<-done
	a.waits.Wait()
}
