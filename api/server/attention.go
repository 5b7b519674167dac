package server

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/fleet-project/fleet/registry"
)

// Every host has a server, and hardly any is asked. To follow the cluster is to be
// told each change to it, and to have all of it in memory: on a thousand hosts that
// would cost etcd a thousand times what one costs. So a server follows from the
// first request on, and rests again when there was none for a while.

// restAfter is how long after its last request a server goes on following. It is
// longer than whatever asks regularly leaves between two requests.
const restAfter = 10 * time.Minute

// attention knows whether somebody asks.
type attention struct {
	// wanted has room for one: there was a request.
	wanted chan struct{}

	mu     sync.Mutex
	asking int       // requests under way, watches too
	last   time.Time // when there was one last
}

func newAttention() *attention { return &attention{wanted: make(chan struct{}, 1)} }

// begin is before a request, and end after it.
func (a *attention) begin() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asking++
	select {
	case a.wanted <- struct{}{}:
	default:
	}
}

func (a *attention) end() {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asking--
	a.last = time.Now()
}

// idle gives for how much longer there must be no request, 0 if there was none for
// long enough.
func (a *attention) idle(long time.Duration) (rest time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asking > 0 {
		return long
	}
	return max(0, long-time.Since(a.last))
}

// rest calls forget, unless there is a request. One that comes meanwhile waits
// until that is done: what it is to be answered by must not go away under it.
func (a *attention) rest(forget func()) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.asking > 0 {
		return
	}
	select {
	case <-a.wanted: // by one that is over
	default:
	}
	forget()
}

// errRests ends following because nobody asks.
var errRests = errors.New("nobody asks")

// Run follows the cluster whenever somebody asks, until ctx ends.
func (s *Server) Run(ctx context.Context) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-s.attention.wanted:
		}
		if err := s.follow(ctx); !errors.Is(err, errRests) {
			return err
		}
		s.attention.rest(func() {
			s.cache.rest()
			s.explainer.rest()
		})
	}
}

// follow follows the cluster until nobody asks any more.
func (s *Server) follow(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var looking sync.WaitGroup
	defer looking.Wait()
	defer cancel(nil) // before it is waited for
	looking.Go(func() {
		long := s.opts.RestAfter
		for timer := time.NewTimer(long); ; {
			select {
			case <-ctx.Done():
				timer.Stop()
				return
			case <-timer.C:
			}
			left := s.attention.idle(long)
			if left == 0 {
				cancel(errRests)
				return
			}
			timer.Reset(left)
		}
	})
	err := s.opts.Registry.Follow(ctx, func(u registry.Update) error {
		s.cache.update(u)
		s.explainer.note(u)
		return nil
	})
	if errors.Is(context.Cause(ctx), errRests) {
		return errRests
	}
	return err
}

// rest forgets the cluster.
func (c *cache) rest() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.reset()
	c.loaded = false
}

// rest forgets the planner.
func (e *explainer) rest() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.planner, e.pending = nil, nil
}
