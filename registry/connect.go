package registry

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
)

// connector makes the connections to etcd, to each endpoint as its URL says:
// etcd's client would go by the first one's alone. It remembers why one could
// not be made, in words that say what to do: of an error that a request meets,
// often only "deadline exceeded" is left.
type connector struct {
	files     tlsFiles
	endpoints map[string]string // URLs, by what gRPC calls the server: host and port, or a socket's name

	mu      sync.Mutex
	members map[string]string  // as endpoints, of etcd's members that are none of these
	trouble map[string]trouble // by URL; while it lasts, it is renewed every few seconds
	up      int                // connections that something was heard on, and that aren't closed
	down    chan struct{}      // closed when none is left; nil while there is none
}

// trouble is why an endpoint could not be reached.
type trouble struct {
	err error
	at  time.Time
}

// staleTrouble is when a trouble is over, if nobody met it again.
const staleTrouble = 10 * time.Second

func newConnector(cfg Config) *connector {
	c := &connector{
		files:     tlsFiles{ca: cfg.CAFile, cert: cfg.CertFile, key: cfg.KeyFile},
		endpoints: map[string]string{}, members: map[string]string{}, trouble: map[string]trouble{},
	}
	for _, e := range cfg.Endpoints {
		c.endpoints[serverOf(e)] = e
	}
	return c
}

// serverOf is what gRPC calls a URL's server.
func serverOf(url string) string { return url[strings.LastIndexByte(url, '/')+1:] }

// learn makes the URL of a member known that isn't one of the endpoints: it is
// connected to as the URL says.
func (c *connector) learn(url string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.members[serverOf(url)] = url
}

// endpoint gives the URL of what gRPC knows by its address or server name.
func (c *connector) endpoint(name string) string {
	server := serverOf(name)
	if e, ok := c.endpoints[server]; ok {
		return e
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if e, ok := c.members[server]; ok {
		return e
	}
	return name
}

func (c *connector) note(endpoint string, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err == nil {
		delete(c.trouble, endpoint)
	} else {
		c.trouble[endpoint] = trouble{err, time.Now()}
	}
}

// why gives the endpoints' troubles that last, nil if there are none, and whether
// every endpoint has one.
func (c *connector) why() (all bool, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	var said []string
	for _, e := range slices.Sorted(maps.Values(c.endpoints)) {
		if t := c.trouble[e]; t.err != nil && time.Since(t.at) < staleTrouble {
			said = append(said, fmt.Sprintf("%s: %v", e, t.err))
		}
	}
	if len(said) == 0 {
		return false, nil
	}
	return len(said) == len(c.endpoints), errors.New(strings.Join(said, "; "))
}

// of gives the trouble with one endpoint, "" if there is none.
func (c *connector) of(endpoint string) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	if t := c.trouble[endpoint]; t.err != nil && time.Since(t.at) < staleTrouble {
		return t.err.Error()
	}
	return ""
}

// dial connects to an address of gRPC's. Like fleet 1.0 it uses no proxy.
func (c *connector) dial(ctx context.Context, address string) (net.Conn, error) {
	network, to := "tcp", address
	if path, ok := strings.CutPrefix(address, "unix:"); ok {
		network, to = "unix", strings.TrimPrefix(path, "//")
	}
	conn, err := (&net.Dialer{KeepAlive: 15 * time.Second}).DialContext(ctx, network, to)
	if err != nil {
		c.note(c.endpoint(address), err)
		c.rest(ctx)
	}
	return conn, err
}

// rest makes an attempt that has failed last for all the time that gRPC gives it,
// while there is another connection: gRPC's pauses must be short for when there is
// none, and by default an endpoint is named at which most hosts have nothing. To
// seek that every second was a good part of what an idle fleetd did.
func (c *connector) rest(ctx context.Context) {
	c.mu.Lock()
	down := c.down
	c.mu.Unlock()
	if down == nil {
		return
	}
	select {
	case <-down:
	case <-ctx.Done():
	}
}

// opened notes that something was heard on a connection.
func (c *connector) opened(g *greeted) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.closed {
		return
	}
	if g.up = true; c.up == 0 {
		c.down = make(chan struct{})
	}
	c.up++
}

// closed notes that gRPC has given a connection up.
func (c *connector) closed(g *greeted) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if g.up && !g.closed {
		if c.up--; c.up == 0 {
			close(c.down)
			c.down = nil
		}
	}
	g.closed = true
}

