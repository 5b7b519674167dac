package simulation

import (
	"context"
	"iter"
	"slices"
	"time"
)

// task is a piece of a process that waits: a coroutine, of which one in the whole
// world runs at a time, and which hands over wherever it waits.
type task struct {
	process *process
	next    func() (struct{}, bool)
	stop    func()
	yield   func(struct{}) bool
	turn    uint64 // grows with each wait: what would wake an earlier one is stale
	// What it waits for, besides a time.
	ready, lost <-chan struct{}
	waking      bool
}

// ended unwinds a task whose process is dead.
type ended struct{}

// Go begins a task.
func (p *process) Go(f func(ctx context.Context)) {
	if p.dead {
		return
	}
	t := &task{process: p}
	t.next, t.stop = iter.Pull(func(yield func(struct{}) bool) {
		t.yield = yield
		defer func() {
			if r := recover(); r != nil && r != (ended{}) {
				panic(r)
			}
		}()
		f(p.life)
	})
	p.tasks = append(p.tasks, t)
	p.wake(t, p.world.now)
}

// wake has a task go on at a time, unless it has gone on by then.
func (p *process) wake(t *task, at time.Time) {
	turn := t.turn
	p.world.at(at, func() {
		if t.turn == turn {
			p.resume(t)
		}
	})
}

// resume lets a task go on until it waits again.
func (p *process) resume(t *task) {
	w := p.world
	switch {
	case p.dead:
		return
	case w.now.Before(p.frozen):
		p.wake(t, p.frozen)
		return
	}
	w.touch(p)
	t.turn++
	t.waking, t.ready, t.lost = false, nil, nil
	before := w.running
	w.running = t
	_, more := t.next()
	w.running = before
	if !more {
		p.tasks = slices.DeleteFunc(p.tasks, func(x *task) bool { return x == t })
	}
}

// wait ends the task's turn.
func (t *task) wait() {
	if t.process.mustLive(); !t.yield(struct{}{}) {
		panic(ended{})
	}
}

// mustLive unwinds the task, which may be doing so already, if its process is dead.
func (p *process) mustLive() {
	if p.dead {
		panic(ended{})
	}
}

// sleep has the running task wait, by the host's monotonic clock.
func (p *process) sleep(d time.Duration) {
	p.mustLive()
	t := p.world.running
	end := p.monotonic() + d
	for {
		p.wake(t, p.trueTime(end))
		if t.wait(); p.monotonic() >= end {
			return
		}
	}
}

// Await is Process's.
func (p *process) Await(ctx context.Context, ready <-chan struct{}, until time.Time) {
	p.await(ctx, ready, nil, until)
}

// await returns also when lost is closed.
func (p *process) await(ctx context.Context, ready, lost <-chan struct{}, until time.Time) {
	p.mustLive()
	t := p.world.running
	end := p.monotonic() + until.Sub(p.Now()) // of a timer, which goes by no other clock
	for {
		select {
		case <-ready:
			return
		case <-lost:
			return
		default:
		}
		if ctx.Err() != nil || !until.IsZero() && p.monotonic() >= end {
			return
		}
		if !until.IsZero() {
			p.wake(t, p.trueTime(end))
		}
		t.ready, t.lost = ready, lost
		t.wait()
	}
}

// look wakes the tasks for which something is there.
func (p *process) look() {
	for _, t := range p.tasks {
		if t.waking || t.ready == nil && t.lost == nil || len(t.ready) == 0 && !closed(t.lost) {
			continue
		}
		t.waking = true
		p.wake(t, p.world.now)
	}
}

func closed(c <-chan struct{}) bool {
	select {
	case <-c:
		return c != nil
	default:
		return false
	}
}
