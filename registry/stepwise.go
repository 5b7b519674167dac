package registry

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// A registry can be driven step by step, with a model in etcd's place: that is
// how engine/simulation has the real requests, compares, fences and leases under
// every fault it can think of. What runs there in one goroutine and in virtual
// time is in this file; everything else is what runs on hosts.

// Model takes etcd's place: it answers its protocol's requests as calls.
type Model struct {
	KV      pb.KVClient
	Lease   pb.LeaseClient
	Watcher clientv3.Watcher
	Clock   Clock
	// Random is where a new cluster's id comes from.
	Random io.Reader
	// Shuffle orders the transactions that would be on their way to etcd at the
	// same time: they are sent one after the other.
	Shuffle func(n int, swap func(i, j int))
	// Most is how many operations a leader's transaction has at most: with few, even
	// a small commit is several of them.
	Most int
}

// Over gives a registry over a model.
func Over(m Model, cfg Config) *Registry {
	r := newRegistry(cfg)
	client := clientv3.NewCtxClient(context.Background())
	client.KV = clientv3.NewKVFromKVClient(m.KV, nil)
	client.Lease = clientv3.NewLeaseFromLeaseClient(m.Lease, nil, 0)
	client.Watcher = m.Watcher
	r.etcd, r.clock, r.random, r.shuffle, r.most = client, m.Clock, m.Random, m.Shuffle, m.Most
	r.leaseClient = func() pb.LeaseClient { return m.Lease }
	return r
}

// Candidate is an engine that stands for election, step by step: it takes the
// library's session and election's place.
type Candidate struct {
	r       *Registry
	term    term
	granted time.Time
	ttl     time.Duration
}

// Stand puts up a candidate, on a lease of its own.
func (r *Registry) Stand(ctx context.Context, id machine.ID, ttl time.Duration) (*Candidate, error) {
	c := &Candidate{r: r, granted: r.clock.Now()}
	lease, err := r.grant(ctx, ttl)
	if err != nil {
		return nil, fmt.Errorf("a lease to lead on: %w", err)
	}
	c.ttl = time.Duration(lease.TTL) * time.Second
	c.term = term{key: fmt.Sprintf("%s/%x", r.keys.leader(), lease.ID), lease: lease.ID}
	resp, err := r.txn(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.CreateRevision(c.term.key), "=", 0)},
		[]clientv3.Op{clientv3.OpPut(c.term.key, string(id), clientv3.WithLease(lease.ID))}, clientv3.OpGet(c.term.key))
	if err != nil {
		return nil, fmt.Errorf("campaigning: %w", err)
	}
	c.term.rev = resp.Header.Revision
	if !resp.Succeeded {
		c.term.rev = resp.Responses[0].GetResponseRange().Kvs[0].CreateRevision
	}
	return c, nil
}

// Keep renews the candidate's lease until ctx ends, or the lease has ended or
// may have.
func (c *Candidate) Keep(ctx context.Context) {
	keeper{Lease: c.r.etcd.Lease, r: c.r, granted: c.granted, ttl: c.ttl}.keep(ctx, c.term.lease)
}

// Rivals is the prefix of all candidates' keys.
func (c *Candidate) Rivals() string { return c.r.keys.leader() + "/" }

// Elected gives the lead, or nil while others stand before this candidate. Who
// keeps the lease closes done when it is lost, and keeps it no more after end.
func (c *Candidate) Elected(ctx context.Context, done <-chan struct{}, end func()) (*Leadership, error) {
	resp, err := c.r.txn(ctx, nil, []clientv3.Op{clientv3.OpGet(c.Rivals(), clientv3.WithPrefix(),
		clientv3.WithMaxCreateRev(c.term.rev-1), clientv3.WithKeysOnly())})
	if err != nil {
		return nil, fmt.Errorf("campaigning: %w", err)
	}
	if len(resp.Responses[0].GetResponseRange().Kvs) > 0 {
		return nil, nil
	}
	l := &Leadership{r: c.r, term: c.term, done: done, end: end, version: 1}
	return l, l.confirm(ctx)
}

// Withdraw takes the candidate back.
func (c *Candidate) Withdraw(ctx context.Context) error { return c.r.revoke(ctx, c.term.lease) }

// Feed is Follow, step by step: who has it brings what the watch tells.
type Feed struct {
	r       *Registry
	ranges  []keyRange
	view    *record.View
	doubted <-chan struct{}
}

// Feed follows the whole cluster, as Follow does.
func (r *Registry) Feed() *Feed { return &Feed{r: r, ranges: r.whole()} }

// FeedOfMachine follows what FollowMachine does.
func (r *Registry) FeedOfMachine(id machine.ID) *Feed { return &Feed{r: r, ranges: r.ofMachine(id)} }

// Watched lists what is to be watched: single keys, and prefixes with their
// slash. The prefix itself stands for everything.
func (f *Feed) Watched() (keys []string) {
	for _, k := range f.ranges {
		if k.of != ofNothing {
			keys = append(keys, k.key)
		}
	}
	return keys
}

// Wants reports whether the feed is to be told of a key's event.
func (f *Feed) Wants(key string, deleted bool) bool {
	for _, k := range f.ranges {
		if k.has(key) && (k.of == ofChanges || k.of == ofDeletions && deleted) {
			return true
		}
	}
	return false
}

// Snapshot begins, or begins anew; the watch is to go on from the revision after
// the view's.
func (f *Feed) Snapshot(ctx context.Context) (Update, error) {
	f.doubted = f.r.doubted()
	view, err := f.r.snapshot(ctx, f.ranges)
	if err != nil {
		return Update{}, f.r.noted(ctx, err)
	}
	f.view = view
	return Update{Reset: true, View: view}, f.r.noted(ctx, nil)
}

// Take takes what the watch tells; an error says that a snapshot is to be taken
// anew.
func (f *Feed) Take(resp clientv3.WatchResponse) (Update, error) {
	return f.r.take(f.ranges, f.view, resp)
}

// Doubts is closed when a snapshot is to be taken anew though the watch tells
// nothing.
func (f *Feed) Doubts() <-chan struct{} { return f.doubted }

// Guarding follows the machine's own keys; [Presence.Guard] is to be told.
func (p *Presence) Guarding() *Feed { return &Feed{r: p.r, ranges: p.r.own(p.machine.ID)} }

// Guard takes what the feed of Guarding tells.
func (p *Presence) Guard(ctx context.Context, u Update) { p.guarded(ctx, u) }

// Renew is one turn of Run: it gives how long the next can wait, unless Sought.
func (p *Presence) Renew(ctx context.Context) (pause time.Duration, err error) { return p.turn(ctx) }

// Sought reports whether Renew is to be called at once.
func (p *Presence) Sought() bool {
	select {
	case <-p.lost:
		return true
	default:
		return false
	}
}
