package server

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-project/fleet/discovery"
	"github.com/fleet-project/fleet/discovery/token"
)

// address is what a path names.
type address struct {
	route  string // for metrics
	token  token.ID
	member token.MemberID
}

// The routes.
const (
	routeHome    = "/"
	routeHealth  = "/health"
	routeMetrics = "/metrics"
	routeNew     = "/new"
	routeToken   = "/TOKEN"
	routeSize    = "/TOKEN/_config/size"
	routeMember  = "/TOKEN/MEMBER"
	routeOther   = "other"
)

// find says what a path names. A slash at the end doesn't count.
func find(path string) address {
	bare := strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	switch route := "/" + bare; route {
	case routeHome, routeHealth, routeMetrics, routeNew:
		return address{route: route}
	}
	first, rest, _ := strings.Cut(bare, "/")
	id, ok := token.ParseID(first)
	if !ok {
		return address{route: routeOther}
	}
	switch rest {
	case "":
		return address{route: routeToken, token: id}
	case "_config/size":
		return address{route: routeSize, token: id}
	}
	if member, ok := token.ParseMemberID(rest); ok {
		return address{route: routeMember, token: id, member: member}
	}
	return address{route: routeOther}
}

// methods lists what a route answers to.
func methods(route string) []string {
	switch route {
	case routeNew: // with any that has an answer to put the URL into, as ever
		return []string{http.MethodGet, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete}
	case routeMember:
		return []string{http.MethodGet, http.MethodHead, http.MethodPut}
	}
	return []string{http.MethodGet, http.MethodHead}
}

// ServeHTTP answers one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	c := &counted{ResponseWriter: w}
	w.Header().Set("Cache-Control", "no-store") // what is true now; and a URL is for one asker
	at := find(r.URL.Path)
	defer s.metrics.count(at.route, r, c)
	defer s.survive(c, r)
	control := http.NewResponseController(w) // a writer without deadlines is a test's
	if r.ContentLength != 0 {
		_ = control.SetReadDeadline(time.Now().Add(s.opts.Patience.Body))
	}
	_ = control.SetWriteDeadline(s.deadline(s.opts.Patience.Body))
	if err := s.serve(c, r, at); err != nil {
		s.refuse(c, r, at, err)
	}
}

func (s *Server) serve(w http.ResponseWriter, r *http.Request, at address) error {
	if at.route == routeOther {
		return &discovery.Failure{Code: discovery.CodeKeyNotFound, Message: keyNotFound, Cause: fmt.Sprintf("%s: there is no such path; begin with /new?size=3", r.URL.Path)}
	}
	if !allowed(at.route, r.Method) {
		w.Header().Set("Allow", strings.Join(methods(at.route), ", "))
		return errMethod
	}
	switch at.route {
	case routeHome:
		return text(w, home)
	case routeHealth:
		return text(w, "OK")
	case routeMetrics:
		if s.opts.Metrics == nil {
			return &discovery.Failure{Code: discovery.CodeKeyNotFound, Message: keyNotFound, Cause: "this service keeps no metrics"}
		}
		s.opts.Metrics.ServeHTTP(w, r)
		return nil
	case routeNew:
		return s.create(w, r)
	}
	if r.Method == http.MethodPut {
		return s.join(w, r, at)
	}
	return s.get(w, r, at)
}

func allowed(route, method string) bool {
	for _, m := range methods(route) {
		if m == method {
			return true
		}
	}
	return false
}

const home = `This is a discovery service: hosts of a new etcd cluster find each other here.

  curl 'http://THIS-HOST/new?size=3'      gives the URL of a new cluster of 3
  curl -H 'Accept: text/plain' URL        tells who has joined, and who is missing
`

// create makes a token, and answers with its URL.
func (s *Server) create(w http.ResponseWriter, r *http.Request) error {
	query, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return invalidForm(err)
	}
	size := token.DefaultSize
	if text := query.Get("size"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil {
			return &token.Refusal{Kind: token.BadValue, Why: fmt.Sprintf("size=%.40q is not a number: write size=3", text)}
		}
		size = n
	}
	base, err := s.base(r)
	if err != nil {
		return err
	}
	t, err := s.tokens.create(size, s.opts.Random)
	if err != nil {
		return err
	}
	s.opts.Log.Infof("a new token for %d members, asked for by %s", t.Size, r.RemoteAddr)
	return text(w, base+"/"+string(t.ID))
}

