package registry

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"go.etcd.io/etcd/api/v3/mvccpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

var (
	errCompacted   = errors.New("the watched revisions were compacted")
	errWatchClosed = errors.New("etcd ended the watch")
	errDoubted     = errors.New("etcd may not hold what it held")
)

// snapshotTimeout bounds one page of a snapshot: a large cluster may need more
// than a single request's time.
const snapshotTimeout = 10 * time.Second

// A snapshot is read in pages, so that no answer nears etcd's and gRPC's limits on
// a message. For each, etcd counts all keys that are left: few large ones cost it
// much less than many small ones.
const (
	firstPage = 1000    // keys, while nobody knows how large they are
	pageBytes = 4 << 20 // what the next page should come to
	largePage = 20000
)

// nextPage is how many keys to ask for, by what the last page came to.
func nextPage(kvs []*mvccpb.KeyValue) int64 {
	size := 0
	for _, kv := range kvs {
		size += len(kv.Key) + len(kv.Value)
	}
	return int64(min(largePage, max(100, pageBytes*len(kvs)/max(size, 1))))
}

// Update tells a follower what became different.
type Update struct {
	// Reset: the view was rebuilt from a snapshot; Changes is nil, start over.
	Reset   bool
	Changes []record.Change
	// View is the state after the changes. It belongs to Follow: read it only
	// during the call.
	View *record.View
}

// Follow calls fn with a snapshot of the whole cluster, then with every change
// to it, from one goroutine and in order. A call without changes says that the
// view is complete up to a later revision. Follow outlives compaction (it
// starts over from a snapshot) and etcd's absence; it ends with ctx, or with
// fn's error.
func (r *Registry) Follow(ctx context.Context, fn func(Update) error) error {
	return r.follow(ctx, r.whole(), fn)
}

// FollowMachine is Follow for what one machine is told: the cluster key and its
// schedule. The view holds besides what the machine said of its units, as it was
// at the snapshot: it is the machine itself that says it. The two are watched side
// by side: changes are in order within each, and the view's revision is that of
// the latest change.
func (r *Registry) FollowMachine(ctx context.Context, id machine.ID, fn func(Update) error) error {
	return r.follow(ctx, r.ofMachine(id), fn)
}

func (r *Registry) whole() []keyRange { return []keyRange{prefixed(string(r.keys))} }

func (r *Registry) ofMachine(id machine.ID) []keyRange {
	return []keyRange{
		single(r.keys.cluster()),
		prefixed(r.keys.scheduleOf(id)),
		prefixed(r.keys.statesOf(id)).told(ofNothing),
	}
}

// keyRange is [key, end), or the one key when end is empty.
type keyRange struct {
	key, end string
	of       interest
}

// interest is what a range's follower wants to be told after the snapshot. What
// isn't asked for, etcd doesn't send.
type interest int

const (
	ofChanges   interest = iota
	ofDeletions          // alone; the view doesn't hold what was put meanwhile
	ofNothing
)

func (k keyRange) told(of interest) keyRange {
	k.of = of
	return k
}

// has reports whether a key is in the range.
func (k keyRange) has(key string) bool {
	return key == k.key || key > k.key && key < k.end
}

func single(key string) keyRange { return keyRange{key: key} }
func prefixed(prefix string) keyRange {
	return keyRange{key: prefix, end: clientv3.GetPrefixRangeEnd(prefix)}
}

func (k keyRange) option() clientv3.OpOption {
	if k.end == "" {
		return func(*clientv3.Op) {}
	}
	return clientv3.WithRange(k.end)
}

// followError marks what the follower itself returned, which ends Follow.
type followError struct{ error }

func (r *Registry) follow(ctx context.Context, ranges []keyRange, fn func(Update) error) error {
	call := func(u Update) error {
		if err := fn(u); err != nil {
			return followError{err}
		}
		return nil
	}
	for {
		doubted := r.doubted()
		view, err := r.snapshot(ctx, ranges)
		if err == nil {
			_ = r.noted(ctx, nil)
			if err = call(Update{Reset: true, View: view}); err == nil {
				err = r.watch(ctx, ranges, view, doubted, call)
			}
		}
		var own followError
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case errors.As(err, &own):
			return own.error
		case errors.Is(err, errCompacted), errors.Is(err, rpctypes.ErrCompacted):
			r.metrics.restarts.WithLabelValues(restartCompacted).Inc()
			continue
		case errors.Is(err, errDoubted):
			r.metrics.restarts.WithLabelValues(restartDoubted).Inc()
			continue
		}
		r.metrics.restarts.WithLabelValues(restartError).Inc()
		_ = r.noted(ctx, err)
		if err := r.clock.Sleep(ctx, retryPause); err != nil {
			return err
		}
	}
}

// doubt has every follower start over from a snapshot. An etcd that lost its
// data, or was restored from a backup, is at an earlier revision: watches would
// wait in silence until it is as far again.
func (r *Registry) doubt() {
	r.mu.Lock()
	defer r.mu.Unlock()
	close(r.doubts)
	r.doubts = make(chan struct{})
}

// doubted is closed by the next doubt.
func (r *Registry) doubted() <-chan struct{} {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.doubts
}

