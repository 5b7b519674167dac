package simulation

import (
	"context"
	"slices"
	"time"

	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/etcdmodel"
)

// link is one host's way to etcd, and what is wrong with it.
type link struct {
	drift      float64       // of the host's clocks
	set        time.Duration // ahead of the truth, to which the host's wall clock was set
	slept      time.Duration // how long the host was suspended, altogether
	latency    time.Duration // of one way, on average
	deaf, mute bool          // nothing comes from etcd, or gets there
	loss       int           // of a hundred requests: not carried out, or not answered, or late
	lag        time.Duration // of what watches tell, beside the latency
}

func (l *link) reaches() bool { return !l.deaf && !l.mute }

// how long a request that was given up may still be on its way.
const lateAtMost = 20 * time.Second

// send is a request's way there and back. It takes its time; and it gets lost,
// on the way there or back, or is late, as the faults want it.
func (p *process) send(writes bool, do func()) error {
	p.mustLive()
	w, l := p.world, p.link
	if p.leads && writes && w.faults.midBatch > 0 && w.rand.IntN(1000) < w.faults.midBatch {
		w.interruptLeader(p)
		p.sleep(time.Millisecond) // of its own time
	}
	do = w.by(p, do)
	t, answered := w.running, false
	turn := t.turn
	arrive := func(answer bool) {
		if l.mute || w.down() {
			if writes && w.rand.IntN(3) == 0 { // a member has it, and passes it on when it can
				w.count("late write")
				w.after(w.someTime(lateAtMost), func() {
					if !w.down() {
						do()
					}
				})
			}
			return
		}
		do()
		if !answer {
			return
		}
		w.after(w.oneWay(l), func() {
			if l.deaf || w.down() || p.dead {
				return
			}
			if answered = true; t.turn == turn {
				p.resume(t)
			}
		})
	}
	switch fate := w.rand.IntN(100); {
	case fate >= l.loss:
		w.after(w.oneWay(l), func() { arrive(true) })
	case fate%3 == 0:
		w.count("lost request")
	case fate%3 == 1:
		w.count("lost answer")
		w.after(w.oneWay(l), func() { arrive(false) })
	default:
		w.count("late write")
		w.after(requestTimeout+w.someTime(lateAtMost), func() { arrive(false) })
	}
	for end := p.monotonic() + requestTimeout; !answered; {
		if p.monotonic() >= end {
			return context.DeadlineExceeded
		}
		p.wake(t, p.trueTime(end))
		turn = t.turn
		t.wait()
	}
	return nil
}

// oneWay is how long a message takes.
func (w *world) oneWay(l *link) time.Duration {
	return l.latency/2 + time.Duration(w.rand.Int64N(int64(l.latency))) + w.slowness
}

// someTime is a time up to that, short ones more often.
func (w *world) someTime(atMost time.Duration) time.Duration {
	x := w.rand.Float64()
	return time.Duration(x * x * float64(atMost))
}

// following is a watch: a stream of its own, in order, late, and silent while it
// is cut.
type following struct {
	process *process
	keys    []string // watched: single ones, and prefixes
	wants   func(key string, deleted bool) bool
	untold  []etcdmodel.Event // that it wants and has not taken, in order
	arrived int64             // up to this revision, events have come
	next    time.Time
	more    chan struct{}
	stopped bool
}

// watch has events that concern keys arrive at the following from now on.
func (w *world) watch(f *following) {
	f.process.feeds = append(f.process.feeds, f)
	for _, key := range f.keys {
		w.watched[key] = append(w.watched[key], f)
	}
}

func (w *world) unwatch(f *following) {
	f.stopped = true
	for _, key := range f.keys {
		w.watched[key] = slices.DeleteFunc(w.watched[key], func(x *following) bool { return x == f })
	}
}

// committed tells the followings of an event.
func (w *world) committed(e etcdmodel.Event) {
	key := string(e.Kv.Key)
	tell := func(at string) {
		for _, f := range w.watched[at] {
			if f.wants(key, e.Deleted) {
				f.untold = append(f.untold, e)
				w.deliver(f, e.Kv.ModRevision)
			}
		}
	}
	tell(key)
	for i, c := range key {
		if c == '/' {
			tell(key[:i+1])
		}
	}
}

// deliver has a following hear of all events up to a revision, after those
// before.
func (w *world) deliver(f *following, rev int64) {
	l := f.process.link
	at := w.now.Add(w.oneWay(l) + l.lag)
	if at.Before(f.next) {
		at = f.next
	}
	f.next = at
	w.at(at, func() {
		if f.stopped || l.deaf || w.down() {
			return // it is told when the way is free again
		}
		f.arrived = max(f.arrived, rev)
		signal(f.more)
		w.touch(f.process)
	})
}

// take gives what it wants of what happened after one revision up to another.
func (f *following) take(since, upTo int64) (events []etcdmodel.Event) {
	for len(f.untold) > 0 && f.untold[0].Kv.ModRevision <= upTo {
		if f.untold[0].Kv.ModRevision > since {
			events = append(events, f.untold[0])
		}
		f.untold = f.untold[1:]
	}
	return events
}

// heal has a host's followings hear of what they have missed.
func (w *world) heal(p *process) {
	for _, f := range p.feeds {
		w.deliver(f, w.store.Revision())
	}
}

// Follow is Process's.
func (p *process) Follow(feed *registry.Feed, tell func(ctx context.Context, u registry.Update)) (stop func()) {
	w := p.world
	f := &following{process: p, keys: feed.Watched(), wants: feed.Wants, more: make(chan struct{}, 1)}
	w.watch(f)
	p.Go(func(ctx context.Context) {
		for !f.stopped {
			u, err := feed.Snapshot(ctx)
			if err != nil {
				p.sleep(retryPause)
				continue
			}
			rev := u.View.Revision
			w.deliver(f, w.store.Revision()) // what happened since
			for err == nil && !f.stopped {
				tell(ctx, u)
				for !f.stopped && f.arrived <= rev && !closed(feed.Doubts()) {
					p.await(ctx, f.more, feed.Doubts(), time.Time{})
				}
				if closed(feed.Doubts()) {
					break
				}
				upTo := f.arrived
				u, err = feed.Take(w.store.Tell(rev, f.take(rev, upTo)))
				rev = upTo
			}
			if err != nil {
				w.count("watch compacted")
			}
		}
	})
	return func() { w.unwatch(f) }
}

// retryPause is how long a registry waits before it begins to follow anew.
const retryPause = 500 * time.Millisecond
