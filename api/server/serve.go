package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log"
	"net"
	"net/http"
	"runtime/debug"
	"strings"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/sirupsen/logrus"
)

// Patience is how long the server waits for a client before it cuts it off: so
// that nobody can hold it up, nor use up its connections, by being slow.
type Patience struct {
	Header time.Duration // for a request's headers
	Body   time.Duration // for its body
	Answer time.Duration // for the client to read an answer, or one line of a watch
	Idle   time.Duration // for the next request of a connection
	Grace  time.Duration // for requests under way when the server stops
}

func (p Patience) orDefault() Patience {
	return Patience{
		Header: cmp.Or(p.Header, 10*time.Second), Body: cmp.Or(p.Body, 30*time.Second), Answer: cmp.Or(p.Answer, 30*time.Second),
		Idle: cmp.Or(p.Idle, 2*time.Minute), Grace: cmp.Or(p.Grace, 2*time.Second),
	}
}

// Serve answers on one listener until ctx ends.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	h := &http.Server{
		Handler: s, ReadHeaderTimeout: s.patience.Header, IdleTimeout: s.patience.Idle,
		// Streams end with the base context, at once.
		BaseContext: func(net.Listener) context.Context { return ctx },
		ErrorLog:    log.New(warnings{s.log}, "", 0),
	}
	done := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(done)
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), s.patience.Grace)
		defer cancel()
		if h.Shutdown(grace) != nil {
			h.Close()
		}
	})
	err := h.Serve(l)
	if !stop() {
		<-done
	}
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return fmt.Errorf("the API on %s: %w", l.Addr(), err)
}

// warnings has what net/http says, such as of clients whose certificate is refused,
// where all else is said.
type warnings struct{ log *logrus.Entry }

// Write is io.Writer's.
func (w warnings) Write(line []byte) (int, error) {
	w.log.Warn(strings.TrimSpace(string(line)))
	return len(line), nil
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.metrics.measured(w, r, s.serve)
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request) {
	a := &answering{ResponseWriter: w}
	defer s.survive(a, r)
	if !isMetrics(r) { // a scrape is nobody who asks about the cluster
		s.attention.begin()
		defer s.attention.end()
	}
	// Not http.Server's ReadTimeout and WriteTimeout: they would cut off watches.
	// A writer without deadlines is a test's.
	control := http.NewResponseController(w)
	if r.ContentLength != 0 {
		_ = control.SetReadDeadline(time.Now().Add(s.patience.Body))
	}
	_ = control.SetWriteDeadline(time.Now().Add(s.patience.Body + readyTime + s.patience.Answer))
	if s.opts.Version != "" {
		w.Header().Set("Server", "fleetd/"+s.opts.Version)
	}
	s.route(a, r)
}

// answering notes whether an answer has begun.
type answering struct {
	http.ResponseWriter
	begun bool
}

// Unwrap is for http.ResponseController.
func (a *answering) Unwrap() http.ResponseWriter { return a.ResponseWriter }

// WriteHeader is http.ResponseWriter's.
func (a *answering) WriteHeader(code int) {
	a.begun = true
	a.ResponseWriter.WriteHeader(code)
}

// Write is http.ResponseWriter's.
func (a *answering) Write(b []byte) (int, error) {
	a.begun = true
	return a.ResponseWriter.Write(b)
}

// survive turns a panic into an answer: one request that fleetd has a mistake for
// must not look like a fleetd that is gone.
func (s *Server) survive(a *answering, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // a sentinel to panic with
		panic(p)
	}
	s.log.Errorf("a panic while answering %s %q: %v\n%s", r.Method, r.URL.Path, p, debug.Stack())
	if a.begun {
		panic(http.ErrAbortHandler) // half an answer must not look whole
	}
	s.refuse(a, r, &api.Error{Code: http.StatusInternalServerError, Message: "an error in fleetd itself: its log on this host has the details, please report them"})
}