// base is what URLs begin with: as the asker reached us, perhaps by a proxy that
// tells so. Nobody else sees what an asker says of himself here.
func (s *Server) base(r *http.Request) (string, error) {
	if s.opts.Advertise != "" {
		return s.opts.Advertise, nil
	}
	scheme := "http"
	if r.TLS != nil {
		scheme = "https"
	}
	scheme = strings.ToLower(forwarded(r, "X-Forwarded-Proto", scheme))
	base := scheme + "://" + forwarded(r, "X-Forwarded-Host", r.Host)
	if checkAdvertise(base) != nil {
		return "", &token.Refusal{Kind: token.BadValue, Why: "this service can't tell its own address from the Host header: start it with --advertise URL"}
	}
	return base, nil
}

// forwarded is what the outermost proxy says, or else what we see.
func forwarded(r *http.Request, header, otherwise string) string {
	first, _, _ := strings.Cut(r.Header.Get(header), ",")
	if first = strings.TrimSpace(first); first != "" {
		return first
	}
	return otherwise
}

// get answers with what a key holds, or waits for it to change.
func (s *Server) get(w http.ResponseWriter, r *http.Request, at address) error {
	q, err := parseQuery(r)
	if err != nil {
		return err
	}
	if q.wait && at.route != routeSize {
		return s.wait(w, r, at, q.waitIndex)
	}
	t, _, err := s.tokens.get(at.token)
	if err != nil {
		return err
	}
	switch at.route {
	case routeSize:
		return s.answer(w, http.StatusOK, t.Index(), &discovery.Answer{Action: "get", Node: sizeNode(t)})
	case routeMember:
		m, index, ok := t.Find(at.member)
		if !ok {
			return &discovery.Failure{Code: discovery.CodeKeyNotFound, Message: keyNotFound, Cause: memberKey(t.ID, at.member), Index: t.Index()}
		}
		return s.answer(w, http.StatusOK, t.Index(), &discovery.Answer{Action: "get", Node: memberNode(t.ID, m, index)})
	}
	w.Header().Set("Vary", "Accept, User-Agent")
	if kind := forPeople(r); kind != "" {
		return s.page(w, kind, t)
	}
	return s.answer(w, http.StatusOK, t.Index(), &discovery.Answer{Action: "get", Node: tokenNode(t)})
}

// join adds a member.
func (s *Server) join(w http.ResponseWriter, r *http.Request, at address) error {
	put, err := parsePut(w, r)
	if err != nil {
		return err
	}
	if put.prevExist != nil && *put.prevExist {
		return s.same(w, at, put.value)
	}
	t, err := s.tokens.join(at.token, at.member, put.value)
	var refusal *token.Refusal
	if errors.As(err, &refusal) && refusal.Kind == token.Exists && put.prevExist == nil {
		return s.same(w, at, put.value)
	}
	if err != nil {
		return withIndex(err, t)
	}
	m, index, _ := t.Find(at.member)
	s.opts.Log.Infof("token %.4s…: %s joined, %d of %d", t.ID, m.Value, len(t.Members), t.Size)
	action := "create"
	if put.prevExist == nil {
		action = "set"
	}
	return s.answer(w, http.StatusCreated, t.Index(), &discovery.Answer{Action: action, Node: memberNode(t.ID, m, index)})
}

// same answers a PUT of what is there already. Another value is refused: others
// have read the one that is there.
func (s *Server) same(w http.ResponseWriter, at address, value string) error {
	t, _, err := s.tokens.get(at.token)
	if err != nil {
		return err
	}
	m, index, ok := t.Find(at.member)
	if !ok {
		return &discovery.Failure{Code: discovery.CodeKeyNotFound, Message: keyNotFound, Cause: memberKey(t.ID, at.member), Index: t.Index()}
	}
	if m.Value != value {
		return &discovery.Failure{
			Code: discovery.CodeCompareFailed, Message: "Compare failed", Index: t.Index(),
			Cause: fmt.Sprintf("%s is %s, for good: others have read it; make a new URL", memberKey(t.ID, m.ID), m.Value),
		}
	}
	node := memberNode(t.ID, m, index)
	return s.answer(w, http.StatusOK, t.Index(), &discovery.Answer{Action: "set", Node: node, PrevNode: node})
}

// survive turns a panic into an answer.
func (s *Server) survive(c *counted, r *http.Request) {
	p := recover()
	if p == nil {
		return
	}
	if p == http.ErrAbortHandler { //nolint:errorlint // a sentinel to panic with
		panic(p)
	}
	s.opts.Log.Errorf("a panic while answering %s: %v\n%s", r.Method, p, debug.Stack())
	if c.code != 0 {
		panic(http.ErrAbortHandler) // half an answer must not look whole
	}
	http.Error(c, "an error in fleetd discovery itself: its log has the details", http.StatusInternalServerError)
}
