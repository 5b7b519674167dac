package discovery

import (
	"context"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/fleet-project/fleet/discovery/token"
)

// Whatever a service answers, a host that joins gets members that etcd can start
// with, or an error, in time.
func FuzzAnswer(f *testing.F) {
	for _, s := range []struct {
		code   int
		index  string
		config string
		list   string
	}{
		{200, "3", `{"node":{"key":"/t/_config/size","value":"1"}}`, `{"node":{"key":"/t","dir":true,"nodes":[{"key":"/t/a1","value":"n=http://10.0.0.1:2380","createdIndex":2}]}}`},
		{200, "x", `{"node":{"value":"0"}}`, `{"node":{"nodes":[{"key":"","value":""}]}}`},
		{404, "", `{"errorCode":100,"message":"Key not found","cause":"/t","index":1}`, `{}`},
		{200, "18446744073709551616", `{"node":{"value":"99999999999999999999"}}`, "[]"},
		{500, "", "<html>", "\x00"}, {302, "1", "null", "null"}, {200, "1", `{"node":null}`, `{"node":{"nodes":null}}`},
		{200, "9", `{"node":{"value":"2"}}`, `{"node":{"nodes":[{"key":"/t/a","value":"a=http://h:1,a=http://h:1"},{"key":"/t/b","value":"=,=,"}]}}`},
	} {
		f.Add(s.code, s.index, s.config, s.list)
	}
	f.Fuzz(func(t *testing.T, code int, index, config, list string) {
		if code < 200 || code > 599 || code == http.StatusNoContent || code == http.StatusNotModified {
			return // a server of Go's can't send these with a body
		}
		service := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("X-Etcd-Index", index)
			w.WriteHeader(code)
			answer := list
			if r.URL.Path == "/t/_config/size" {
				answer = config
			}
			_, _ = w.Write([]byte(answer))
		}))
		defer service.Close()
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		opts := Options{
			URL: service.URL + "/t", Name: "n", PeerURLs: []string{"http://10.0.0.1:2380"},
			Request: 10 * time.Millisecond, Poll: 10 * time.Millisecond, Backoff: Backoff{First: time.Millisecond, Most: time.Millisecond},
		}
		for _, ask := range []func(context.Context, Options) (Cluster, error){Join, Members} {
			cluster, err := ask(ctx, opts)
			if err != nil {
				continue
			}
			if len(cluster.Members) == 0 || cluster.InitialCluster() == "" {
				t.Errorf("a cluster of nobody: %+v", cluster)
			}
			for _, m := range cluster.Members {
				if _, err := token.ParsePeer(m.Value); err != nil {
					t.Errorf("member %q: %v", m.Value, err)
				}
			}
		}
	})
}
