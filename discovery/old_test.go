package discovery_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"

	"github.com/fleet-project/fleet/discovery"
)

// oldService answers as discovery.etcd.io did: PUT overwrites whatever
// prevExist says, errors are plain text, waits end at once with an empty body or
// are dropped by a proxy.
type oldService struct {
	mu    sync.Mutex
	size  string
	nodes []*discovery.Node
	asked int
}

func (o *oldService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	o.mu.Lock()
	defer o.mu.Unlock()
	key := strings.TrimPrefix(r.URL.Path, "/tok")
	w.Header().Set("X-Etcd-Index", fmt.Sprint(1000+len(o.nodes)))
	switch {
	case r.URL.Query().Get("wait") == "true":
		if o.asked++; o.asked%3 == 0 {
			panic(http.ErrAbortHandler)
		}
		w.WriteHeader(http.StatusOK)
	case r.Method == http.MethodPut:
		value := r.FormValue("value")
		node := &discovery.Node{Key: "/_etcd/registry/tok" + key, Value: &value, ModifiedIndex: 1001 + uint64(len(o.nodes)), CreatedIndex: 1001 + uint64(len(o.nodes))}
		o.nodes = append([]*discovery.Node{node}, o.nodes...) // in no order
		json.NewEncoder(w).Encode(discovery.Answer{Action: "set", Node: node})
	case key == "/_config/size" && o.size != "":
		json.NewEncoder(w).Encode(discovery.Answer{Action: "get", Node: &discovery.Node{Key: "/_etcd/registry/tok/_config/size", Value: &o.size}})
	case key == "":
		json.NewEncoder(w).Encode(discovery.Answer{Action: "get", Node: &discovery.Node{Key: "/_etcd/registry/tok", Dir: true, Nodes: o.nodes}})
	default:
		http.Error(w, "unable to GET token", http.StatusBadRequest)
	}
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
		{"an unknown token", "", "", "unable to GET token"},
		{"a bad size", "many", "", "make a new URL"},
		{"no members wanted", "0", "", "make a new URL"},
		{"a name twice", "2", "n1=http://10.0.0.9:2380", "two members have the name n1"},
		{"a member that is none", "2", "http://10.0.0.9:2380", "is not one"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			o := &oldService{size: tc.size}
			if tc.value != "" {
				o.nodes = []*discovery.Node{{Key: "/_etcd/registry/tok/ff", Value: &tc.value, ModifiedIndex: 5, CreatedIndex: 5}}
			}
			url := o.start(t)
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

func TestRedirects(t *testing.T) {
	for _, tc := range []struct {
		name string
		code int
		says string // "": it works
	}{
		{"for good, with the method", http.StatusPermanentRedirect, ""},
		{"that turns PUT into GET", http.StatusMovedPermanently, "use that service's own URL"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			there := (&oldService{size: "1"}).start(t)
			here := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				http.Redirect(w, r, strings.TrimSuffix(there, "/tok")+r.URL.RequestURI(), tc.code)
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
