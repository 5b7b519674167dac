package server_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/discovery"
	"github.com/fleet-project/fleet/discovery/server"
	"github.com/fleet-project/fleet/discovery/token"
)

// Whatever a client sends: an answer as etcd would give it, no fault of ours, and
// tokens that hold only what etcd can start with.
func FuzzService(f *testing.F) {
	for _, s := range []struct{ method, path, form string }{
		{"GET", "/", ""}, {"GET", "/health", ""}, {"GET", "/new?size=3", ""}, {"POST", "/new?size=%zz", "size=3"}, {"HEAD", "/T", ""},
		{"GET", "/T/_config/size?quorum=false&recursive=false&sorted=false", ""}, {"GET", "/T?recursive=true&wait=true&waitIndex=2", ""}, {"GET", "/T/a1?wait", ""},
		{"GET", "//T//", ""}, {"GET", "/T/../T", ""}, {"OPTIONS", "*", ""}, {"DELETE", "/T/a1", ""}, {"PATCH", "/T", "value=x"},
		{"PUT", "/T/b2?prevExist=false", "value=n2=http://10.0.0.2:2380"}, {"PUT", "/T/b2?prevExist=true", "value=n2%3Dhttp://[fe80::1%25eth0]:2380"},
		{"PUT", "/T/a1", "value=n1=http://10.0.0.1:2380"}, {"PUT", "/T/b2", "value=n2=https://h:1,n2=https://h:1"}, {"PUT", "/T/b2", "value=%00=http://h:1&ttl=1"},
		{"PUT", "/T/_config/size", "value=9"}, {"GET", "/T?waitIndex=18446744073709551615&wait=1", ""},
	} {
		f.Add(s.method, s.path, s.form, "text/html, */*")
	}
	s := newService(f, server.Options{Tokens: 1 << 30, Poll: time.Microsecond})
	s.store.Hasty() // else it is the disk that is tried
	f.Fuzz(func(t *testing.T, method, path, form, accept string) {
		s.t = t
		mine := s.new(2)
		s.join(mine, 1)
		sent := fmt.Sprintf("%s %s HTTP/1.1\r\nHost: f\r\nAccept: %s\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: %d\r\n\r\n%s",
			method, strings.ReplaceAll(path, "/T", mine), accept, len(form), form)
		req, err := http.ReadRequest(bufio.NewReader(strings.NewReader(sent)))
		if err != nil {
			return // net/http answers that
		}
		w := httptest.NewRecorder()
		s.server.ServeHTTP(w, req)
		if w.Code >= 500 {
			t.Fatalf("our own fault: %q\n%d %s", sent, w.Code, w.Body)
		}
		var fail discovery.Failure
		if w.Code >= 400 && (json.Unmarshal(w.Body.Bytes(), &fail) != nil || fail.Code == 0 || fail.Message == "") {
			t.Fatalf("not the shape of an error: %q\n%d %s", sent, w.Code, w.Body)
		}
		var a discovery.Answer
		after := s.ask("GET " + mine)
		if err := json.Unmarshal(after.Body.Bytes(), &a); err != nil || a.Node == nil || len(a.Node.Nodes) < 1 || len(a.Node.Nodes) > 2 ||
			*a.Node.Nodes[0].Value != "n1=http://10.0.0.1:2380" {
			t.Fatalf("%q left %s, %v", sent, after.Body, err)
		}
		if len(a.Node.Nodes) == 2 && w.Code != http.StatusCreated {
			t.Fatalf("%q was answered %d, and changed it: %s", sent, w.Code, after.Body)
		}
		for _, n := range a.Node.Nodes {
			if _, err := token.ParsePeer(*n.Value); err != nil {
				t.Fatalf("%q left %s: %v", sent, after.Body, err)
			}
		}
	})
}
