package registry

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	clientv3 "go.etcd.io/etcd/client/v3"
)

// Member is one of etcd's members, as the others know it.
type Member struct {
	Name    string // empty: it was added and has never started
	Learner bool   // it has no vote yet
	// Endpoints are its client URLs that mean something on other hosts.
	Endpoints []Endpoint
}

// Members asks etcd who its members are, and each of them how it is.
func (r *Registry) Members(ctx context.Context) ([]Member, error) {
	asking, cancel := context.WithTimeout(ctx, r.requestTimeout())
	defer cancel()
	resp, err := r.etcd.MemberList(asking, clientv3.WithSerializable())
	if err != nil {
		return nil, fmt.Errorf("asking etcd for its members: %w", clientv3.ContextError(asking, err))
	}
	members := make([]Member, len(resp.Members))
	var urls []string
	for i, m := range resp.Members {
		members[i] = Member{Name: m.Name, Learner: m.IsLearner}
		for _, u := range m.ClientURLs {
			if at, err := url.Parse(u); err == nil && !everyHostsOwn(at.Hostname()) {
				r.connector.learn(u)
				urls = append(urls, u)
			}
		}
	}
	answers := map[string]Endpoint{}
	for _, e := range r.endpointsAt(ctx, urls) {
		answers[e.URL] = e
	}
	for i, m := range resp.Members {
		for _, u := range m.ClientURLs {
			if e, asked := answers[u]; asked {
				members[i].Endpoints = append(members[i].Endpoints, e)
			}
		}
	}
	return members, nil
}

// everyHostsOwn reports whether an address names whatever host it is used on.
func everyHostsOwn(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && (ip.IsLoopback() || ip.IsUnspecified())
}

// ClockOf tells by how much the clock of the host at one of etcd's client URLs
// is ahead of this one's; it is behind by a negative difference. etcd
// tells the time in whole seconds: what a difference may be owed to is taken off.
func (r *Registry) ClockOf(ctx context.Context, endpoint string) (ahead time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, r.requestTimeout())
	defer cancel()
	cfg, err := r.connector.files.config()
	if err != nil {
		return 0, err
	}
	transport := &http.Transport{TLSClientConfig: cfg, DisableKeepAlives: true}
	defer transport.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, endpoint+"/version", nil)
	if err != nil {
		return 0, err
	}
	sent := time.Now()
	resp, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return 0, err
	}
	received := time.Now()
	resp.Body.Close()
	told, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		return 0, fmt.Errorf("%s does not tell the time: %w", endpoint, err)
	}
	return apart(told, sent, received), nil
}

// apart tells how far a clock that was told in whole seconds, at some moment
// between two of this host's, is ahead for certain.
func apart(told, sent, received time.Time) time.Duration {
	switch {
	case told.After(received):
		return told.Sub(received)
	case told.Add(time.Second).Before(sent):
		return told.Add(time.Second).Sub(sent)
	}
	return 0
}

// Machines gives all that are present now, by id, and the ids of those whose
// presence is on no lease: it would never end.
func (r *Registry) Machines(ctx context.Context) (all []machine.Machine, endless []machine.ID, err error) {
	prefix := r.keys.machine("")
	resp, err := r.txn(ctx, nil, []clientv3.Op{clientv3.OpGet(prefix, clientv3.WithPrefix())})
	if err != nil {
		return nil, nil, fmt.Errorf("asking which machines there are: %w", err)
	}
	for _, kv := range resp.Responses[0].GetResponseRange().Kvs {
		var m machine.Machine
		if json.Unmarshal(kv.Value, &m) != nil {
			continue // whoever follows the cluster names it
		}
		all = append(all, m)
		if clientv3.LeaseID(kv.Lease) == clientv3.NoLease {
			endless = append(endless, m.ID)
		}
	}
	return all, endless, nil
}

// Cluster gives what the cluster's own key holds, nil if there is none.
func (r *Registry) Cluster(ctx context.Context) (*record.Cluster, error) {
	key := r.keys.cluster()
	resp, err := r.txn(ctx, nil, []clientv3.Op{clientv3.OpGet(key)})
	if err != nil {
		return nil, fmt.Errorf("reading the cluster's key: %w", err)
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 {
		return nil, nil
	}
	c := new(record.Cluster)
	if err := json.Unmarshal(kvs[0].Value, c); err != nil {
		return nil, fmt.Errorf("etcd key %s holds what fleet cannot read (%w): restore it", key, err)
	}
	return c, nil
}
