package registry

import (
	"context"
	"testing"
	"time"

	"github.com/fleet-project/fleet/registry/etcdmodel"
	"github.com/fleet-project/fleet/registry/etcdtest"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// hung is a stream on which the first renewal is answered, and no other: as on
// a member that has sent one on to a leader that died.
type hung struct {
	grpc.ClientStream
	ctx      context.Context
	answered bool
}

func (h *hung) RecvMsg(m any) error {
	if h.answered {
		<-h.ctx.Done()
		return h.ctx.Err()
	}
	h.answered = true
	return h.ClientStream.RecvMsg(m)
}

func TestTheLeadOutlivesARenewalThatIsNeverAnswered(t *testing.T) {
	t.Parallel()
	s := etcd.Server(t)
	r, _ := connect(t, s.Endpoints(), etcdtest.Prefix())
	client := must(clientv3.New(clientv3.Config{
		Endpoints: s.Endpoints(),
		DialOptions: []grpc.DialOption{grpc.WithChainStreamInterceptor(
			func(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, open grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
				stream, err := open(ctx, desc, cc, method, opts...)
				if err == nil && method == "/etcdserverpb.Lease/LeaseKeepAlive" {
					stream = &hung{ClientStream: stream, ctx: ctx}
				}
				return stream, err
			})},
	}))(t)
	t.Cleanup(func() { _ = client.Close() })
	ok(t, r.etcd.Close())
	r.etcd = client

	// Long enough for a second renewal, and for the lease to end without it.
	const lease = 2 * ttl
	l := must(r.Campaign(t.Context(), "m", lease))(t)
	t.Cleanup(func() { _ = l.Resign(context.Background()) })
	select {
	case <-l.Done():
		t.Fatal("the lead was lost")
	case <-time.After(2 * lease):
	}
	ok(t, l.Commit(t.Context(), []Write{l.PutPlacement(place("a.service"))}))
}

// Isolation=stop counts on a lease from when its renewal was sent: from when the answer
// came it would outlive what etcd gives it.
func TestALeaseCountsFromWhenItWasAskedFor(t *testing.T) {
	var sent []time.Time
	client := &etcdmodel.Client{Store: etcdmodel.New(time.Unix(1e9, 0)), Send: func(_ bool, do func()) error {
		sent = append(sent, time.Now())
		do()
		return nil
	}}
	r := Over(Model{KV: client, Lease: client, Watcher: etcdmodel.Silent{}, Clock: realClock{}}, Config{})
	var p *Presence
	for _, step := range []struct {
		name string
		does func() error
		asks int // the request that is about the lease
	}{
		{"granted", func() (err error) { p, err = r.Join(t.Context(), host("m", "b"), steady); return err }, 1},
		{"renewed", func() error { return p.renew(t.Context()) }, 0},
		{"resumed", func() (err error) { p, err = r.Join(t.Context(), host("m", "b"), steady); return err }, 1},
	} {
		sent = nil
		ok(t, step.does())
		if at := sent[step.asks]; p.RenewedAt().After(at) {
			t.Errorf("%s: it counts from %s after it was asked for", step.name, p.RenewedAt().Sub(at))
		}
	}
}
