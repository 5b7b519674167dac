package registry

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	pb "go.etcd.io/etcd/api/v3/etcdserverpb"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"google.golang.org/grpc"
)

// seconds gives a TTL as etcd counts it: whole seconds, never less than what was
// asked for, 2 at the least (its floor with the default election time).
func seconds(ttl time.Duration) int64 {
	return max(2, int64((ttl+time.Second-1)/time.Second))
}

func (r *Registry) grant(ctx context.Context, ttl time.Duration) (*clientv3.LeaseGrantResponse, error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeoutFor(ctx))
	defer cancel()
	resp, err := r.etcd.Grant(ctx, seconds(ttl))
	return resp, r.notedLease(ctx, err)
}

// revoke ends a lease. One that has ended already is fine.
func (r *Registry) revoke(ctx context.Context, lease clientv3.LeaseID) error {
	ctx, cancel := context.WithTimeout(ctx, r.timeoutFor(ctx))
	defer cancel()
	_, err := r.etcd.Revoke(ctx, lease)
	if errors.Is(err, rpctypes.ErrLeaseNotFound) {
		err = nil
	}
	return r.notedLease(ctx, err)
}

// remaining is what etcd says of a lease's time.
type remaining struct {
	left    time.Duration // whole seconds, rounded down; negative if the lease has ended
	granted time.Duration // its TTL
	term    uint64        // etcd's raft term: a new leader extends all leases
}

func (r *Registry) timeToLive(ctx context.Context, lease clientv3.LeaseID) (remaining, error) {
	if lease == clientv3.NoLease {
		return remaining{left: -1}, nil
	}
	ctx, cancel := context.WithTimeout(ctx, r.timeoutFor(ctx))
	defer cancel()
	resp, err := r.etcd.TimeToLive(ctx, lease)
	if err = r.notedLease(ctx, err); err != nil {
		return remaining{}, fmt.Errorf("asking for a lease's time: %w", err)
	}
	return remaining{
		left:    time.Duration(resp.TTL) * time.Second,
		granted: time.Duration(resp.GrantedTTL) * time.Second,
		term:    resp.RaftTerm,
	}, nil
}

// keepAliveOnce renews a lease and gives its full TTL in seconds. clientv3's own
// method asks again without a pause while etcd is away, at the cost of a CPU;
// this one waits for the connection.
func (r *Registry) keepAliveOnce(ctx context.Context, lease clientv3.LeaseID) (ttl int64, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.timeoutFor(ctx))
	defer cancel()
	began, reached := time.Now(), r.history.reached.Load()
	resp, err := func() (*pb.LeaseKeepAliveResponse, error) {
		stream, err := r.leaseClient().LeaseKeepAlive(ctx, grpc.WaitForReady(true))
		if err != nil {
			return nil, err
		}
		if err := stream.Send(&pb.LeaseKeepAliveRequest{ID: int64(lease)}); err != nil && !errors.Is(err, io.EOF) {
			return nil, err // EOF: the true error is Recv's
		}
		return stream.Recv()
	}()
	r.metrics.asked(ctx, opRenew, began, err)
	if err = r.notedLease(ctx, clientv3.ContextError(ctx, err)); err != nil {
		return 0, fmt.Errorf("renewing a lease: %w", err)
	}
	if resp.TTL <= 0 {
		return 0, rpctypes.ErrLeaseNotFound
	}
	// A member that lags may tell so, too: what most of them know, a question says.
	if resp.Header.GetRevision() < reached {
		_, _ = r.Revision(ctx) // its answer is looked at as every other
	}
	return resp.TTL, nil
}

// keeper renews a lease for a session of clientv3's. clientv3's own way is one
// stream for all of a client's leases, answered in order: a member that sent a
// renewal on to a leader that died answers nothing on it for up to seven
// seconds, though a new leader is there after two, and meanwhile leases end.
type keeper struct {
	clientv3.Lease
	r       *Registry
	granted time.Time // when the lease was asked for
	ttl     time.Duration
}

// KeepAlive closes the channel when ctx ends, or when the lease has ended or
// may have. Nothing is ever sent on it.
func (k keeper) KeepAlive(ctx context.Context, id clientv3.LeaseID) (<-chan *clientv3.LeaseKeepAliveResponse, error) {
	ended := make(chan *clientv3.LeaseKeepAliveResponse)
	go func() {
		defer close(ended)
		k.keep(ctx, id)
	}()
	return ended, nil
}

func (k keeper) keep(ctx context.Context, id clientv3.LeaseID) {
	renewed, pause := k.granted, k.ttl/3
	for k.r.clock.Sleep(ctx, pause) == nil {
		sent := k.r.clock.Now()
		attempt, cancel := context.WithTimeout(ctx, renewed.Add(k.ttl).Sub(sent))
		_, err := k.r.keepAliveOnce(attempt, id)
		cancel()
		switch {
		case err == nil:
			renewed, pause = sent, k.ttl/3
		case errors.Is(err, rpctypes.ErrLeaseNotFound), k.r.clock.Now().Sub(renewed) >= k.ttl:
			return
		default:
			pause = k.ttl / 20
		}
	}
}