// ClientHandshake is gRPC's credentials.TransportCredentials, as are the other
// exported methods. The files are read anew each time: they may have been
// rotated.
func (c *connector) ClientHandshake(ctx context.Context, server string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	e := c.endpoint(server)
	conn, info, err := c.handshake(ctx, e, server, raw)
	if err != nil {
		c.note(e, err)
		return nil, nil, err
	}
	return &greeted{Conn: conn, connector: c, endpoint: e}, info, nil
}

func (c *connector) handshake(ctx context.Context, endpoint, server string, raw net.Conn) (net.Conn, credentials.AuthInfo, error) {
	if !secure(endpoint) {
		return insecure.NewCredentials().ClientHandshake(ctx, server, raw)
	}
	cfg, err := c.files.config()
	if err != nil {
		return nil, nil, err
	}
	conn, info, err := credentials.NewTLS(cfg).ClientHandshake(ctx, server, raw)
	if errors.Is(err, io.EOF) {
		err = errNoTLS
	}
	return conn, info, c.explain(endpoint, err)
}

func secure(endpoint string) bool {
	return strings.HasPrefix(endpoint, "https:") || strings.HasPrefix(endpoint, "unixs:")
}

// errNoTLS is how a server that expects something else may take a TLS greeting.
var errNoTLS = errors.New("the connection was ended in the handshake")

// explain adds to an error of the first moments of a connection what to do.
func (c *connector) explain(endpoint string, err error) error {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		alert     *net.OpError
		record    tls.RecordHeaderError
	)
	switch {
	case err == nil:
		return nil
	case errors.As(err, &authority):
		return fmt.Errorf("etcd's certificate is signed by an authority that this host does not trust: name the right CA's file in etcd_cafile (now %s): %w", orNone(c.files.ca), err)
	case errors.As(err, &host):
		return fmt.Errorf("etcd's certificate is not for this name: correct etcd_servers, or give etcd a certificate for it: %w", err)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("etcd's certificate is not valid at this time (if this host's clock is right, give etcd a new one): %w", err)
	case errors.As(err, &alert) && alert.Op == "remote error": // crypto/tls has no type for it
		return fmt.Errorf("etcd refuses this host's certificate, etcd_certfile %s%s: it must be valid and signed by the CA that etcd trusts for clients: %w", orNone(c.files.cert), c.files.expired(), err)
	case errors.As(err, &record), errors.Is(err, errNoTLS):
		return fmt.Errorf("it does not speak TLS there: write http:// instead of https:// in etcd_servers, or have etcd speak TLS: %w", err)
	case errors.Is(err, io.EOF) && !secure(endpoint):
		return fmt.Errorf("the connection was ended without a word: if etcd speaks TLS there, write https:// in etcd_servers: %w", err)
	}
	return err
}

func orNone(file string) string {
	if file == "" {
		return "not set"
	}
	return file
}

// Info says nothing of a server's name: each endpoint has its own.
func (c *connector) Info() credentials.ProtocolInfo {
	return credentials.ProtocolInfo{SecurityProtocol: "tls"}
}

// ServerHandshake is for servers.
func (c *connector) ServerHandshake(net.Conn) (net.Conn, credentials.AuthInfo, error) {
	return nil, nil, errors.New("this is a client")
}

// Clone gives the connector itself: it may be shared.
func (c *connector) Clone() credentials.TransportCredentials { return c }

// OverrideServerName does nothing; nobody asks for it.
func (c *connector) OverrideServerName(string) error { return nil }

// greeted is a connection that says how its first read went: only there a
// server tells that it refuses a certificate.
type greeted struct {
	net.Conn
	connector *connector
	endpoint  string
	once      sync.Once

	up, closed bool // guarded by the connector's mu
}

func (g *greeted) Read(b []byte) (int, error) {
	n, err := g.Conn.Read(b)
	g.once.Do(func() {
		if n > 0 {
			g.connector.opened(g)
			g.connector.note(g.endpoint, nil)
		} else if err != nil {
			err = g.connector.explain(g.endpoint, err)
			if !errors.Is(err, net.ErrClosed) { // gRPC itself gave up
				g.connector.note(g.endpoint, err)
			}
		}
	})
	return n, err
}

// Close is net.Conn's.
func (g *greeted) Close() error {
	g.connector.closed(g)
	return g.Conn.Close()
}
