package registry

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Clock is the time as a registry goes by it, and what waits: the real one's, or
// a simulated world's.
type Clock interface {
	Now() time.Time
	// Sleep waits, or returns the context's error.
	Sleep(ctx context.Context, d time.Duration) error
	// Lock waits for a lock that others hold while they ask etcd.
	Lock(l *sync.Mutex)
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) Lock(l *sync.Mutex) { l.Lock() }

func (realClock) Sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// await waits for what a watch tells, at most as long; told says whether it did.
// A watch that is nil never tells anything.
func (r *Registry) await(ctx context.Context, watch clientv3.WatchChan, d time.Duration) (resp clientv3.WatchResponse, told bool, err error) {
	if watch == nil {
		return resp, false, r.clock.Sleep(ctx, d)
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return resp, false, ctx.Err()
	case resp = <-watch:
		return resp, true, nil
	case <-t.C:
		return resp, false, nil
	}
}
