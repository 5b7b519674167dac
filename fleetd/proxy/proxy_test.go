package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// next gives a watch's next response.
func next(t testing.TB, w clientv3.WatchChan) clientv3.WatchResponse {
	t.Helper()
	select {
	case resp, open := <-w:
		if !open {
			t.Fatal("the watch is closed")
		}
		return resp
	case <-time.After(patience):
		t.Fatal("the watch is silent")
	}
	return clientv3.WatchResponse{}
}

// What fleetd asks of etcd works through a proxy as it does at a member.
func TestAsAtAMember(t *testing.T) {
	t.Parallel()
	e := newEtcd(t, 3)
	p := e.proxy(t)
	c := e.client(t, p.url())
	must := func(t *testing.T, err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	first, err := c.Put(within(t), "a/first", "1")
	must(t, err)
	revision := first.Header.Revision

	t.Run("a fenced transaction", func(t *testing.T) {
		for want, rev := range map[bool]int64{true: revision, false: revision + 1} {
			resp, err := c.Txn(within(t)).If(clientv3.Compare(clientv3.CreateRevision("a/first"), "=", rev)).
				Then(clientv3.OpPut("a/txn", "x")).Else(clientv3.OpGet("a/first")).Commit()
			must(t, err)
			if resp.Succeeded != want {
				t.Errorf("fenced by revision %d: %v", rev, resp.Succeeded)
			}
		}
	})
	t.Run("a watch with history and previous values", func(t *testing.T) {
		ctx := clientv3.WithRequireLeader(within(t))
		w := c.Watch(ctx, "a/", clientv3.WithPrefix(), clientv3.WithRev(revision), clientv3.WithPrevKV(), clientv3.WithFragment())
		if ev := next(t, w).Events; string(ev[0].Kv.Key) != "a/first" || ev[0].PrevKv != nil {
			t.Errorf("%v", ev)
		}
		_, err := c.Put(within(t), "a/first", "2")
		must(t, err)
		for {
			ev := next(t, w).Events
			if string(ev[len(ev)-1].Kv.Value) == "2" {
				if string(ev[len(ev)-1].PrevKv.GetValue()) != "1" {
					t.Errorf("%v", ev)
				}
				return
			}
		}
	})
	// fleetd's API asks for progress before it answers.
	t.Run("progress on request", func(t *testing.T) {
		ctx := clientv3.WithRequireLeader(within(t))
		w := c.Watch(ctx, "b/", clientv3.WithPrefix(), clientv3.WithCreatedNotify())
		next(t, w)
		must(t, c.RequestProgress(ctx))
		if resp := next(t, w); !resp.IsProgressNotify() {
			t.Errorf("%v", resp)
		}
	})
	t.Run("a large change in fragments", func(t *testing.T) {
		w := c.Watch(within(t), "big", clientv3.WithPrefix(), clientv3.WithFragment())
		for i := range 4 {
			_, err := c.Put(within(t), fmt.Sprint("big", i), strings.Repeat("x", 1_000_000))
			must(t, err)
			if ev := next(t, w).Events; len(ev[0].Kv.Value) != 1_000_000 {
				t.Errorf("%d bytes", len(ev[0].Kv.Value))
			}
		}
		resp, err := c.Get(within(t), "big", clientv3.WithPrefix())
		must(t, err)
		if len(resp.Kvs) != 4 {
			t.Errorf("%d keys", len(resp.Kvs))
		}
	})
	t.Run("a compacted watch", func(t *testing.T) {
		now, err := c.Put(within(t), "c", "")
		must(t, err)
		_, err = c.Compact(within(t), now.Header.Revision)
		must(t, err)
		if resp := next(t, c.Watch(within(t), "a/", clientv3.WithRev(revision))); resp.CompactRevision != now.Header.Revision || !errors.Is(resp.Err(), rpctypes.ErrCompacted) {
			t.Errorf("%v", resp)
		}
	})
	t.Run("a lease, kept and lost", func(t *testing.T) {
		lease, err := c.Grant(within(t), 60)
		must(t, err)
		if resp, err := c.KeepAliveOnce(within(t), lease.ID); err != nil || resp.TTL != 60 {
			t.Errorf("%v %v", resp, err)
		}
		put, err := c.Put(within(t), "leased", "", clientv3.WithLease(lease.ID))
		must(t, err)
		w := c.Watch(within(t), "leased", clientv3.WithCreatedNotify(), clientv3.WithRev(put.Header.Revision+1))
		next(t, w)
		_, err = e.client(t, e.endpoint(2)).Revoke(within(t), lease.ID)
		must(t, err)
		if ev := next(t, w).Events[0]; ev.Type != clientv3.EventTypeDelete {
			t.Errorf("%v", ev)
		}
		if _, err := c.KeepAliveOnce(within(t), lease.ID); !errors.Is(err, rpctypes.ErrLeaseNotFound) {
			t.Errorf("a lost lease was renewed: %v", err)
		}
		if resp, err := c.TimeToLive(within(t), lease.ID); err != nil || resp.TTL != -1 {
			t.Errorf("%v %v", resp, err)
		}
	})
	t.Run("an election", func(t *testing.T) {
		sessions := make([]*concurrency.Session, 2)
		for i := range sessions {
			s, err := concurrency.NewSession(c, concurrency.WithTTL(60))
			must(t, err)
			sessions[i] = s
		}
		must(t, concurrency.NewElection(sessions[0], "e/").Campaign(within(t), "one"))
		won := make(chan error)
		go func() { won <- concurrency.NewElection(sessions[1], "e/").Campaign(within(t), "two") }()
		must(t, sessions[0].Close())
		must(t, <-won)
	})
	t.Run("etcd's own errors", func(t *testing.T) {
		if _, err := c.Put(within(t), "big", strings.Repeat("x", 1_900_000)); !errors.Is(err, rpctypes.ErrRequestTooLarge) {
			t.Error(err)
		}
		if _, err := c.Get(within(t), "a", clientv3.WithRev(1<<40)); !errors.Is(err, rpctypes.ErrFutureRev) {
			t.Error(err)
		}
		if _, err := c.MemberPromote(within(t), 1); !errors.Is(err, rpctypes.ErrMemberNotFound) {
			t.Error(err)
		}
	})
	t.Run("a client that goes", func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		w := c.Watch(ctx, "nothing")
		cancel()
		for range w { //nolint:revive // until it is closed
		}
	})
}
