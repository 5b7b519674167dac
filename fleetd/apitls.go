package main

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"fmt"
	"io"
	"math/big"
	"net"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleet-project/fleet/fleetd/config"
	"github.com/sirupsen/logrus"
)

// apiTLS makes what comes in by TCP speak TLS, if that is configured. Unix sockets
// stay plain: their mode says who may use them. The files are read with each
// connection, so that they can be renewed in place; while they can't be read, as
// when one is just being written, the last good ones serve.
type apiTLS struct {
	log *logrus.Entry
	// own is the certificate by which this process asks its own sockets whether
	// they answer, where clients need one. Its key never leaves the process.
	own *tls.Certificate
	// settings are replaced by a reload; nil: TCP is plain.
	settings atomic.Pointer[apiSettings]
}

// apiSettings is one configuration of the API's TLS.
type apiSettings struct {
	from apiPaths
	mu   sync.Mutex // guards what follows
	good *apiFiles  // as last read without an error
	said string     // what was wrong with them last, "" for nothing
}

// apiPaths names the files, and says where they are named.
type apiPaths struct{ cert, key, ca, certFrom, caFrom string }

func apiPathsOf(c *config.Config) apiPaths {
	return apiPaths{c.APICertFile, c.APIKeyFile, c.APICAFile, c.Source("api_certfile"), c.Source("api_cafile")}
}

// apiFiles is what the files hold.
type apiFiles struct {
	cert    tls.Certificate
	clients *x509.CertPool // nil: nobody is asked for a certificate
}

// newAPITLS reads the files; what is wrong with one is an error.
func newAPITLS(cfg *config.Config, log *logrus.Entry) (*apiTLS, error) {
	paths := apiPathsOf(cfg)
	files, err := paths.read()
	if err != nil {
		return nil, err
	}
	own, err := ownCertificate()
	if err != nil {
		return nil, fmt.Errorf("a certificate for fleetd itself: %w", err)
	}
	a := &apiTLS{log: log, own: own}
	if files != nil {
		a.settings.Store(&apiSettings{from: paths, good: files})
	}
	return a, nil
}

// use takes over newer paths for the connections that come.
func (a *apiTLS) use(paths apiPaths) {
	files, err := paths.read()
	switch {
	case err != nil:
		a.log.WithError(err).Error("the API's TLS stays as it was")
	case files == nil:
		a.settings.Store(nil)
	default:
		a.settings.Store(&apiSettings{from: paths, good: files})
	}
}

// read gives what the files hold; nil if none is named. Errors say by whom a file
// is named, and what it should hold.
func (p apiPaths) read() (*apiFiles, error) {
	if p.cert == "" {
		return nil, nil
	}
	cert, err := tls.LoadX509KeyPair(p.cert, p.key)
	if err != nil {
		return nil, fmt.Errorf("%s: api_certfile %s, api_keyfile %s: %w: both must be PEM, and belong together", p.certFrom, p.cert, p.key, err)
	}
	f := &apiFiles{cert: cert}
	if p.ca == "" {
		return f, nil
	}
	pem, err := os.ReadFile(p.ca)
	if err != nil {
		return nil, fmt.Errorf("%s: api_cafile: %w: it must hold the CA that signs clients' certificates, as PEM", p.caFrom, err)
	}
	f.clients = x509.NewCertPool()
	if !f.clients.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s: api_cafile %s: there is no PEM certificate in it", p.caFrom, p.ca)
	}
	return f, nil
}

// current reads the files again. The last good ones count while that fails, which
// is said once for each reason.
func (s *apiSettings) current(log *logrus.Entry) *apiFiles {
	files, err := s.from.read()
	s.mu.Lock()
	defer s.mu.Unlock()
	said := ""
	if err != nil {
		said = err.Error()
	} else {
		s.good = files
		if end := files.cert.Leaf.NotAfter; time.Now().After(end) {
			said = fmt.Sprintf("%s: api_certfile %s expired at %s: clients refuse it; put a newer one in its place",
				s.from.certFrom, s.from.cert, end.Format(time.RFC3339))
		}
	}
	if said != "" && said != s.said {
		log.Errorf("the API's TLS: %s", said)
	}
	s.said = said
	return s.good
}

