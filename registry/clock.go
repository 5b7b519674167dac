package registry

import (
	"context"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
)

// Clock is the time as a registry goes by it: the real one, or a simulated
// world's.
type Clock interface {
	Now() time.Time
	// Sleep waits, or returns the context's error.
	Sleep(ctx context.Context, d time.Duration) error
	// Lock waits for a lock that others hold while they ask etcd.
	Lock(l *sync.Mutex)
	// Await waits as long for what a watch tells; told says whether it did.
	Await(ctx context.Context, watch clientv3.WatchChan, d time.Duration) (resp clientv3.WatchResponse, told bool, err error)
}

type realClock struct{}

func (realClock) Now() time.Time { return time.Now() }

func (realClock) Lock(l *sync.Mutex) { l.Lock() }

func (c realClock) Sleep(ctx context.Context, d time.Duration) error {
	_, _, err := c.Await(ctx, nil, d)
	return err
}

func (realClock) Await(ctx context.Context, watch clientv3.WatchChan, d time.Duration) (resp clientv3.WatchResponse, told bool, err error) {
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
