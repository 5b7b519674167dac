package discovery_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleet-project/fleet/discovery"
	"github.com/fleet-project/fleet/discovery/token"
)

// oldService answers as discovery.etcd.io did: PUT overwrites whatever
// prevExist says, errors are plain text, waits end with an empty body after their
// time or are dropped by a proxy.
type oldService struct {
	size    string
	noIndex bool          // a proxy on the way drops the header
	poll    time.Duration // how long a wait lasts: a minute, there
	// before answers in its place if it says so; n counts the requests.
	before func(n int, w http.ResponseWriter, r *http.Request) bool

	mu      sync.Mutex
	nodes   []*discovery.Node
	index   int
	asked   int
	changed chan struct{}
}

func (o *oldService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	o.asked++
	n := o.asked
	o.mu.Unlock()
	if o.before != nil && o.before(n, w, r) {
		return
	}
	if r.URL.Query().Get("wait") == "true" {
		o.wait(w, r)
		return
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	o.head(w)
	key := strings.Trim(strings.TrimPrefix(r.URL.Path, "/tok"), "/")
	switch {
	case r.Method == http.MethodPut:
		json.NewEncoder(w).Encode(discovery.Answer{Action: "set", Node: o.set(key, r.FormValue("value"))})
	case key == "_config/size" && o.size != "":
		json.NewEncoder(w).Encode(discovery.Answer{Action: "get", Node: &discovery.Node{Key: "/_etcd/registry/tok/_config/size", Value: &o.size}})
	case key == "" && o.size != "":
		json.NewEncoder(w).Encode(discovery.Answer{Action: "get", Node: &discovery.Node{Key: "/_etcd/registry/tok", Dir: true, Nodes: o.nodes}})
	default:
		http.Error(w, "unable to GET token", http.StatusBadRequest)
	}
}

func (o *oldService) head(w http.ResponseWriter) {
	w.Header().Set("Content-Type", "application/json")
	if !o.noIndex {
		w.Header().Set("X-Etcd-Index", fmt.Sprint(1000+o.index))
	}
}

// set overwrites what is there; what is new, or set again, comes last.
func (o *oldService) set(key, value string) *discovery.Node {
	o.index++
	index := 1000 + uint64(o.index)
	node := &discovery.Node{Key: "/_etcd/registry/tok/" + key, Value: &value, ModifiedIndex: index, CreatedIndex: index}
	o.nodes = slices.DeleteFunc(slices.Clone(o.nodes), func(n *discovery.Node) bool { return n.Key == node.Key })
	o.nodes = append([]*discovery.Node{node}, o.nodes...) // in no order
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
	return node
}

func (o *oldService) wait(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	changed, since := o.changed, r.URL.Query().Get("waitIndex")
	at := slices.IndexFunc(o.nodes, func(n *discovery.Node) bool { return fmt.Sprint(n.ModifiedIndex) >= since })
	o.head(w)
	w.WriteHeader(http.StatusOK) // at once
	w.(http.Flusher).Flush()
	o.mu.Unlock()
	if at < 0 {
		select {
		case <-changed:
		case <-time.After(o.poll):
			return // empty
		case <-r.Context().Done():
			return
		}
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	json.NewEncoder(w).Encode(discovery.Answer{Action: "set", Node: o.nodes[0]})
}

func (o *oldService) start(t *testing.T) string {
	h := httptest.NewServer(o)
	t.Cleanup(h.Close)
	return h.URL + "/tok"
}

func TestOldServiceServes(t *testing.T) {
	url := (&oldService{size: "3"}).start(t)
	clusters, errs := join(t, member(url, 1), member(url, 2), member(url, 3))
	sameCluster(t, url, clusters, errs)
	if _, errs = join(t, member(url, 2)); errs[0] == nil || !strings.Contains(errs[0].Error(), "etcdctl member remove") {
		t.Errorf("a member that lost its data: %v", errs[0])
	}
	if _, errs = join(t, member(url, 4)); errs[0] == nil || !strings.Contains(errs[0].Error(), "the cluster is full") {
		t.Errorf("a fourth: %v", errs[0])
	}
}

func TestOldServiceRefuses(t *testing.T) {
	for _, tc := range []struct{ name, size, value, says string }{
		{"an unknown token", "", "", "the service does not know this URL: it has expired, or was mistyped"},
		{"a bad size", "many", "", "make a new URL"},
		{"no members wanted", "0", "", "make a new URL"},
		{"a name twice", "2", "n1=http://10.0.0.9:2380", "two members have the name n1"},
		{"a member that is none", "2", "http://10.0.0.9:2380", "is not one"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := &oldService{size: tc.size}
			if tc.value != "" {
				o.nodes = []*discovery.Node{{Value: &tc.value, ModifiedIndex: 5, CreatedIndex: 5}}
			}
			url := o.start(t)
			for _, n := range o.nodes {
				n.Key = "/_etcd/registry/tok/" + string(token.IDOf([]string{"http://10.0.0.9:2380"}, url))
			}
			if _, errs := join(t, member(url, 1)); errs[0] == nil || !strings.Contains(errs[0].Error(), tc.says) || !strings.Contains(errs[0].Error(), url) {
				t.Errorf("%v", errs[0])
			}
		})
	}
}

// The name of the service exists only beyond the proxy.
func TestThroughProxy(t *testing.T) {
	proxy := httptest.NewServer(&oldService{size: "1"})
	defer proxy.Close()
	for name, where := range map[string]string{"a URL": proxy.URL, "an address": strings.TrimPrefix(proxy.URL, "http://")} {
		t.Run(name, func(t *testing.T) {
			me := member("http://discovery.invalid/tok", 1)
			me.Proxy, me.Resume = where, true
			clusters, errs := join(t, me)
			sameCluster(t, me.URL, clusters, errs)
		})
	}
}

// Another host has this one's peer URL, and both find it free. The service
// overwrites: who is overwritten must not start.
func TestOldServiceOverwrites(t *testing.T) {
	var puts sync.WaitGroup
	puts.Add(2)
	o := &oldService{size: "2", poll: time.Second, before: func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		if r.Method == http.MethodPut && r.FormValue("value") != "n3=http://10.0.0.3:2380" {
			puts.Done()
			puts.Wait()
		}
		return false
	}}
	url := o.start(t)
	one, twin := member(url, 1), member(url, 1)
	twin.Name = "twin"
	var duplicates atomic.Int32
	overwritten := make(chan struct{})
	var all sync.WaitGroup
	for _, host := range []discovery.Options{one, twin} {
		all.Go(func() {
			c, err := discovery.Join(t.Context(), host)
			if errors.Is(err, discovery.ErrDuplicate) {
				duplicates.Add(1)
				close(overwritten)
			} else if err != nil || !strings.Contains(c.InitialCluster(), host.Name+"=http://10.0.0.1:2380") {
				t.Errorf("%s: %v, %v", host.Name, c, err)
			}
		})
	}
	<-overwritten
	if _, err := discovery.Join(t.Context(), member(url, 3)); err != nil {
		t.Error(err)
	}
	all.Wait()
	if duplicates.Load() != 1 {
		t.Errorf("%d were told that they are duplicates", duplicates.Load())
	}
}