// config is what a connection is answered with.
func (a *apiTLS) config(s *apiSettings, hello *tls.ClientHelloInfo) *tls.Config {
	files := s.current(a.log)
	cfg := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{files.cert}, NextProtos: []string{"http/1.1"}}
	if files.clients != nil {
		cfg.ClientAuth, cfg.ClientCAs = tls.RequireAndVerifyClientCert, files.clients.Clone()
		cfg.ClientCAs.AddCert(a.own.Leaf)
	}
	cfg.VerifyConnection = func(tls.ConnectionState) error {
		if c, ok := hello.Conn.(*newcomer); ok {
			c.let.Store(true)
		}
		return nil
	}
	return cfg
}

// over gives the listener whose connections speak TLS, if they come by TCP and as
// long as TLS is configured.
func (a *apiTLS) over(l net.Listener) net.Listener {
	if !isTCP(l.Addr()) {
		return l
	}
	return &tlsListener{Listener: l, tls: a}
}

func isTCP(addr net.Addr) bool { return addr.Network() == "tcp" }

type tlsListener struct {
	net.Listener
	tls *apiTLS
}

// Accept does not wait for the client to say anything: the server does, for as
// long as it pleases.
func (l *tlsListener) Accept() (net.Conn, error) {
	conn, err := l.Listener.Accept()
	s := l.tls.settings.Load()
	if err != nil || s == nil {
		return conn, err
	}
	return tls.Server(&newcomer{Conn: conn}, &tls.Config{
		MinVersion: tls.VersionTLS12, // of an error before there is another configuration
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			return l.tls.config(s, hello), nil
		},
	}), nil
}

// newcomer is a connection that may yet be refused.
type newcomer struct {
	net.Conn
	let atomic.Bool // in: it was not refused
}

// lastWord bounds how long a client that is refused may take to hear why.
const lastWord = 500 * time.Millisecond

// Close ends the connection so that who is refused hears why: a client that is
// sending its request already would find the connection reset instead.
func (c *newcomer) Close() error {
	half, ok := c.Conn.(*net.TCPConn)
	if ok && !c.let.Load() {
		if half.CloseWrite() == nil && half.SetReadDeadline(time.Now().Add(lastWord)) == nil {
			_, _ = io.CopyN(io.Discard, half, 1<<20) // nobody wants it
		}
	}
	return c.Conn.Close()
}

// ask is for a connection to one of this process's own sockets.
func (a *apiTLS) ask(conn net.Conn) net.Conn {
	if !isTCP(conn.RemoteAddr()) || a.settings.Load() == nil {
		return conn
	}
	return tls.Client(conn, &tls.Config{
		MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{*a.own},
		InsecureSkipVerify: true, //nolint:gosec // it asks whether somebody answers, and tells nothing
	})
}

// ownCertificate makes one that signs itself, for this process's life.
func ownCertificate() (*tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, err
	}
	template := &x509.Certificate{
		Subject: pkix.Name{CommonName: "fleetd itself"}, SerialNumber: big.NewInt(1),
		NotBefore: time.Unix(0, 0), NotAfter: time.Date(9999, 12, 31, 0, 0, 0, 0, time.UTC),
		KeyUsage: x509.KeyUsageDigitalSignature, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		return nil, err
	}
	leaf, err := x509.ParseCertificate(der)
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key, Leaf: leaf}, err
}

// tell says in the log who may use the API by TCP.
func (a *apiTLS) tell(listeners []net.Listener) {
	s := a.settings.Load()
	tcp := false
	for _, l := range listeners {
		if !isTCP(l.Addr()) {
			continue
		}
		tcp = true
		switch {
		case s == nil:
			a.log.Warnf("the API on %s has no TLS: who can connect there, as any user of this host can, is root on every host; "+
				"set api_certfile, api_keyfile and api_cafile, or take the socket away (systemctl cat fleet.socket)", l.Addr())
		case s.from.ca == "":
			a.log.Warnf("the API on %s asks clients for no certificate: who can connect there, as any user of this host can, is root on every host; "+
				"set api_cafile", l.Addr())
		default:
			a.log.Infof("the API on %s speaks TLS; a client needs a certificate that %s has signed", l.Addr(), s.from.ca)
		}
	}
	if s != nil && !tcp {
		a.log.Warnf("%s: api_certfile has no effect: systemd passed no TCP socket (ListenStream=HOST:PORT in a drop-in of fleet.socket)", s.from.certFrom)
	}
}
