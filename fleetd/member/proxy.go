package member

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/discovery"
	"github.com/fleet-project/fleet/discovery/token"
	"go.etcd.io/etcd/client/pkg/v3/types"
)

// full makes a proxy of a host that found the cluster full, if it may be one.
func (r *runner) full(ctx context.Context, s Settings, full *discovery.FullError) error {
	if s.Discovery.Fallback == FallbackExit || s.Proxy == ProxyOff {
		return refuse("%w. ETCD_DISCOVERY_FALLBACK=exit or ETCD_PROXY=off keeps this host from being a proxy of it: take that away; or, for a new cluster, make a new URL", full)
	}
	peers, err := peersOf(full.Cluster)
	if err != nil {
		return err
	}
	return r.serve(ctx, s, peers, "the cluster is full")
}

// proxy serves on a host that is one already, or is told to be one.
func (r *runner) proxy(ctx context.Context, s Settings, disk Disk) error {
	if disk.Proxy {
		return r.serve(ctx, s, nil, s.ProxyDir()+" remembers that")
	}
	peers, err := r.findMembers(ctx, s)
	if err != nil {
		return err
	}
	return r.serve(ctx, s, peers, "ETCD_PROXY says so")
}

func (r *runner) serve(ctx context.Context, s Settings, peers []string, why string) error {
	text := "this host is a proxy: " + why
	if len(peers) > 0 {
		text += "; the members are at " + strings.Join(peers, ", ")
	}
	r.progress(text)
	return r.Proxy(ctx, ProxyOptions{Settings: s, Dir: s.ProxyDir(), PeerURLs: peers, URL: s.Discovery.URL})
}

// findMembers are the peer URLs of a cluster that this host is to be no member of.
func (r *runner) findMembers(ctx context.Context, s Settings) ([]string, error) {
	initial := s.Cluster.Initial
	switch {
	case s.Discovery.URL != "":
		if err := discovery.CheckURL(s.Discovery.URL); err != nil {
			return nil, refuse("ETCD_DISCOVERY: %w", err)
		}
		cluster, err := discovery.Members(ctx, discovery.Options{URL: s.Discovery.URL, Proxy: s.Discovery.Proxy, Progress: r.progress})
		if err != nil {
			return nil, s.explain(err, true)
		}
		return peersOf(cluster)
	case s.Cluster.SRV != "":
		cfg, err := s.values.etcd()
		if err == nil {
			err = cfg.Validate() // it makes the logger that is asked for next
		}
		if err != nil {
			return nil, &Refusal{err}
		}
		found, err := cfg.GetDNSClusterNames()
		if len(found) == 0 {
			return nil, fmt.Errorf("ETCD_DISCOVERY_SRV=%s: %w", s.Cluster.SRV, err)
		}
		initial = strings.Join(found, ",")
	case initial == "":
		return nil, refuse("ETCD_PROXY=%s: a proxy cannot ask ETCD_DISCOVERY_ENDPOINTS; give it ETCD_INITIAL_CLUSTER", s.Proxy)
	}
	members, err := types.NewURLsMap(initial)
	if err != nil {
		return nil, refuse("ETCD_INITIAL_CLUSTER=%s: %w", initial, err)
	}
	var all []string
	for _, name := range slices.Sorted(maps.Keys(members)) {
		all = append(all, members[name].StringSlice()...)
	}
	return all, nil
}

// peersOf are the peer URLs of the members that a discovery URL tells.
func peersOf(c discovery.Cluster) ([]string, error) {
	var all []string
	for _, m := range c.Members {
		p, err := token.ParsePeer(m.Value)
		if err != nil {
			return nil, refuse("member %s is not one: %w; make a new URL", m.ID, err)
		}
		all = append(all, p.URLs...)
	}
	return all, nil
}
