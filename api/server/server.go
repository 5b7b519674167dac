// Package server answers fleet's HTTP API. It decides nothing: it reads what
// the registry follows into memory (cache.go) while somebody asks (attention.go),
// writes what users want through the registry's verbs, and asks the planner to
// explain (explain.go).
//
// Reads are linearizable: the server asks etcd for its revision, which is cheap,
// and answers from memory once that is as new. A write is answered when the
// server itself has seen it. While etcd does not answer, neither does the
// server: 503, with the reason.
//
// Clients that are slow are cut off (serve.go), bodies are bounded and must be
// unambiguous (body.go), and each error has the same shape.
package server

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"
)

const (
	// readyTime is how long a request waits for etcd to answer and for the
	// memory to be as new, before it is told to come back.
	readyTime = 2 * time.Second
	// defaultPageSize is fleet 1.0's.
	defaultPageSize = 100
	// maxPageSize bounds what a client may ask for.
	maxPageSize = 5000
)

// Registry is what the server needs of the registry.
type Registry interface {
	Follow(ctx context.Context, fn func(registry.Update) error) error
	Revision(ctx context.Context) (int64, error)
	RequestProgress(ctx context.Context) error
	Health() error
	SubmitUnit(ctx context.Context, name unit.Name, text []byte, target unit.Target) (created bool, rev int64, err error)
	SetTarget(ctx context.Context, name unit.Name, target unit.Target) (rev int64, err error)
	RestartUnit(ctx context.Context, name unit.Name) (rev int64, err error)
	RestartUnitOn(ctx context.Context, name unit.Name, on machine.ID, inUse func(machine.ID) bool) (rev int64, err error)
	DestroyUnit(ctx context.Context, name unit.Name) (rev int64, err error)
	UpdateOverrides(ctx context.Context, ids []machine.ID, change func(machine.ID, *record.Overrides) error) (rev int64, err error)
}

// Options say what a server works with.
type Options struct {
	Registry Registry
	// AgentTTL is what the engine knows as a machine's grace; it explains by it.
	AgentTTL time.Duration
	// PageSize is how many entries a page of a list has, unless the client asks
	// otherwise; 100 when zero.
	PageSize int
	Version  string
	Log      *logrus.Entry
	// RestAfter is how long after its last request a server goes on following the
	// cluster; 10 minutes when zero.
	RestAfter time.Duration
	// Patience is with clients; what is zero is the default.
	Patience Patience
	// Unread is how many bytes of long answers may wait for clients to read them;
	// 256 MiB when zero.
	Unread int64
	// Metrics answers GET /metrics; nil: there are none.
	Metrics http.Handler
	// Doctor examines this host, for GET /doctor; nil: nobody does.
	Doctor func(context.Context) api.Diagnosis
	// Registerer takes the server's own metrics; nil: none.
	Registerer prometheus.Registerer
}

// Server is the API as an http.Handler. It answers while Run runs.
type Server struct {
	opts      Options
	log       *logrus.Entry
	patience  Patience
	cache     *cache
	explainer *explainer
	attention *attention
	watches   atomic.Int64 // that are open
	unread    atomic.Int64 // bytes of long answers under way
	metrics   metrics
	pageSize  atomic.Int64
}

// New makes a server; Run starts it.
func New(opts Options) *Server {
	if opts.Log == nil {
		opts.Log = logrus.NewEntry(logrus.StandardLogger())
	}
	s := &Server{
		opts: opts, log: opts.Log, patience: opts.Patience.orDefault(), cache: newCache(), attention: newAttention(), metrics: newMetrics(opts.Registerer),
	}
	s.opts.RestAfter = cmp.Or(opts.RestAfter, restAfter)
	s.explainer = newExplainer(s.cache, opts.AgentTTL)
	s.SetPageSize(opts.PageSize)
	return s
}

// SetPageSize changes how many entries a page has from now on; 0: 100.
func (s *Server) SetPageSize(n int) {
	if n <= 0 {
		n = defaultPageSize
	}
	s.pageSize.Store(int64(n))
}

// Report is what the server holds in memory, for a person who wonders.
type Report struct {
	Loaded     bool  `json:"loaded"` // the cluster has been read
	Revision   int64 `json:"revision"`
	Units      int   `json:"units"`
	Files      int   `json:"files"`
	Machines   int   `json:"machines"`
	Placements int   `json:"placements"`
	States     int   `json:"states"`
}

