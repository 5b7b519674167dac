// Package proxy lets a host that is no member of the etcd cluster reach it at
// its own client URLs, so that what runs there need not know who the members are.
//
// It hands each gRPC stream on as it is, headers, tokens and errors included, to a
// member that answers. etcd's own grpcproxy package, which shares watches and
// caches answers, can't be used: it drops requests for watch progress, by which
// fleetd's API knows that it has seen all that was acknowledged; it drops a
// client's wish to be told when a member has no leader, so that a watch through a
// member that is cut off would be silent for ever; and it keeps thousands of
// answers in memory. etcd's TCP gateway would tie a connection to one member,
// however ill that one is.
//
// The members are asked, at their peer URLs, who the members are, and what they
// say is kept on disk: the hosts that this one began with may all be gone one day.
// The package decides nothing about who is a member and who a proxy.
package proxy

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fleet-project/fleet/fleetd/peers"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
	"go.etcd.io/etcd/client/pkg/v3/transport"
	"golang.org/x/sync/errgroup"
)

// Options say whose proxy this host is, and where.
type Options struct {
	// Dir is where the proxy remembers the members.
	Dir string
	// Listen is where clients come: http or https, or unix.
	Listen []url.URL
	// Peers are the peer URLs of members to begin with, on a host that has no
	// memory yet: what is in Dir counts before it.
	Peers []string
	// From says in words where Peers are from, such as "discovery URL http://...".
	From string
	// Client is for those who come by https, and for going to members' client URLs.
	Client transport.TLSInfo
	// Peer is for going to members' peer URLs.
	Peer transport.TLSInfo

	Log *logrus.Entry
	// Registerer takes the proxy's metrics, and Metrics serves them at /metrics;
	// without, there are none.
	Registerer prometheus.Registerer
	Metrics    http.Handler

	// How long to wait before the members are asked again: 5 s while one of them
	// doesn't answer, and 5 minutes when all do.
	Retry, Refresh time.Duration
}

// Run serves until ctx ends. That no member answers is no error: it tries on.
func Run(ctx context.Context, opts Options) (err error) {
	if opts.Retry == 0 {
		opts.Retry = 5 * time.Second
	}
	if opts.Refresh == 0 {
		opts.Refresh = 5 * time.Minute
	}
	known, err := begin(opts)
	if err != nil {
		return err
	}
	listeners, err := listen(opts)
	if err != nil {
		return err
	}
	up, err := newUpstream(opts.Client)
	if err != nil {
		closeAll(listeners)
		return err
	}
	defer func() { err = errors.Join(err, up.close()) }()
	asker, err := peers.New(opts.Peer)
	if err != nil {
		closeAll(listeners)
		return err
	}
	defer asker.Close()
	f := &follower{
		opts: opts, known: known, kept: known, ask: asker.Ask, own: ownAddresses(opts.Listen),
		up: up, metrics: newMetrics(opts.Registerer),
	}
	up.lost = f.kick()

	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return f.run(ctx) })
	server := newServer(up, opts.Metrics)
	for _, l := range listeners {
		group.Go(func() error { return server.serve(l) })
	}
	group.Go(func() error {
		<-ctx.Done()
		return server.close()
	})
	if err := group.Wait(); err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// begin gives what is known at the start, and has it on the disk: a host that has
// become a proxy asks nobody any more what it is to be.
func begin(opts Options) (Cluster, error) {
	known, err := Load(opts.Dir)
	if err != nil || len(known.PeerURLs) > 0 {
		return known, err
	}
	if len(opts.Peers) == 0 {
		return known, errors.New("a proxy needs to know a member of the etcd cluster: set ETCD_INITIAL_CLUSTER or ETCD_DISCOVERY")
	}
	known.PeerURLs = opts.Peers
	return known, known.save(opts.Dir)
}

// listen opens all client URLs, or none.
func listen(opts Options) ([]net.Listener, error) {
	var out []net.Listener
	for _, u := range opts.Listen {
		address := u.Host
		if strings.HasPrefix(u.Scheme, "unix") {
			address += u.Path
		}
		if u.Scheme == "https" && opts.Client.Empty() {
			closeAll(out)
			return nil, fmt.Errorf("ETCD_LISTEN_CLIENT_URLS has %s, but no certificate: set ETCD_CERT_FILE and ETCD_KEY_FILE", u.String())
		}
		l, err := transport.NewListener(address, u.Scheme, &opts.Client)
		if err != nil {
			closeAll(out)
			return nil, fmt.Errorf("listening for etcd's clients at %s: %w", u.String(), err)
		}
		out = append(out, l)
	}
	if len(out) == 0 {
		return nil, errors.New("ETCD_LISTEN_CLIENT_URLS is empty: a proxy has nothing else")
	}
	return out, nil
}

func closeAll(listeners []net.Listener) {
	for _, l := range listeners {
		l.Close()
	}
}
