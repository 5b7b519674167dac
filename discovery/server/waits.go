package server

import (
	"context"
	"net/http"
	"sync"
	"time"

	"github.com/fleet-project/fleet/discovery"
	"github.com/fleet-project/fleet/discovery/token"
)

// waits bounds how many requests wait, in all and for one token.
type waits struct {
	most, each int

	mu  sync.Mutex
	all int
	of  map[token.ID]int
}

func (w *waits) begin(id token.ID) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.all >= w.most || w.of[id] >= w.each {
		return false
	}
	w.all++
	w.of[id]++
	return true
}

func (w *waits) end(id token.ID) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.all--
	if w.of[id]--; w.of[id] == 0 {
		delete(w.of, id)
	}
}

func (w *waits) count() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.all
}

// wait answers with the first member that joined at an index or later, now or
// once there is one. It ends empty when it took long enough: etcd asks again.
func (s *Server) wait(w http.ResponseWriter, r *http.Request, at address, since uint64) error {
	t, changed, err := s.tokens.get(at.token)
	if err != nil {
		return err
	}
	if since == 0 {
		since = t.Index() + 1
	}
	found := func(t token.Token) *discovery.Answer {
		m, index, ok := t.Since(since)
		if at.member != "" {
			m, index, ok = t.Find(at.member)
			ok = ok && index >= since
		}
		if !ok {
			return nil
		}
		return &discovery.Answer{Action: "create", Node: memberNode(t.ID, m, index)}
	}
	if a := found(t); a != nil {
		return s.answer(w, http.StatusOK, t.Index(), a)
	}
	if !s.waits.begin(at.token) {
		return errWaits
	}
	defer s.waits.end(at.token)
	control := http.NewResponseController(w)
	_ = control.SetWriteDeadline(s.deadline(s.opts.Poll))
	// The head goes at once, as etcd's did: proxies on the way see life.
	head(w, t.Index())
	w.WriteHeader(http.StatusOK)
	_ = control.Flush()
	ctx, cancel := context.WithTimeout(r.Context(), s.opts.Poll)
	defer cancel()
	for {
		select {
		case <-changed:
		case <-ctx.Done():
			return nil
		case <-s.ending:
			return nil
		}
		if t, changed, err = s.tokens.get(at.token); err != nil {
			return nil // expired meanwhile: the next request is told
		}
		if a := found(t); a != nil {
			return write(w, a)
		}
	}
}

// deadline is when a client must have taken its answer that is ready in so long.
func (s *Server) deadline(ready time.Duration) time.Time {
	return time.Now().Add(ready + s.opts.Patience.Answer)
}
