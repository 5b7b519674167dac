// Package server is the discovery service: it hands out URLs at which the hosts
// of a new etcd cluster find each other. It speaks etcd 2's discovery protocol,
// as discovery.etcd.io did, with its defects mended: a member never is
// overwritten, sizes are checked, errors are JSON that etcd understands.
package server

import (
	"cmp"
	"context"
	"crypto/rand"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/fleet-project/fleet/discovery/token"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
)

// Options say how to serve. What is zero has a default, but for Store.
type Options struct {
	Store     *Store
	Advertise string // what URLs begin with; by default as the asker reached us
	CertFile  string // with KeyFile: serve HTTPS with this certificate; read again when it is renewed
	KeyFile   string
	Lifetime  token.Lifetime // by default 7 days, and a year once complete
	Tokens    int            // how many may be alive at once: 10,000
	Waits     int            // how many requests may wait at once: 4,096
	WaitsEach int            // and for one token: 128
	Poll      time.Duration  // how long a wait lasts before it ends empty: a minute
	Patience  Patience

	Registerer prometheus.Registerer
	Metrics    http.Handler // serves /metrics; nil: there is none
	Log        *logrus.Entry

	Now    func() time.Time
	Random io.Reader
}

// Patience is how long a client may take before it is cut off.
type Patience struct {
	Header time.Duration // for a request's headers
	Body   time.Duration // for its body
	Answer time.Duration // to take an answer
	Idle   time.Duration // for a connection's next request
	Grace  time.Duration // for requests under way when the server stops
}

// Server is the service.
type Server struct {
	opts    Options
	tokens  *tokens
	waits   waits
	metrics metrics
	ending  chan struct{} // closed when Serve is about to return
	tls     *tls.Config   // nil: plain HTTP
}

// New reads the store.
func New(opts Options) (*Server, error) {
	if err := checkAdvertise(opts.Advertise); err != nil {
		return nil, err
	}
	opts.Advertise = strings.TrimSuffix(opts.Advertise, "/")
	const day = 24 * time.Hour
	opts.Lifetime.Unfinished = cmp.Or(opts.Lifetime.Unfinished, 7*day)
	opts.Lifetime.Complete = cmp.Or(opts.Lifetime.Complete, 365*day)
	opts.Tokens = cmp.Or(opts.Tokens, 10_000)
	opts.Poll = cmp.Or(opts.Poll, time.Minute)
	p := &opts.Patience
	*p = Patience{
		Header: cmp.Or(p.Header, 10*time.Second), Body: cmp.Or(p.Body, 10*time.Second), Answer: cmp.Or(p.Answer, 10*time.Second),
		Idle: cmp.Or(p.Idle, 2*time.Minute), Grace: cmp.Or(p.Grace, 2*time.Second),
	}
	if opts.Now == nil {
		opts.Now = time.Now
	}
	if opts.Random == nil {
		opts.Random = rand.Reader
	}
	if opts.Log == nil {
		opts.Log = logrus.NewEntry(logrus.StandardLogger())
	}
	secure, err := tlsOf(opts.CertFile, opts.KeyFile, opts.Log)
	if err != nil {
		return nil, err
	}
	s := &Server{
		opts:   opts,
		tokens: &tokens{store: opts.Store, lifetime: opts.Lifetime, most: opts.Tokens, now: opts.Now},
		waits:  waits{most: cmp.Or(opts.Waits, 4096), each: cmp.Or(opts.WaitsEach, 128), of: map[token.ID]int{}},
		ending: make(chan struct{}), tls: secure,
	}
	if err := s.tokens.load(); err != nil {
		return nil, err
	}
	s.metrics = newMetrics(opts.Registerer, s)
	s.tokens.forgotten = s.metrics.expired
	return s, nil
}

func checkAdvertise(text string) error {
	if text == "" {
		return nil
	}
	u, err := url.Parse(text)
	if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return fmt.Errorf("--advertise %s: write http://HOST:PORT or https://HOST, as hosts reach this service", text)
	}
	return nil
}

// sweepEvery is how often expired tokens leave the disk; nobody sees them before.
const sweepEvery = 10 * time.Minute

// Serve answers until ctx ends. It can be called once.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler: s, ReadHeaderTimeout: s.opts.Patience.Header, IdleTimeout: s.opts.Patience.Idle, MaxHeaderBytes: 16 << 10,
		TLSConfig: s.tls,
	}
	sweeping, stopSweeping := context.WithCancel(ctx)
	swept := make(chan struct{})
	go func() {
		defer close(swept)
		s.sweep(sweeping)
	}()
	stopped := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(stopped)
		close(s.ending) // waits end, empty; their clients ask again
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.opts.Patience.Grace)
		defer cancel()
		if h.Shutdown(grace) != nil {
			h.Close()
		}
	})
	var err error
	if s.tls != nil {
		err = h.ServeTLS(l, "", "")
	} else {
		err = h.Serve(l)
	}
	if !stop() {
		<-stopped
	}
	stopSweeping()
	<-swept
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("discovery on %s: %w", l.Addr(), err)
}

func (s *Server) sweep(ctx context.Context) {
	ticker := time.NewTicker(sweepEvery)
	defer ticker.Stop()
	for {
		n, err := s.tokens.sweep()
		if err != nil {
			s.opts.Log.WithError(err).Error("cannot remove expired tokens: trying again")
		} else if n > 0 {
			s.opts.Log.Infof("forgot %d expired tokens", n)
		}
		select {
		case <-ticker.C:
		case <-ctx.Done():
			return
		}
	}
}
