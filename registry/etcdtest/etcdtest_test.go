package etcdtest_test

import (
	"context"
	"os"
	"testing"
	"time"

	"github.com/fleet-project/fleet/registry/etcdtest"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

var shared etcdtest.Shared

func TestMain(m *testing.M) { os.Exit(shared.Run(m)) }

func TestStopKeepsDataAndWipeLosesIt(t *testing.T) {
	s := etcdtest.New(t)
	watch := s.Client(t).Watch(t.Context(), "k") // a stream that etcd's graceful stop would wait for
	s.Put(t, "k", "v")
	<-watch
	s.Stop()
	s.Start(t)
	if e, ok := s.Get(t, "k"); !ok || e.Value != "v" {
		t.Fatalf("after stop and start: %+v, %v", e, ok)
	}
	s.Wipe(t)
	s.Start(t)
	if e, ok := s.Get(t, "k"); ok {
		t.Fatalf("after wipe: %+v", e)
	}
}

func TestLinks(t *testing.T) {
	s := shared.Server(t)
	key := etcdtest.Prefix() + "k"
	link := s.Link(t)
	c, err := clientv3.New(clientv3.Config{Endpoints: link.Endpoints(), Logger: zap.NewNop()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	put := func(patience time.Duration) error {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		_, err := c.Put(ctx, key, "v")
		return err
	}
	for name, breakIt := range map[string]func(){"cut": link.Cut, "frozen": link.Freeze} {
		if err := put(time.Minute); err != nil {
			t.Fatalf("before %s: %v", name, err)
		}
		breakIt()
		if put(50*time.Millisecond) == nil {
			t.Fatalf("a put went through a link that was %s", name)
		}
		s.Put(t, key, "by hand") // the server itself is well
		link.Mend()
	}
	if err := put(time.Minute); err != nil {
		t.Fatal(err)
	}
}

func TestHands(t *testing.T) {
	s := shared.Server(t)
	p := etcdtest.Prefix()
	c := s.Client(t)
	lease, err := c.Grant(t.Context(), 60)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Put(t.Context(), p+"leased", "v", clientv3.WithLease(lease.ID)); err != nil {
		t.Fatal(err)
	}
	s.Put(t, p+"a", "1")
	s.Put(t, p+"b", "2")
	before := s.Revision(t)
	s.Compact(t)
	if got := s.Revision(t); got != before {
		t.Fatalf("compaction made revision %d of %d", got, before)
	}
	if all := s.All(t, p); len(all) != 3 || all[p+"leased"].Lease != lease.ID {
		t.Fatalf("%+v", all)
	}
	s.Revoke(t, lease.ID)
	s.Delete(t, p+"a")
	if all := s.All(t, p); len(all) != 1 {
		t.Fatalf("%+v", all)
	}
	s.DeletePrefix(t, p)
	if all := s.All(t, p); len(all) != 0 {
		t.Fatalf("%+v", all)
	}
}
