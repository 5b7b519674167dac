package server

import (
	"cmp"
	"encoding/json"
	"net/http"
	"strconv"
	"time"

	"github.com/fleet-project/fleet/api"
)

const (
	// longAnswer is from where an answer counts as long: one that is shorter fits
	// into what the system buffers, whether the client reads it or not.
	longAnswer = 64 << 10
	// defaultUnread bounds what clients that are slow to read can make fleetd
	// hold, however many they are.
	defaultUnread = 256 << 20
)

// answer writes a value as JSON.
func (s *Server) answer(w http.ResponseWriter, code int, v any) error {
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return s.answerJSON(w, code, append(body, '\n'))
}

// answerJSON writes what is JSON already, and a line.
func (s *Server) answerJSON(w http.ResponseWriter, code int, body []byte) error {
	done, ok := s.hold(len(body))
	if !ok {
		return &api.Error{Code: http.StatusServiceUnavailable, RetryAfter: time.Second, Message: "too many long answers wait for slow clients: ask again, or for less by limit"}
	}
	defer done()
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(code)
	_, _ = w.Write(body) // the client is gone: nobody to tell
	return nil
}

// hold says whether an answer of that many bytes may be under way; done is to be
// called when it no longer is. One alone always may.
func (s *Server) hold(size int) (done func(), ok bool) {
	n := int64(size)
	if n < longAnswer {
		return func() {}, true
	}
	if all := s.unread.Add(n); all > n && all > cmp.Or(s.opts.Unread, defaultUnread) {
		s.unread.Add(-n)
		return nil, false
	}
	return func() { s.unread.Add(-n) }, true
}
