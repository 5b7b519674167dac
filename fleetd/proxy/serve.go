package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log"
	"math"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"time"

	"google.golang.org/grpc"
)

// server is what clients see at the client URLs: gRPC, and etcd's HTTP.
type server struct {
	http *http.Server
	grpc *grpc.Server
}

func newServer(up *upstream, metrics http.Handler) *server {
	s := &server{grpc: newForwarder(up)}
	mux := http.NewServeMux()
	if metrics != nil {
		mux.Handle("GET /metrics", metrics)
	}
	pass := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: "members"}) // eachMember puts one's in
			r.Out.Header.Set(viaHeader, "1")
		},
		Transport:    newEachMember(up),
		ErrorHandler: unavailable,
		ErrorLog:     log.New(io.Discard, "", 0), // the handler answers with it
	}
	for _, path := range []string{"/health", "/livez", "/livez/", "/readyz", "/readyz/", "/version", "/v3/"} {
		mux.Handle(path, pass)
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(true)
	protocols.SetHTTP2(true)
	protocols.SetUnencryptedHTTP2(true) // which gRPC without TLS is
	s.http = &http.Server{
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.ProtoMajor == 2 && strings.HasPrefix(r.Header.Get("Content-Type"), "application/grpc") {
				s.grpc.ServeHTTP(w, r)
				return
			}
			if r.Header.Get(viaHeader) != "" {
				unavailable(w, r, errors.New("a proxy does not serve another proxy"))
				return
			}
			mux.ServeHTTP(w, r)
		}),
		Protocols:         protocols,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: math.MaxInt32},
		ReadHeaderTimeout: 10 * time.Second,
		ErrorLog:          log.New(io.Discard, "", 0),
	}
	return s
}

func (s *server) serve(l net.Listener) error {
	if err := s.http.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// close ends all streams: watches would never end by themselves.
func (s *server) close() error {
	err := s.http.Close()
	s.grpc.Stop()
	return err
}

// unavailable answers as /health does of an etcd that is ill.
func unavailable(w http.ResponseWriter, _ *http.Request, err error) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusServiceUnavailable)
	_ = json.NewEncoder(w).Encode(map[string]string{"health": "false", "reason": err.Error()})
}

// eachMember sends a request to one member, or the next if that one can't be
// reached, or is not well and the request only asks.
type eachMember struct {
	up   *upstream
	http *http.Transport
}

func newEachMember(up *upstream) *eachMember {
	t := &http.Transport{MaxIdleConnsPerHost: 2, IdleConnTimeout: time.Minute}
	t.DialContext = func(ctx context.Context, _, address string) (net.Conn, error) { return up.dial(ctx, address) }
	t.DialTLSContext = func(ctx context.Context, _, address string) (net.Conn, error) {
		return up.dialTLS(ctx, address)
	}
	return &eachMember{up: up, http: t}
}

// RoundTrip is http.RoundTripper's.
func (e *eachMember) RoundTrip(req *http.Request) (*http.Response, error) {
	err := e.up.empty(req.Context())
	if err != nil {
		return nil, err
	}
	for _, to := range e.up.list() {
		try := req.Clone(req.Context())
		try.URL.Scheme, try.URL.Host, try.Host = to[0].Scheme, to[0].Host, to[0].Host
		var resp *http.Response
		resp, err = e.http.RoundTrip(try)
		asks := req.Method == http.MethodGet
		switch {
		case err == nil && (!asks || resp.StatusCode != http.StatusServiceUnavailable):
			return resp, nil
		case err == nil:
			err = errors.New(to[0].Host + " answers " + resp.Status)
			resp.Body.Close()
		case !asks && !notReached(err):
			return nil, err
		}
	}
	return nil, err
}

// notReached reports whether nothing of a request came to the member.
func notReached(err error) bool {
	var op *net.OpError
	return errors.As(err, &op) && op.Op == "dial"
}