// Of each four requests one fails in a way that was seen there; waits end empty
// all the time, the header that tells the index is missing, and the URL ends with a slash.
func TestOldServiceInStorms(t *testing.T) {
	o := &oldService{size: "3", poll: time.Millisecond, noIndex: true, before: func(n int, w http.ResponseWriter, _ *http.Request) bool {
		switch n % 16 {
		case 0:
			http.Error(w, "<html>503 Backend fetch failed", http.StatusServiceUnavailable)
		case 4:
			w.WriteHeader(http.StatusBadGateway)
		case 8:
			panic(http.ErrAbortHandler)
		case 12:
			http.Error(w, "slow down", http.StatusTooManyRequests)
		default:
			return false
		}
		return true
	}}
	url := o.start(t) + "/"
	clusters, errs := join(t, member(url, 1), member(url, 2), member(url, 3))
	sameCluster(t, url, clusters, errs)
	if len(clusters[0].Members) != 3 {
		t.Errorf("%v", clusters[0])
	}
}

// The service says of all that goes wrong there what it says of a URL that it doesn't
// know. Once it did know it, that is no reason to give up.
func TestOldServiceForgetsForAWhile(t *testing.T) {
	over := make(chan struct{})
	o := &oldService{size: "2", poll: time.Millisecond, before: func(n int, w http.ResponseWriter, _ *http.Request) bool {
		if n == 13 {
			close(over)
		}
		if n < 6 || n > 12 {
			return false
		}
		http.Error(w, "unable to GET token", http.StatusBadRequest)
		return true
	}}
	url := o.start(t)
	first := make(chan error, 1)
	go func() {
		_, err := discovery.Join(t.Context(), member(url, 1))
		first <- err
	}()
	select {
	case <-over:
	case err := <-first:
		t.Fatal(err)
	}
	if _, err := discovery.Join(t.Context(), member(url, 2)); err != nil {
		t.Error(err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
}

// What waits is woken by who comes, and not by the wait's end.
func TestOldServiceWakes(t *testing.T) {
	o := &oldService{size: "2", poll: time.Hour}
	waiting := make(chan struct{}, 16)
	o.before = func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Query().Get("wait") == "true" {
			waiting <- struct{}{}
		}
		return false
	}
	url := o.start(t)
	first := make(chan error, 1)
	go func() {
		_, err := discovery.Join(t.Context(), member(url, 1))
		first <- err
	}()
	<-waiting
	if _, err := discovery.Join(t.Context(), member(url, 2)); err != nil {
		t.Error(err)
	}
	if err := <-first; err != nil {
		t.Error(err)
	}
}

func TestRedirects(t *testing.T) {
	for _, tc := range []struct {
		name string
		code int
		to   string // "": to a service; "same": round and round; "none": it doesn't say
		says string // "": it works
	}{
		{"for good, with the method", http.StatusPermanentRedirect, "", ""},
		{"as http to https is mostly done", http.StatusMovedPermanently, "", ""},
		{"found elsewhere", http.StatusFound, "", ""},
		{"round and round", http.StatusFound, "same", "more than 10 times"},
		{"to what is no web page", http.StatusFound, "ftp://10.0.0.9", "is the URL right?"},
		{"to nowhere", http.StatusFound, "none", "not where to"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			there := tc.to
			if there == "" {
				there = strings.TrimSuffix((&oldService{size: "1"}).start(t), "/tok")
			}
			here := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				switch there {
				case "none":
					w.WriteHeader(tc.code)
				case "same":
					http.Redirect(w, r, r.URL.RequestURI(), tc.code)
				default:
					http.Redirect(w, r, there+r.URL.RequestURI(), tc.code)
				}
			}))
			defer here.Close()
			me := member(here.URL+"/tok", 1)
			clusters, errs := join(t, me)
			if tc.says == "" {
				sameCluster(t, me.URL, clusters, errs)
			} else if errs[0] == nil || !strings.Contains(errs[0].Error(), tc.says) {
				t.Errorf("%v", errs[0])
			}
		})
	}
}

// A URL is a secret that https keeps: no redirect gives it away.
func TestRedirectAwayFromHTTPS(t *testing.T) {
	plain := (&oldService{size: "1"}).start(t)
	secure := httptest.NewTLSServer(http.RedirectHandler(plain, http.StatusFound))
	defer secure.Close()
	usual := http.DefaultTransport
	http.DefaultTransport = secure.Client().Transport
	defer func() { http.DefaultTransport = usual }()
	if _, errs := join(t, member(secure.URL+"/tok", 1)); errs[0] == nil || !strings.Contains(errs[0].Error(), "away from https") {
		t.Errorf("%v", errs[0])
	}
}
