package registry

import (
	"context"
	"testing"
	"time"

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

	l := leading(t, r)
	select {
	case <-l.Done():
		t.Fatal("the lead was lost")
	case <-time.After(2 * ttl):
	}
	ok(t, l.Commit(t.Context(), []Write{l.PutPlacement(place("a.service"))}))
}
