package proxy

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"math"
	"net"
	"net/url"
	"sync"
	"time"

	"go.etcd.io/etcd/client/pkg/v3/transport"
	"google.golang.org/grpc"
	"google.golang.org/grpc/attributes"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/resolver"
	"google.golang.org/grpc/resolver/manual"
)

// endpoint is one member's client URLs, which are as good as each other.
type endpoint []url.URL

// upstream is the way to the members. Each stream goes to the next one that is
// connected, as with etcd's own client.
type upstream struct {
	conn     *grpc.ClientConn
	resolver *manual.Resolver
	info     transport.TLSInfo
	lost     func() // told whenever a way to a member was lost, or there is none

	begun chan struct{} // closed once the members were asked

	mu        sync.Mutex
	endpoints []endpoint
	why       error // that there are none
}

func newUpstream(info transport.TLSInfo) (*upstream, error) {
	u := &upstream{
		resolver: manual.NewBuilderWithScheme("members"), info: info, lost: func() {}, begun: make(chan struct{})}
	if _, err := info.ClientConfig(); err != nil {
		return nil, err
	}
	u.resolver.InitialState(resolver.State{})
	var err error
	u.conn, err = grpc.NewClient("members:///etcd",
		grpc.WithResolvers(u.resolver),
		grpc.WithDisableServiceConfig(),
		grpc.WithDefaultServiceConfig(`{"loadBalancingConfig": [{"round_robin": {}}]}`),
		grpc.WithTransportCredentials(schemes{info: info}),
		grpc.WithContextDialer(u.redial),
		grpc.WithIdleTimeout(0),
		// As fleetd's own way to etcd: a silent member is noticed within 15 s, or
		// 5 s when something waits for it, and one that is back within a second.
		grpc.WithKeepaliveParams(keepalive.ClientParameters{Time: 10 * time.Second, Timeout: 5 * time.Second}),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff:           backoff.Config{BaseDelay: 100 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: time.Second},
			MinConnectTimeout: 3 * time.Second,
		}),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(math.MaxInt32), grpc.MaxCallSendMsgSize(math.MaxInt32)),
	)
	if err != nil {
		return nil, err
	}
	u.conn.Connect()
	return u, nil
}

func (u *upstream) close() error { return u.conn.Close() }

// empty says why there is no member to go to. At the very beginning, nobody
// knows yet.
func (u *upstream) empty(ctx context.Context) error {
	select {
	case <-u.begun:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.endpoints) == 0 {
		return fmt.Errorf("this is a proxy, and no member of the etcd cluster answers: %w", u.why)
	}
	return nil
}

// list gives all endpoints, another one first each time.
func (u *upstream) list() []endpoint {
	u.mu.Lock()
	defer u.mu.Unlock()
	if len(u.endpoints) > 1 {
		u.endpoints = append(u.endpoints[1:len(u.endpoints):len(u.endpoints)], u.endpoints[0])
	}
	return u.endpoints
}

// set replaces the endpoints; without any, why says why.
func (u *upstream) set(endpoints []endpoint, why error) {
	var state resolver.State
	for _, e := range endpoints {
		var r resolver.Endpoint
		for _, at := range e {
			r.Addresses = append(r.Addresses, resolver.Address{
				Addr: at.Host, ServerName: at.Host, Attributes: attributes.New(schemeKey{}, at.Scheme),
			})
		}
		state.Endpoints = append(state.Endpoints, r)
	}
	u.resolver.UpdateState(state) // first: who sees endpoints goes there
	u.mu.Lock()
	defer u.mu.Unlock()
	u.endpoints, u.why = endpoints, why
	select {
	case <-u.begun:
	default:
		close(u.begun)
	}
}

// dialTLS connects by TLS, for HTTP.
func (u *upstream) dialTLS(ctx context.Context, address string) (net.Conn, error) {
	cfg, err := clientConfig(u.info)
	if err != nil {
		return nil, err
	}
	if cfg.ServerName == "" {
		cfg.ServerName, _, _ = net.SplitHostPort(address)
	}
	cfg.NextProtos = []string{"http/1.1"}
	raw, err := u.dial(ctx, address)
	if err != nil {
		return nil, err
	}
	conn := tls.Client(raw, cfg)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

// dial goes the straight way: etcd is never beyond an HTTP proxy.
func (u *upstream) dial(ctx context.Context, address string) (net.Conn, error) {
	conn, err := (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext(ctx, "tcp", address)
	if err != nil && ctx.Err() == nil {
		u.lost()
	}
	return conn, err
}

// redial is dial for gRPC. It keeps its connections: that it wants one means that
// it has lost one, however soon there is somebody at the address again.
func (u *upstream) redial(ctx context.Context, address string) (net.Conn, error) {
	u.lost()
	return u.dial(ctx, address)
}

type schemeKey struct{}

// schemes are credentials that go by each URL's scheme. The files are read anew
// for each connection: they may have been rotated.
type schemes struct{ info transport.TLSInfo }

// ClientHandshake is gRPC's, as are the other exported methods.
func (s schemes) ClientHandshake(ctx context.Context, server string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if scheme, _ := credentials.ClientHandshakeInfoFromContext(ctx).Attributes.Value(schemeKey{}).(string); scheme != "https" {
		return insecure.NewCredentials().ClientHandshake(ctx, server, raw)
	}
	cfg, err := clientConfig(s.info)
	if err != nil {
		return nil, nil, err
	}
	return credentials.NewTLS(cfg).ClientHandshake(ctx, server, raw)
}

// clientConfig leaves the server's name to each connection.
func clientConfig(info transport.TLSInfo) (*tls.Config, error) {
	cfg, err := info.ClientConfig()
	if err != nil {
		return nil, err
	}
	cfg.ServerName = info.ServerName
	return cfg, nil
}

// Info says nothing of a server's name: each member has its own.
func (s schemes) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// ServerHandshake is for servers.
func (s schemes) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("this is a client")
}

// Clone gives a copy.
func (s schemes) Clone() credentials.TransportCredentials { return s }

// OverrideServerName does nothing; nobody asks for it.
func (s schemes) OverrideServerName(string) error { return nil }
