package registry

import (
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/fleet-project/fleet/machine"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Endpoint is how one of etcd's endpoints is.
type Endpoint struct {
	URL     string `json:"url"`
	Version string `json:"version,omitempty"`
	Leader  bool   `json:"leader,omitempty"` // of etcd's members
	// Leaderless: it knows of no leader, and so can't answer most questions.
	Leaderless bool     `json:"leaderless,omitempty"`
	DBSize     int64    `json:"dbSizeBytes,omitempty"`
	Quota      int64    `json:"quotaBytes,omitempty"` // of DBSize; 0: it doesn't say
	Alarms     []string `json:"alarms,omitempty"`     // in etcd's words
	Error      string   `json:"error,omitempty"`      // empty: it answers
	// Took is how long the answer took, the connection included.
	Took time.Duration `json:"-"`
}

// Endpoints asks each of etcd's endpoints, as they are configured, how it is, all at
// once and on connections of their own.
func (r *Registry) Endpoints(ctx context.Context) []Endpoint {
	return r.endpointsAt(ctx, r.elsewhere.endpoints)
}

func (r *Registry) endpointsAt(ctx context.Context, urls []string) []Endpoint {
	all := make([]Endpoint, len(urls))
	var asking sync.WaitGroup
	for i, url := range urls {
		asking.Go(func() { all[i] = r.endpoint(ctx, url) })
	}
	asking.Wait()
	return all
}

func (r *Registry) endpoint(ctx context.Context, url string) Endpoint {
	ctx, cancel := context.WithTimeout(ctx, r.requestTimeout())
	defer cancel()
	e := Endpoint{URL: url}
	began := time.Now()
	resp, err := r.etcd.Status(ctx, url)
	if err != nil {
		if e.Error = r.connector.of(url); e.Error == "" {
			e.Error = clientv3.ContextError(ctx, err).Error()
		}
		return e
	}
	e.Took = time.Since(began)
	e.Version, e.Leader, e.Leaderless = resp.Version, resp.Leader == resp.Header.MemberId, resp.Leader == 0
	e.DBSize, e.Quota, e.Alarms = resp.DbSize, resp.DbSizeQuota, resp.Errors
	return e
}

// Leader gives the machine whose engine leads, "" if none does.
func (r *Registry) Leader(ctx context.Context) (machine.ID, error) {
	ctx, cancel := context.WithTimeout(ctx, r.requestTimeout())
	defer cancel()
	resp, err := r.etcd.Get(ctx, r.keys.leader()+"/", clientv3.WithFirstCreate()...)
	if err = r.noted(ctx, err); err != nil {
		return "", fmt.Errorf("asking who leads: %w", err)
	}
	if len(resp.Kvs) == 0 {
		return "", nil
	}
	return machine.ID(resp.Kvs[0].Value), nil
}

// LeaseID names the lease that the machine's keys are on, as etcdctl writes it.
func (p *Presence) LeaseID() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return fmt.Sprintf("%x", int64(p.lease))
}
