package agent

import (
	"context"
	"time"

	"github.com/fleet-project/fleet/registry"
)

// driver does what the loop leaves to others, so as to wait for nothing. Its
// methods are the loop's to call, but for post.
type driver interface {
	// operate does f.
	operate(f func())
	// post has the loop run f.
	post(f func(now time.Time))
	// await has the loop run then when a job has ended.
	await(jobEnd <-chan string, then func(now time.Time, ending string))
	// follow gives f the schedule, from a snapshot on, until cancel.
	follow(f *follower) (cancel func())
}

// goroutines is the driver of an agent that is Run.
type goroutines struct{ *Agent }

func (a goroutines) operate(f func()) { a.ops.Go(f) }

func (a goroutines) post(f func(now time.Time)) {
	select {
	case a.events <- f:
	case <-a.stopped:
	}
}

func (a goroutines) await(jobEnd <-chan string, then func(now time.Time, ending string)) {
	a.waits.Go(func() {
		select {
		case <-a.life.Done():
		case ending := <-jobEnd:
			a.post(func(now time.Time) { then(now, ending) })
		}
	})
}

func (a goroutines) follow(f *follower) (cancel func()) {
	ctx, cancel := context.WithCancel(a.life)
	a.waits.Go(func() {
		defer cancel()
		for {
			err := a.opts.Registry.FollowMachine(ctx, a.id, func(u registry.Update) error {
				if take := a.updated(f, u); take != nil {
					select {
					case <-ctx.Done():
					case a.events <- take:
					}
				}
				return ctx.Err()
			})
			if ctx.Err() != nil {
				return
			}
			a.log.WithError(err).Error("following the schedule ended; starting over")
			select {
			case <-ctx.Done():
				return
			case <-a.clock.After(retryAfter):
			}
		}
	})
	return cancel
}
