package registry

import (
	"context"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/fleet-project/fleet/registry/etcdtest"
	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
)

// A host whose way to etcd fails asks other members, and goes back when it can: its
// lease never ends.
func TestAnotherMemberIsAskedWhileTheEndpointsFail(t *testing.T) {
	t.Parallel()
	s := etcd.Server(t)
	for name, fail := range map[string]func(l *etcdtest.Link){
		"it is gone":            (*etcdtest.Link).Cut,
		"it answers no request": (*etcdtest.Link).Freeze,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			own, other := s.Link(t), s.Link(t)
			r, book := connect(t, own.Endpoints(), etcdtest.Prefix())
			r.elsewhere.known = other.Endpoints() // it learns no sockets: each host has its own
			staying(t, r)
			p := joined(t, r, host("m", "b"), steady/2)
			lease := p.lease
			running(t, p)

			fail(own)
			eventually(t, "the other is asked", func() bool { return slices.Equal(r.elsewhere.using(), other.Endpoints()) })
			last := p.RenewedAt()
			eventually(t, "a renewal", func() bool { return p.RenewedAt().After(last) })
			eventually(t, "all is well", func() bool { return r.Health() == nil })
			if book.count("asking its other members at "+other.Endpoints()[0]) != 1 {
				t.Error("it doesn't say whom it asks")
			}
			if e := r.Endpoints(t.Context()); len(e) != 1 || e[0].URL != own.Endpoints()[0] || e[0].Error == "" {
				t.Errorf("of its own endpoint it says %+v", e)
			}

			own.Mend()
			eventually(t, "its own is asked again", func() bool { return len(r.elsewhere.using()) == 0 })
			other.Cut()
			last = p.RenewedAt()
			eventually(t, "a renewal", func() bool { return p.RenewedAt().After(last) })
			if p.lease != lease {
				t.Error("its lease ended")
			}
		})
	}
}

// staying has a registry stay in touch until the test ends.
func staying(t *testing.T, r *Registry) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.StayInTouch(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("it ended with %v", err)
		}
	})
}

// A registry that is new knows of the members what an earlier one has learned.
func TestAnotherMemberIsAskedFromTheStart(t *testing.T) {
	t.Parallel()
	s := etcd.Server(t)
	own, other := s.Link(t), s.Link(t)
	own.Cut()
	r, err := Dial(Config{Endpoints: own.Endpoints(), Members: other.Endpoints(), Prefix: etcdtest.Prefix(), RequestTimeout: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { r.Close() })
	staying(t, r)
	joined(t, r, host("m", "b"), steady)
}

// Where no other answers, nothing changes: what is configured is what is asked.
func TestNobodyElseIsAskedWhoDoesNotAnswer(t *testing.T) {
	t.Parallel()
	s := etcd.Server(t)
	own, other := s.Link(t), s.Link(t)
	r, _ := connect(t, own.Endpoints(), etcdtest.Prefix())
	r.elsewhere.known = other.Endpoints()
	own.Cut()
	other.Cut()
	r.reroute(t.Context())
	if got := r.elsewhere.using(); got != nil || !slices.Equal(r.etcd.Endpoints(), own.Endpoints()) {
		t.Errorf("it asks %v, %v", got, r.etcd.Endpoints())
	}
}

func TestReachable(t *testing.T) {
	members := []*pb.Member{
		{ClientURLs: []string{"http://10.0.0.1:2379", "http://127.0.0.1:2379", "http://localhost:4001"}},
		{ClientURLs: []string{"https://b.example:2379", "unix:///run/etcd.sock", "http://0.0.0.0:2379", "http://%"}},
		{ClientURLs: []string{"http://10.0.0.3:2379"}, IsLearner: true},
		{ClientURLs: []string{"http://10.0.0.4:2379"}},
		{},
	}
	want := []string{"http://10.0.0.1:2379", "https://b.example:2379"}
	if got := reachable(members, []string{"http://10.0.0.4:2379"}); !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
}
