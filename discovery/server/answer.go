package server

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/fleet-project/fleet/discovery"
	"github.com/fleet-project/fleet/discovery/token"
)

const keyNotFound = "Key not found"

var (
	errWaits  = errors.New("too many requests wait already")
	errMethod = errors.New("the method is not allowed here")
	errSlow   = errors.New("the request did not come in whole")
)

func memberKey(id token.ID, member token.MemberID) string {
	return "/" + string(id) + "/" + string(member)
}

func memberNode(id token.ID, m token.Member, index uint64) *discovery.Node {
	return &discovery.Node{Key: memberKey(id, m.ID), Value: &m.Value, ModifiedIndex: index, CreatedIndex: index}
}

func sizeNode(t token.Token) *discovery.Node {
	size := strconv.Itoa(t.Size)
	return &discovery.Node{Key: "/" + string(t.ID) + "/_config/size", Value: &size, ModifiedIndex: 1, CreatedIndex: 1}
}

// tokenNode is a token as etcd lists a directory: keys that begin with _ are hidden.
func tokenNode(t token.Token) *discovery.Node {
	n := &discovery.Node{Key: "/" + string(t.ID), Dir: true, ModifiedIndex: 1, CreatedIndex: 1}
	for i, m := range t.Members {
		n.Nodes = append(n.Nodes, memberNode(t.ID, m, t.IndexOf(i)))
	}
	return n
}

func head(w http.ResponseWriter, index uint64) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set(discovery.IndexHeader, strconv.FormatUint(index, 10))
}

func (s *Server) answer(w http.ResponseWriter, code int, index uint64, a *discovery.Answer) error {
	head(w, index)
	w.WriteHeader(code)
	return write(w, a)
}

// write writes what comes after the head. A client that is gone is no error.
func write(w io.Writer, body any) error {
	text, err := json.Marshal(body)
	if err != nil {
		return err
	}
	_, _ = w.Write(append(text, '\n'))
	return nil
}

func text(w http.ResponseWriter, body string) error {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	w.Header().Set("X-Content-Type-Options", "nosniff")
	_, _ = io.WriteString(w, body)
	return nil
}

// withIndex adds to a refusal how far the token has come.
func withIndex(err error, t token.Token) error {
	var refusal *token.Refusal
	if !errors.As(err, &refusal) {
		return err
	}
	f := failure(refusal)
	f.Index = t.Index()
	return f
}

// failure is a refusal in etcd's words.
func failure(r *token.Refusal) *discovery.Failure {
	switch r.Kind {
	case token.Exists:
		return &discovery.Failure{Code: discovery.CodeNodeExists, Message: "Key already exists", Cause: r.Why}
	case token.Full:
		return &discovery.Failure{Code: discovery.CodeFull, Message: "Reached the max number of peers in the cluster", Cause: r.Why}
	case token.AddressTaken:
		return &discovery.Failure{Code: discovery.CodeAddressTaken, Message: "Peer address has existed", Cause: r.Why}
	}
	return &discovery.Failure{Code: discovery.CodeInvalidField, Message: "Invalid field", Cause: r.Why}
}

// statusOf gives the HTTP status of a code, as etcd did.
func statusOf(code int) int {
	switch code {
	case discovery.CodeKeyNotFound:
		return http.StatusNotFound
	case discovery.CodeCompareFailed, discovery.CodeNodeExists:
		return http.StatusPreconditionFailed
	case discovery.CodeUnavailable:
		return http.StatusServiceUnavailable
	}
	return http.StatusBadRequest
}

// refuse tells a client of an error: what is its own, in full; what is ours goes
// to the log.
func (s *Server) refuse(w http.ResponseWriter, r *http.Request, at address, err error) {
	status := 0
	var f *discovery.Failure
	var refusal *token.Refusal
	switch {
	case errors.As(err, &f):
	case errors.As(err, &refusal):
		f = failure(refusal)
	case errors.Is(err, errUnknown):
		f = &discovery.Failure{Code: discovery.CodeKeyNotFound, Message: keyNotFound, Cause: fmt.Sprintf(
			"/%s: this URL was never given out here, or has expired; make a new one with /new?size=3", at.token)}
	case errors.Is(err, errMethod):
		status = http.StatusMethodNotAllowed
		f = &discovery.Failure{Code: discovery.CodeInvalidField, Message: "Invalid field", Cause: fmt.Sprintf(
			"%.20s is not allowed here, but %s: a size and a member are for good, for others have read them", r.Method, w.Header().Get("Allow"))}
	case errors.Is(err, errSlow):
		status = http.StatusRequestTimeout // after which our clients try again
		f = &discovery.Failure{Code: discovery.CodeInvalidForm, Message: "Invalid POST form", Cause: err.Error() + ": try again"}
	case errors.Is(err, errWaits), errors.Is(err, errMost):
		f = &discovery.Failure{Code: discovery.CodeUnavailable, Message: "Unavailable", Cause: err.Error() + ": try again later"}
	default:
		s.opts.Log.WithError(err).Errorf("cannot answer %s %s", r.Method, at.route)
		f = &discovery.Failure{Code: discovery.CodeUnavailable, Message: "Unavailable", Cause: "the service could not store it: its log has the reason"}
	}
	if status == 0 {
		status = statusOf(f.Code)
	}
	if status == http.StatusServiceUnavailable {
		w.Header().Set("Retry-After", "10")
	}
	head(w, f.Index)
	w.WriteHeader(status)
	_ = write(w, f)
}
