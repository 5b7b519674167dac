package discovery_test

import (
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/fleet-project/fleet/discovery"
)

// A proxy on the way ends waits before the service does, as most do after a minute
// or sooner. That is a wait's end: the service is there, and nobody is told that it
// isn't.
func TestProxyCutsWaitsOff(t *testing.T) {
	for name, cut := range map[string]http.HandlerFunc{
		"a time-out in HTML": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			w.WriteHeader(http.StatusGatewayTimeout)
			_, _ = w.Write([]byte("<html><h1>504 Gateway Time-out</h1></html>"))
		},
		"a connection that is dropped": func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) },
		"an answer that breaks off": func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			_ = http.NewResponseController(w).Flush()
			panic(http.ErrAbortHandler)
		},
	} {
		t.Run(name, func(t *testing.T) {
			url, b := ours(t, 2)
			var waits atomic.Int32
			often := make(chan struct{})
			instead := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if r.URL.Query().Get("wait") != "true" {
					b.Handler.ServeHTTP(w, r)
					return
				}
				if waits.Add(1) == 3 {
					close(often)
				}
				cut(w, r)
			})
			b.instead.Store(&instead)

			first, told := member(url, 1), []string(nil)
			first.Progress = func(text string) { told = append(told, text) }
			joined := make(chan struct{})
			var cluster discovery.Cluster
			var err error
			go func() {
				defer close(joined)
				cluster, err = discovery.Join(t.Context(), first)
			}()
			<-often
			other, otherErr := discovery.Join(t.Context(), member(url, 2))
			<-joined
			sameCluster(t, url, []discovery.Cluster{cluster, other}, []error{err, otherErr})
			if all := strings.Join(told, "\n"); all != "1 of 2 joined; waiting for 1 more" {
				t.Errorf("it says:\n%s", all)
			}
		})
	}
}

// Of two servers behind a balancer one is down: every other request fails, the same
// ones of each round. All join nevertheless.
func TestEveryOtherRequestFails(t *testing.T) {
	for name, fails := range map[string]int32{"the first": 1, "the second": 0} {
		t.Run(name, func(t *testing.T) {
			url, b := ours(t, 1)
			var n atomic.Int32
			instead := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if n.Add(1)%2 == fails {
					http.Error(w, "<html>502 Bad Gateway", http.StatusBadGateway)
					return
				}
				b.Handler.ServeHTTP(w, r)
			})
			b.instead.Store(&instead)
			clusters, errs := join(t, member(url, 1))
			sameCluster(t, url, clusters, errs)
		})
	}
}
