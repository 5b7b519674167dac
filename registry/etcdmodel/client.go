package etcdmodel

import (
	"context"
	"errors"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// Client is one program's way to a store. It is a pb.KVClient and a
// pb.LeaseClient.
type Client struct {
	Store *Store
	// Send has a request carried out: it calls do when the request reaches etcd,
	// now, later or never, and returns nil when the answer is back, or why there
	// is none.
	Send func(writes bool, do func()) error
}

var errUnused = errors.New("etcdmodel: fleet doesn't use this request")

// ask has one request carried out. One that is given up may be carried out all
// the same, or later: nobody looks at its answer any more.
func ask[Req, Resp any](c *Client, writes bool, in Req, do func(Req) (Resp, error)) (out Resp, err error) {
	type answer struct {
		resp Resp
		err  error
	}
	a := &answer{}
	if err := c.Send(writes, func() { a.resp, a.err = do(in) }); err != nil {
		return out, err
	}
	return a.resp, a.err
}

// Range is pb.KVClient's, as are the next.
func (c *Client) Range(_ context.Context, in *pb.RangeRequest, _ ...grpc.CallOption) (*pb.RangeResponse, error) {
	return ask(c, false, in, c.Store.read)
}

// Txn runs a transaction.
func (c *Client) Txn(_ context.Context, in *pb.TxnRequest, _ ...grpc.CallOption) (*pb.TxnResponse, error) {
	return ask(c, true, in, c.Store.txn)
}

// Put is not used: fleet writes in transactions.
func (c *Client) Put(context.Context, *pb.PutRequest, ...grpc.CallOption) (*pb.PutResponse, error) {
	return nil, errUnused
}

// DeleteRange is not used either.
func (c *Client) DeleteRange(context.Context, *pb.DeleteRangeRequest, ...grpc.CallOption) (*pb.DeleteRangeResponse, error) {
	return nil, errUnused
}

// Compact is an operator's: see [Store.Compact].
func (c *Client) Compact(context.Context, *pb.CompactionRequest, ...grpc.CallOption) (*pb.CompactionResponse, error) {
	return nil, errUnused
}

// RangeStream is not used.
func (c *Client) RangeStream(context.Context, *pb.RangeRequest, ...grpc.CallOption) (grpc.ServerStreamingClient[pb.RangeStreamResponse], error) {
	return nil, errUnused
}

// LeaseGrant is pb.LeaseClient's, as are the next.
func (c *Client) LeaseGrant(_ context.Context, in *pb.LeaseGrantRequest, _ ...grpc.CallOption) (*pb.LeaseGrantResponse, error) {
	return ask(c, true, in, c.Store.grant)
}

// LeaseRevoke ends a lease.
func (c *Client) LeaseRevoke(_ context.Context, in *pb.LeaseRevokeRequest, _ ...grpc.CallOption) (*pb.LeaseRevokeResponse, error) {
	return ask(c, true, in, c.Store.revoked)
}

// LeaseTimeToLive asks how long a lease lives.
func (c *Client) LeaseTimeToLive(_ context.Context, in *pb.LeaseTimeToLiveRequest, _ ...grpc.CallOption) (*pb.LeaseTimeToLiveResponse, error) {
	return ask(c, false, in, c.Store.timeToLive)
}

// LeaseLeases is not used.
func (c *Client) LeaseLeases(context.Context, *pb.LeaseLeasesRequest, ...grpc.CallOption) (*pb.LeaseLeasesResponse, error) {
	return nil, errUnused
}

// LeaseKeepAlive gives a stream on which one renewal is sent, and answered.
func (c *Client) LeaseKeepAlive(context.Context, ...grpc.CallOption) (grpc.BidiStreamingClient[pb.LeaseKeepAliveRequest, pb.LeaseKeepAliveResponse], error) {
	return &keepAlive{client: c}, nil
}

// keepAlive is the stream of one renewal.
type keepAlive struct {
	grpc.ClientStream
	client *Client
	sent   *pb.LeaseKeepAliveRequest
}

func (k *keepAlive) Send(r *pb.LeaseKeepAliveRequest) error {
	k.sent = r
	return nil
}

func (k *keepAlive) Recv() (*pb.LeaseKeepAliveResponse, error) {
	return ask(k.client, true, k.sent, k.client.Store.renew)
}

// Told gives what a watch tells of all events after a revision.
func (s *Store) Told(since int64, wanted func(key string, deleted bool) bool) clientv3.WatchResponse {
	all, _ := s.Since(since)
	var events []Event
	for _, e := range all {
		if wanted(string(e.Kv.Key), e.Deleted) {
			events = append(events, e)
		}
	}
	return s.Tell(since, events)
}

// Tell gives what a watch tells of events, all of them after a revision: that some
// are forgotten, if they are.
func (s *Store) Tell(since int64, events []Event) clientv3.WatchResponse {
	if since < s.compacted {
		return clientv3.WatchResponse{CompactRevision: s.compacted}
	}
	var out clientv3.WatchResponse
	for _, e := range events {
		kind := mvccpb.Event_PUT
		if e.Deleted {
			kind = mvccpb.Event_DELETE
		}
		out.Events = append(out.Events, &clientv3.Event{Type: kind, Kv: e.Kv})
	}
	return out
}

// Silent is a watcher that never tells anything: as slow as a watch can be.
type Silent struct{}

// Watch is clientv3.Watcher's, as are the others.
func (Silent) Watch(context.Context, string, ...clientv3.OpOption) clientv3.WatchChan { return nil }

// RequestProgress does nothing.
func (Silent) RequestProgress(context.Context) error { return nil }

// Close does nothing.
func (Silent) Close() error { return nil }
