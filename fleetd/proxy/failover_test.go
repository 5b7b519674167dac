package proxy_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/fleetd/proxy"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// requestTimeout is fleetd's, for one request.
const requestTimeout = time.Second

// retried makes a request as fleetd does: anew when it failed.
func retried(t *testing.T, what string, do func(context.Context) error) {
	t.Helper()
	await(t, what, func() error {
		ctx, cancel := context.WithTimeout(t.Context(), requestTimeout)
		defer cancel()
		return do(ctx)
	})
}

// follow hands each value of a key on, as fleetd follows etcd: by one watch,
// which etcd's client takes up again by itself.
func follow(t *testing.T, c *clientv3.Client, key string) <-chan string {
	w := c.Watch(clientv3.WithRequireLeader(t.Context()), key, clientv3.WithCreatedNotify())
	next(t, w)
	values := make(chan string, 1000)
	go func() {
		defer close(values)
		rev := int64(0)
		for {
			resp, open := <-w
			if t.Context().Err() != nil {
				return
			}
			if !open || resp.Err() != nil { // as fleetd: from there on
				opts := []clientv3.OpOption{clientv3.WithRev(rev + 1)}
				w = c.Watch(clientv3.WithRequireLeader(t.Context()), key, opts...)
				continue
			}
			for _, ev := range resp.Events {
				rev = ev.Kv.ModRevision
				values <- string(ev.Kv.Value)
			}
		}
	}()
	return values
}

// expect reads values until this one.
func expect(t *testing.T, values <-chan string, want string) {
	t.Helper()
	end := time.After(patience)
	for {
		select {
		case v := <-values:
			if v == want {
				return
			}
		case <-end:
			t.Fatalf("%q never came", want)
		}
	}
}

// Each member is lost and comes back, by turns: requests, the watch and the lease
// go on.
func TestMembersDieByTurns(t *testing.T) {
	t.Parallel()
	e := newEtcd(t, 3)
	p := e.proxy(t)
	c := e.client(t, p.url())
	values := follow(t, c, "k")
	lease, err := c.Grant(within(t), 10)
	if err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 3; n++ {
		e.kill(n)
		// An election of etcd's own comes before a write, if that was the leader.
		retried(t, "a leader", func(ctx context.Context) error {
			_, err := e.client(t, e.endpoints()...).Get(ctx, "k")
			return err
		})
		for i := range 20 {
			retried(t, "a read", func(ctx context.Context) error { _, err := c.Get(ctx, "k"); return err })
			retried(t, "a renewal", func(ctx context.Context) error { _, err := c.KeepAliveOnce(ctx, lease.ID); return err })
			retried(t, "a write", func(ctx context.Context) error { _, err := c.Put(ctx, "k", fmt.Sprint(n, i)); return err })
		}
		expect(t, values, fmt.Sprint(n, 19))
		e.start(n)
		retried(t, "the member's return", func(ctx context.Context) error {
			_, err := e.client(t, e.endpoint(n)).Get(ctx, "k")
			return err
		})
	}
}

// A member whose host is gone without a word, connections and all, is noticed by
// what waits for it.
func TestSilentMember(t *testing.T) {
	t.Parallel()
	e := newEtcd(t, 3)
	p := e.proxy(t)
	c := e.client(t, p.url())
	values := follow(t, c, "k")
	for n := 1; n <= 3; n++ {
		e.freeze(n)
		retried(t, "a leader without it", func(ctx context.Context) error {
			var others []string
			for m := 1; m <= 3; m++ {
				if m != n {
					others = append(others, e.endpoint(m))
				}
			}
			_, err := e.client(t, others...).Get(ctx, "k")
			return err
		})
		for i := range 6 {
			retried(t, "a write", func(ctx context.Context) error { _, err := c.Put(ctx, "k", fmt.Sprint(n, i)); return err })
		}
		expect(t, values, fmt.Sprint(n, 5))
		e.thaw(n)
	}
}

// Without a quorum a watch that wants a leader is told; afterwards all is as before.
func TestQuorumLostAndBack(t *testing.T) {
	t.Parallel()
	e := newEtcd(t, 3)
	p := e.proxy(t)
	c := e.client(t, p.url())
	ctx := clientv3.WithRequireLeader(t.Context())
	w := c.Watch(ctx, "k", clientv3.WithCreatedNotify())
	next(t, w)
	e.freeze(1)
	e.freeze(2)
	for resp := next(t, w); ; resp = next(t, w) {
		if err := resp.Err(); err != nil {
			if !errors.Is(err, rpctypes.ErrNoLeader) {
				t.Errorf("the watch ended with %v", err)
			}
			break
		}
	}
	e.thaw(1)
	e.thaw(2)
	retried(t, "a write", func(ctx context.Context) error {
		_, err := c.Put(ctx, "k", "back")
		return err
	})
	expect(t, follow(t, c, "k2"), func() string {
		retried(t, "a write", func(ctx context.Context) error { _, err := c.Put(ctx, "k2", "v"); return err })
		return "v"
	}())
}