// snapshot reads all ranges at one revision.
func (r *Registry) snapshot(ctx context.Context, ranges []keyRange) (*record.View, error) {
	view := record.NewView()
	unsound := map[string]bool{} // if they were before
	for _, k := range ranges {
		from, limit := k.key, int64(firstPage)
		for more := true; more; {
			resp, err := r.page(ctx, from, k, view.Revision, limit)
			if err != nil {
				return nil, err
			}
			if view.Revision == 0 {
				view.Revision = resp.Header.Revision
			}
			for _, kv := range resp.Kvs {
				if r.apply(view, kv, false) == nil && r.unsounds.Load() > 0 {
					unsound[string(kv.Key)] = true
				}
			}
			if more = resp.More; more {
				from, limit = string(resp.Kvs[len(resp.Kvs)-1].Key)+"\x00", nextPage(resp.Kvs)
			}
		}
	}
	if r.unsounds.Load() > 0 {
		r.gone(ranges, unsound)
	}
	return view, nil
}

func (r *Registry) page(ctx context.Context, from string, k keyRange, rev, limit int64) (*clientv3.GetResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, max(r.requestTimeout(), snapshotTimeout))
	defer cancel()
	resp, err := r.etcd.Get(ctx, from, k.option(), clientv3.WithRev(rev), clientv3.WithLimit(limit),
		clientv3.WithSort(clientv3.SortByKey, clientv3.SortAscend))
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's state: %w", err)
	}
	return resp, nil
}

// watch delivers changes from the view's next revision on. It returns only
// with an error: errCompacted when a snapshot must be taken anew.
func (r *Registry) watch(ctx context.Context, ranges []keyRange, view *record.View, doubted <-chan struct{}, call func(Update) error) error {
	ctx, cancel := context.WithCancel(clientv3.WithRequireLeader(ctx))
	var forwarding sync.WaitGroup
	defer forwarding.Wait()
	defer cancel()

	responses := make(chan clientv3.WatchResponse)
	for _, k := range ranges {
		opts := []clientv3.OpOption{k.option(), clientv3.WithRev(view.Revision + 1), clientv3.WithProgressNotify(), clientv3.WithFragment()}
		switch k.of {
		case ofNothing:
			continue
		case ofDeletions:
			opts = append(opts, clientv3.WithFilterPut())
		}
		w := r.etcd.Watch(ctx, k.key, opts...)
		forwarding.Go(func() { forward(ctx, w, responses) })
	}
	for {
		var resp clientv3.WatchResponse
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-doubted:
			return errDoubted
		case resp = <-responses:
		}
		u, err := r.take(ranges, view, resp)
		if err == nil {
			err = call(u)
		}
		if err != nil {
			return err
		}
	}
}

// take takes one response of a watch over into the view.
func (r *Registry) take(ranges []keyRange, view *record.View, resp clientv3.WatchResponse) (Update, error) {
	switch {
	case resp.CompactRevision != 0:
		return Update{}, errCompacted
	case resp.Err() != nil:
		return Update{}, resp.Err()
	case resp.Canceled:
		return Update{}, errWatchClosed
	}
	u := Update{View: view}
	for _, ev := range resp.Events {
		gone := ev.Type == mvccpb.Event_DELETE
		c := r.apply(view, ev.Kv, gone)
		if c == nil && gone {
			c = r.keys.unseen(ev.Kv, ranges)
		}
		if c != nil {
			u.Changes = append(u.Changes, c)
		}
		// The header's revision may run ahead of the events while the
		// watch catches up: the events' own say how far the view is.
		view.Revision = max(view.Revision, ev.Kv.ModRevision)
	}
	if resp.IsProgressNotify() && len(ranges) == 1 {
		view.Revision = max(view.Revision, resp.Header.Revision)
	}
	r.history.told(view.Revision)
	r.metrics.told(u.Changes)
	return u, nil
}

// forward passes one watch's responses on, and its end as a cancelled one.
func forward(ctx context.Context, w clientv3.WatchChan, to chan<- clientv3.WatchResponse) {
	for {
		resp, open := <-w
		if !open {
			resp = clientv3.WatchResponse{Canceled: true}
		}
		select {
		case <-ctx.Done():
			return
		case to <- resp:
		}
		if !open {
			return
		}
	}
}

// apply makes one key's event true in the view. What cannot be read is said,
// and changes nothing: missing is not empty.
func (r *Registry) apply(view *record.View, kv *mvccpb.KeyValue, gone bool) record.Change {
	if !gone {
		r.noteLease(kv)
	}
	c, err := r.keys.change(kv, gone, view)
	if err != nil {
		r.unreadable(kv, err)
		return nil
	}
	r.readable(kv.Key)
	if c != nil {
		view.Apply(c)
	}
	return c
}

// noteLease remembers the lease that a machine lives on. All its keys are on it;
// but the presence key is the one that moves first when the lease is replaced.
func (r *Registry) noteLease(kv *mvccpb.KeyValue) {
	id, presence := r.keys.owner(kv.Key)
	if id == "" {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if _, known := r.leases[id]; presence || !known {
		r.leases[id] = clientv3.LeaseID(kv.Lease)
	}
}

// leaseOf gives the lease that a machine's keys were last seen on.
func (r *Registry) leaseOf(id machine.ID) clientv3.LeaseID {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.leases[id]
}

// Gone reports whether a machine whose presence vanished is truly gone: its
// lease has ended too. A key that was deleted by hand is put back by its agent
// within moments, so the engine asks before it moves units.
func (r *Registry) Gone(ctx context.Context, id machine.ID) (bool, error) {
	lease, err := r.timeToLive(ctx, r.leaseOf(id))
	if err != nil {
		return false, fmt.Errorf("asking whether machine %s is gone: %w", id.Short(), err)
	}
	return lease.left < 0, nil
}
