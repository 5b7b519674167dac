package server

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"

	"github.com/fleet-project/fleet/api"
)

const (
	// glance is how often a watch looks at what tells by no event: whether etcd
	// answers, and why a unit still has no place.
	glance = time.Second
	// maxWatches bounds how many watches may be open at once: each holds what it
	// has told.
	maxWatches = 1000
)

// beginWatch says whether there may be one more watch; its end is to be called
// when it is over.
func (s *Server) beginWatch(r *http.Request) (end func(), err error) {
	if r.ContentLength != 0 { // it would have to come within the time for bodies
		return nil, badRequest("a watch takes no body")
	}
	if s.watches.Add(1) > maxWatches {
		s.watches.Add(-1)
		return nil, &api.Error{Code: http.StatusServiceUnavailable, RetryAfter: 10 * time.Second, Message: fmt.Sprintf("%d watches are open at this fleetd: end some, or ask another", maxWatches)}
	}
	return func() { s.watches.Add(-1) }, nil
}

// lines is an answer that goes on: one JSON object a line, for as long as the
// client stays.
type lines struct {
	w        io.Writer
	out      *json.Encoder
	control  *http.ResponseController
	patience time.Duration // with a client that leaves a line unread
	spoke    time.Time
}

// newLines begins the answer. It gives nil for a request that wants no more
// than the headers.
func newLines(w http.ResponseWriter, r *http.Request, patience time.Duration) *lines {
	w.Header().Set("Content-Type", api.StreamType)
	w.Header().Set("X-Accel-Buffering", "no") // for proxies: pass each line on at once
	w.WriteHeader(http.StatusOK)
	if r.Method == http.MethodHead {
		return nil
	}
	return &lines{w: w, out: json.NewEncoder(w), control: http.NewResponseController(w), patience: patience}
}

// send writes a line and has it sent at once.
func (l *lines) send(v any) error {
	if err := l.write(v); err != nil {
		return err
	}
	return l.flush()
}

func (l *lines) write(v any) error {
	l.begin()
	return l.out.Encode(v)
}

// writeText writes whole lines that are JSON already.
func (l *lines) writeText(text []byte) error {
	l.begin()
	_, err := l.w.Write(text)
	return err
}

func (l *lines) begin() {
	l.spoke = time.Now()
	// A client that doesn't read is cut off, rather than waited for.
	_ = l.control.SetWriteDeadline(l.spoke.Add(l.patience)) // a writer without deadlines is a test's
}

func (l *lines) flush() error { return l.control.Flush() }

// pending is what a watch has to look at again. It holds keys, not events:
// however slowly a client reads, no more than one entry a key waits for it, and
// it gets the latest.
type pending[K comparable] struct {
	mu    sync.Mutex
	keys  map[K]struct{}
	all   bool
	ready chan struct{} // has one element while there is anything to look at
}

func newPending[K comparable]() *pending[K] {
	return &pending[K]{keys: map[K]struct{}{}, ready: make(chan struct{}, 1)}
}

func (p *pending[K]) touch(key K) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.keys[key] = struct{}{}
	p.wake()
}

// touchAll has the watch look at everything.
func (p *pending[K]) touchAll() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.all = true
	p.wake()
}

func (p *pending[K]) wake() {
	select {
	case p.ready <- struct{}{}:
	default:
	}
}

// take gives the keys to look at, in no order, or says that it is all of them.
func (p *pending[K]) take() (keys []K, all bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for k := range p.keys {
		keys = append(keys, k)
	}
	all = p.all
	p.all = false
	clear(p.keys)
	select {
	case <-p.ready:
	default:
	}
	return keys, all
}