// A proxy that is started anew under its clients: they come back by themselves.
func TestProxyRestarts(t *testing.T) {
	t.Parallel()
	e := newEtcd(t, 1)
	p := e.proxy(t)
	c := e.client(t, p.url())
	values := follow(t, c, "k")
	lease, err := c.Grant(within(t), 60)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		p.stop()
		p.start()
		retried(t, "a write", func(ctx context.Context) error {
			_, err := c.Put(ctx, "k", fmt.Sprint(i))
			return err
		})
		expect(t, values, fmt.Sprint(i))
		if _, err := c.KeepAliveOnce(within(t), lease.ID); err != nil {
			t.Error(err)
		}
	}
}

// All members are replaced, one by one. The proxy follows, and one that is started
// anew finds the cluster where it is now.
func TestAllMembersReplaced(t *testing.T) {
	t.Parallel()
	e := newEtcd(t, 3)
	p := e.proxy(t, func(o *proxy.Options) { o.Refresh = o.Retry })
	c := e.client(t, p.url())
	if _, err := c.Put(within(t), "k", "v"); err != nil {
		t.Fatal(err)
	}
	for n := 1; n <= 3; n++ {
		e.replace(n, n+3)
		e.await("the proxy's memory", func() error {
			kept, err := proxy.Load(p.opts.Dir)
			if err == nil && (!strings.Contains(strings.Join(kept.PeerURLs, " "), e.peer(n+3)) || strings.Contains(strings.Join(kept.PeerURLs, " "), e.peer(n))) {
				err = fmt.Errorf("it has %v", kept.PeerURLs)
			}
			return err
		})
		retried(t, "a read", func(ctx context.Context) error { _, err := c.Get(ctx, "k"); return err })
	}
	p.stop()
	p.start()
	retried(t, "a read through the new proxy", func(ctx context.Context) error {
		resp, err := c.Get(ctx, "k")
		if err == nil && string(resp.Kvs[0].Value) != "v" {
			t.Errorf("%v", resp)
		}
		return err
	})
}

// A proxy is there before its cluster: it says so once, answers with an error, and
// finds the members when they come. Until then it remembers where it began.
func TestNobodyAnswers(t *testing.T) {
	t.Parallel()
	e := prepare(t)
	p := e.proxy(t, func(o *proxy.Options) {
		o.Peers, o.From = []string{e.peer(1), e.peer(2)}, "discovery URL http://d.example.com/token"
	})
	c := e.client(t, p.url())
	e.await("a word", func() error {
		if !strings.Contains(p.log.String(), "none of the members answers") {
			return errors.New("none yet")
		}
		return nil
	})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	if _, err := c.Put(ctx, "k", "v"); err == nil {
		t.Error("it was written, by nobody")
	}
	p.stop()
	p.opts.Peers = nil // what it knows is on its disk
	p.start()
	e.bootstrap(2)
	retried(t, "a write", func(ctx context.Context) error {
		_, err := c.Put(ctx, "k", "v")
		return err
	})
	log := p.log.String()
	for _, part := range []string{e.peer(1), e.peer(2), "connection refused", "http://d.example.com/token", "proxy of etcd cluster"} {
		if !strings.Contains(log, part) {
			t.Errorf("the log does not have %q:\n%s", part, log)
		}
	}
	said := 0
	for line := range strings.Lines(log) {
		if strings.Contains(line, e.peer(1)+": dial") && strings.Contains(line, e.peer(2)+": dial") {
			said++
		}
	}
	if said != 2 { // once for each start
		t.Errorf("it was said %d times:\n%s", said, log)
	}
}

// Two clusters' members never are one proxy's.
func TestOtherClusters(t *testing.T) {
	t.Parallel()
	e, other := newEtcd(t, 1), newEtcd(t, 1)
	p := e.proxy(t, func(o *proxy.Options) { o.Peers = []string{e.peer(1), other.peer(1)} })
	e.await("a word", func() error {
		if !strings.Contains(p.log.String(), "name one cluster's members alone") {
			return errors.New(p.log.String())
		}
		return nil
	})
	p.stop()
	if err := os.RemoveAll(p.opts.Dir); err != nil {
		t.Fatal(err)
	}
	p.opts.Peers = []string{e.peer(1)}
	p.start()
	c := e.client(t, p.url())
	if _, err := c.Put(within(t), "k", "ours"); err != nil {
		t.Fatal(err)
	}
	// At the member's address, another cluster comes up.
	e.kill(1)
	if err := os.RemoveAll(filepath.Join(e.dir, "n1")); err != nil {
		t.Fatal(err)
	}
	e.start(1, "--initial-cluster=n1="+e.peer(1), "--initial-cluster-token=other")
	await(t, "a word", func() error {
		if !strings.Contains(p.log.String(), "is of another etcd cluster now") {
			return errors.New(p.log.String())
		}
		return nil
	})
}
