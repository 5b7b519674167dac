package registry

import (
	"context"
	"fmt"
	"sync"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// asking has those who want to know etcd's revision at the same time ask it once.
// An answer is good for everybody who came before the question was sent; who
// comes while it is on its way waits for the next one.
type asking struct {
	mu     sync.Mutex
	next   *round // that new ones wait for; nil: nobody waits
	busy   bool   // a question is on its way
	rounds sync.WaitGroup
}

// round is one question, and its answer once done is closed.
type round struct {
	done chan struct{}
	rev  int64
	err  error
}

// Revision asks etcd for its revision now, linearizably: all that was
// acknowledged before the call is at or below it.
func (r *Registry) Revision(ctx context.Context) (int64, error) {
	a := &r.asking
	a.mu.Lock()
	if a.next == nil {
		a.next = &round{done: make(chan struct{})}
	}
	mine := a.next
	if !a.busy {
		a.busy = true
		a.rounds.Go(r.askRevision)
	}
	a.mu.Unlock()
	select {
	case <-ctx.Done():
		return 0, fmt.Errorf("etcd does not answer: %w", r.noted(ctx, ctx.Err()))
	case <-mine.done:
		return mine.rev, mine.err
	}
}

// askRevision asks until nobody wants to know.
func (r *Registry) askRevision() {
	a := &r.asking
	for {
		a.mu.Lock()
		now := a.next
		a.next = nil
		a.busy = now != nil
		a.mu.Unlock()
		if now == nil {
			return
		}
		now.rev, now.err = r.revision(r.etcd.Ctx()) // not on one caller's context: it is everybody's
		close(now.done)
	}
}

func (r *Registry) revision(ctx context.Context) (int64, error) {
	ctx, cancel := context.WithTimeout(ctx, r.requestTimeout())
	defer cancel()
	resp, err := r.etcd.Get(ctx, r.keys.cluster(), clientv3.WithCountOnly())
	if err = r.noted(ctx, err); err != nil {
		return 0, fmt.Errorf("etcd does not answer: %w", err)
	}
	return resp.Header.Revision, nil
}
