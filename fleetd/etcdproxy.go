package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/fleet-project/fleet/fleetd/config"
	"github.com/fleet-project/fleet/fleetd/member"
	"github.com/fleet-project/fleet/fleetd/proxy"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// serveProxy lets a host that is none of the members reach them at its own
// client URLs.
func serveProxy(ctx context.Context, opts member.ProxyOptions) error {
	s := opts.Settings
	switch {
	case s.Proxy == member.ProxyReadonly:
		return &member.Refusal{Err: errors.New("ETCD_PROXY=readonly: there are no read-only proxies any more: set ETCD_PROXY=on, and give who must not write a user of etcd's that may only read")}
	case s.ClientAutoTLS:
		return &member.Refusal{Err: errors.New("ETCD_AUTO_TLS: a proxy makes no certificate of its own: set ETCD_CERT_FILE and ETCD_KEY_FILE")}
	}
	from := "ETCD_INITIAL_CLUSTER"
	if opts.URL != "" {
		from = fmt.Sprintf("discovery URL %s", opts.URL)
	}
	metrics := newRegistry()
	return proxy.Run(ctx, proxy.Options{
		Dir: opts.Dir, Listen: s.ListenClientURLs, Peers: opts.PeerURLs, From: from,
		Client: s.ClientTLS, Peer: s.PeerTLS,
		Log:        newLog(&config.Config{}).WithField("etcd", "proxy"),
		Registerer: metrics, Metrics: promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}),
	})
}