// Report tells it at once, unless the server is stuck.
func (s *Server) Report() Report {
	c := s.cache
	c.mu.RLock()
	defer c.mu.RUnlock()
	return Report{
		Loaded: c.loaded, Revision: c.view.Revision, Units: len(c.view.Units), Files: len(c.view.Files),
		Machines: len(c.view.Machines), Placements: len(c.view.Schedule), States: len(c.view.States),
	}
}

// fresh waits until the memory holds all that was acknowledged before.
func (s *Server) fresh(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTime, errBehind)
	defer cancel()
	rev, err := s.opts.Registry.Revision(ctx)
	if err != nil {
		return s.unready(ctx, err)
	}
	for {
		if s.cache.reached(rev) {
			return nil
		}
		// The revision may be of keys that aren't fleet's: no event will tell.
		if err := s.opts.Registry.RequestProgress(ctx); err != nil {
			return s.unready(ctx, err)
		}
		again, stop := context.WithTimeout(ctx, progressPause)
		err := s.cache.await(again, rev)
		stop()
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return s.unready(ctx, context.Cause(ctx))
		}
	}
}

// progressPause is how long an answer to a request for progress is waited for:
// etcd sends none while a watch is catching up.
const progressPause = 100 * time.Millisecond

var errBehind = errors.New("this fleetd is still catching up with etcd")

// seen waits until the memory holds what was written at the revision.
func (s *Server) seen(ctx context.Context, rev int64) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyTime, errBehind)
	defer cancel()
	if err := s.cache.await(ctx, rev); err != nil {
		e := s.unready(ctx, context.Cause(ctx))
		e.Message = "the change was made, but " + e.Message
		return e
	}
	return nil
}

// unready says that the server cannot answer now, and why.
func (s *Server) unready(ctx context.Context, err error) *api.Error {
	reason := err
	var refused *registry.RefusedError
	if h := s.opts.Registry.Health(); errors.As(h, &refused) {
		reason = refused
	} else if h != nil {
		reason = fmt.Errorf("etcd does not answer (%w): more than half of its members must be up, and within this host's reach", h)
	} else if errors.Is(err, context.DeadlineExceeded) && context.Cause(ctx) != nil {
		reason = context.Cause(ctx)
	}
	return &api.Error{
		Code: http.StatusServiceUnavailable, RetryAfter: time.Second,
		Message: fmt.Sprintf("fleetd cannot answer now: %v", reason),
	}
}

// failed turns a registry's error into what the client is told.
func (s *Server) failed(ctx context.Context, name unit.Name, err error) error {
	var refused *api.Error
	var unreadable *registry.UnreadableError
	var cluster *registry.ClusterError
	switch {
	case errors.As(err, &refused):
		return err
	case errors.As(err, &unreadable): // to ask again won't help
		return conflict("%v", unreadable)
	case errors.As(err, &cluster): // nor here, but on another host it may
		return &api.Error{Code: http.StatusServiceUnavailable, Message: fmt.Sprintf("this fleetd takes no changes: %v", cluster)}
	case errors.Is(err, registry.ErrNotFound):
		return notFound("unit %s does not exist", name)
	}
	return s.unready(ctx, err)
}

func notFound(format string, args ...any) error {
	return &api.Error{Code: http.StatusNotFound, Message: fmt.Sprintf(format, args...)}
}

func badRequest(format string, args ...any) error {
	return &api.Error{Code: http.StatusBadRequest, Message: fmt.Sprintf(format, args...)}
}

func conflict(format string, args ...any) error {
	return &api.Error{Code: http.StatusConflict, Message: fmt.Sprintf(format, args...)}
}

// refuse writes an error in the API's one shape.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, err error) {
	var e *api.Error
	if !errors.As(err, &e) {
		s.log.WithError(err).Errorf("%s %q", r.Method, r.URL.Path)
		e = &api.Error{Code: http.StatusInternalServerError, Message: err.Error()}
	}
	if e.RetryAfter > 0 {
		w.Header().Set("Retry-After", fmt.Sprint(int(max(e.RetryAfter, time.Second)/time.Second)))
	}
	_ = s.answer(w, e.Code, api.Failure{Error: *e}) // an Error can be marshalled
}
