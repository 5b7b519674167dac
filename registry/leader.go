package registry

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fleet-project/fleet/machine"
	"go.etcd.io/etcd/api/v3/v3rpc/rpctypes"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"
)

// resignTimeout bounds handing the lead over at shutdown; the lease expires by
// itself if etcd does not answer.
const resignTimeout = 2 * time.Second

// Leadership is one engine's turn as leader. Every write through it is fenced:
// it happens only while this turn lasts.
type Leadership struct {
	r       *Registry
	term    term
	done    <-chan struct{} // closed when the lease could not be kept
	end     func()          // ends the keeping of the lease
	version int64           // of the leader's key, that the writes compare
}

// term is one turn as leader, as etcd knows it.
type term struct {
	key   string
	rev   int64 // at which the key was created
	lease clientv3.LeaseID
}

// Campaign waits until this machine's engine leads. The lead is lost when its
// lease, of ttl, cannot be renewed.
func (r *Registry) Campaign(ctx context.Context, id machine.ID, ttl time.Duration) (*Leadership, error) {
	granted := r.clock.Now()
	lease, err := r.grant(ctx, ttl)
	if err != nil {
		return nil, fmt.Errorf("a lease to lead on: %w", err)
	}
	// The session lives on the client's own context: ctx may be cancelled by a
	// shutdown that still wants to resign in order.
	life, release := context.WithCancel(r.etcd.Ctx())
	client := clientv3.NewCtxClient(life)
	client.KV, client.Watcher = r.etcd.KV, r.etcd.Watcher
	client.Lease = keeper{Lease: r.etcd.Lease, r: r, granted: granted, ttl: time.Duration(lease.TTL) * time.Second}
	session, err := concurrency.NewSession(client, concurrency.WithLease(lease.ID))
	if err != nil {
		release()
		return nil, fmt.Errorf("keeping the lease to lead on: %w", err)
	}
	election := concurrency.NewElection(session, r.keys.leader())
	l := &Leadership{r: r, term: term{lease: lease.ID}, done: session.Done(), end: func() { session.Orphan(); release() }, version: 1}
	if err := l.campaign(ctx, id, session, election); err != nil {
		// The session's state is unknown after an error: drop the whole of it.
		if err := l.close(ctx); err != nil {
			r.log.WithError(err).Debug("a candidate's lease is left to expire")
		}
		return nil, fmt.Errorf("campaigning: %w", err)
	}
	return l, nil
}

// campaign returns also when the session ends while waiting, which the
// library's Campaign alone would sit out, and at once when ctx ends: the
// library first asks etcd to take the candidate back, for as long as it takes.
// A candidate whose lease ended unnoticed has no key any more, and the library
// lets it win all the same: who wins renews the lease before it believes it.
func (l *Leadership) campaign(ctx context.Context, id machine.ID, session *concurrency.Session, election *concurrency.Election) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	stop := context.AfterFunc(session.Ctx(), func() { cancel(errors.New("the lease ran out")) })
	defer stop()
	if err := l.clear(ctx); err != nil {
		return err
	}
	won := make(chan error, 1)
	go func() { won <- election.Campaign(ctx, string(id)) }()
	select {
	case err := <-won:
		if err == nil {
			l.term.key, l.term.rev = election.Key(), election.Rev()
			err = l.confirm(ctx)
		}
		if err != nil && ctx.Err() != nil {
			return context.Cause(ctx)
		}
		return err
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// clear takes away what stands in line and is no candidate: a key on no lease, which
// somebody has written, never ends, and whoever comes behind it would wait for ever.
func (l *Leadership) clear(ctx context.Context) error {
	line := l.r.keys.leader() + "/"
	resp, err := l.r.txn(ctx, nil, []clientv3.Op{clientv3.OpGet(line, clientv3.WithPrefix())})
	if err != nil {
		return err
	}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		if kv.Lease != int64(clientv3.NoLease) {
			continue
		}
		l.r.log.Warnf("etcd key %s is on no lease, so that it isn't a candidate's: deleting it, for nobody could be elected after it", kv.Key)
		_, err := l.r.txn(ctx, []clientv3.Cmp{clientv3.Compare(clientv3.ModRevision(string(kv.Key)), "=", kv.ModRevision)}, []clientv3.Op{clientv3.OpDelete(string(kv.Key))})
		if err != nil {
			return err
		}
	}
	return nil
}

// confirm renews the lease, as soon as etcd answers at all.
func (l *Leadership) confirm(ctx context.Context) error {
	for {
		_, err := l.r.keepAliveOnce(ctx, l.term.lease)
		if err == nil || errors.Is(err, rpctypes.ErrLeaseNotFound) {
			return err
		}
		if err := l.r.clock.Sleep(ctx, retryPause); err != nil {
			return err
		}
	}
}

// Done is closed when the lease could not be kept.
func (l *Leadership) Done() <-chan struct{} { return l.done }

// Resign hands the lead over at once, by ending its lease.
func (l *Leadership) Resign(ctx context.Context) error {
	if err := l.close(ctx); err != nil {
		return fmt.Errorf("resigning (the lead runs out by itself): %w", err)
	}
	return nil
}

// close revokes the lease, and the leader key with it, or leaves both to expire
// when etcd does not answer.
func (l *Leadership) close(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), resignTimeout)
	defer cancel()
	l.end()
	return l.r.revoke(ctx, l.term.lease)
}

// Anew makes void what this turn has written and was not told of: nothing of it
// happens any more once Anew has returned. A write that was given up may still be on
// its way, on a slow disk or in a member that is cut off, and what is decided
// meanwhile, on a snapshot without it, may be the opposite.
func (l *Leadership) Anew(ctx context.Context) error {
	key := l.term.key
	resp, err := l.r.txn(ctx, []clientv3.Cmp{l.elected()}, []clientv3.Op{
		clientv3.OpPut(key, "", clientv3.WithIgnoreValue(), clientv3.WithIgnoreLease()), clientv3.OpGet(key),
	})
	if err != nil {
		return fmt.Errorf("etcd did not confirm that earlier writes are void: %w", err)
	}
	if !resp.Succeeded {
		return ErrDeposed
	}
	l.version = resp.Responses[1].GetResponseRange().Kvs[0].Version
	return nil
}

// elected is true only while this turn as leader lasts.
func (l *Leadership) elected() clientv3.Cmp {
	return clientv3.Compare(clientv3.CreateRevision(l.term.key), "=", l.term.rev)
}

// fence is true only while this turn lasts and has not begun anew.
func (l *Leadership) fence() []clientv3.Cmp {
	return []clientv3.Cmp{l.elected(), clientv3.Compare(clientv3.Version(l.term.key), "=", l.version)}
}
