package server_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/discovery/server"
	"github.com/fleet-project/fleet/discovery/token"
	"github.com/sirupsen/logrus"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// counter gives the same "random" bytes in every run.
type counter struct{ n uint64 }

func (c *counter) Read(p []byte) (int, error) {
	c.n++
	b := make([]byte, len(p)+8)
	binary.BigEndian.PutUint64(b[len(p)-8:], c.n)
	return copy(p, b[:len(p)]), nil
}

// service is a server that can be restarted, with a clock of its own.
type service struct {
	t      testing.TB
	dir    string
	opts   server.Options
	store  *server.Store
	server *server.Server

	mu  sync.Mutex
	now time.Time
}

func newService(t testing.TB, opts server.Options) *service {
	s := &service{t: t, dir: t.TempDir(), opts: opts, now: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)}
	s.opts.Now = func() time.Time {
		s.mu.Lock()
		defer s.mu.Unlock()
		return s.now
	}
	s.opts.Random = &counter{}
	log := logrus.New()
	log.SetOutput(io.Discard)
	s.opts.Log = logrus.NewEntry(log)
	s.start()
	t.Cleanup(func() { s.store.Close() })
	return s
}

func (s *service) start() {
	s.t.Helper()
	var err error
	if s.store, err = server.OpenStore(s.dir); err != nil {
		s.t.Fatal(err)
	}
	s.opts.Store = s.store
	if s.server, err = server.New(s.opts); err != nil {
		s.t.Fatal(err)
	}
}

// restart ends the service as a crash does, but for the file's lock.
func (s *service) restart() {
	s.store.Close()
	s.start()
}

func (s *service) pass(d time.Duration) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.now = s.now.Add(d)
}

// ask sends a request as text: METHOD PATH [FORM], with further headers.
func (s *service) ask(line string, headers ...string) *httptest.ResponseRecorder {
	parts := append(strings.SplitN(line, " ", 3), "")
	req := httptest.NewRequest(parts[0], parts[1], strings.NewReader(parts[2]))
	req.Host = "discovery:2381"
	if parts[2] != "" {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	for _, h := range headers {
		name, value, _ := strings.Cut(h, ": ")
		req.Header.Add(name, value)
		if name == "Host" {
			req.Host = value
		}
	}
	w := httptest.NewRecorder()
	s.server.ServeHTTP(w, req)
	return w
}

// new makes a token, and gives its path.
func (s *service) new(size int) string {
	s.t.Helper()
	w := s.ask(fmt.Sprintf("GET /new?size=%d", size))
	path, ok := strings.CutPrefix(w.Body.String(), "http://discovery:2381")
	if w.Code != http.StatusOK || !ok {
		s.t.Fatalf("%d %s", w.Code, w.Body)
	}
	return path
}

func (s *service) join(path string, n int) *httptest.ResponseRecorder {
	return s.ask(fmt.Sprintf("PUT %s/%d?prevExist=false value=n%d=http://10.0.0.%d:2380", path, n, n, n))
}

func TestRestartAndExpiry(t *testing.T) {
	s := newService(t, server.Options{Lifetime: token.Lifetime{Unfinished: time.Hour, Complete: 2 * time.Hour}})
	full, part := s.new(1), s.new(2)
	s.join(full, 1)
	s.join(part, 1)
	s.restart()
	for _, path := range []string{full, part} {
		if w := s.ask("GET " + path + "/1"); w.Code != http.StatusOK {
			t.Errorf("after a restart: %d %s", w.Code, w.Body)
		}
	}
	s.pass(time.Hour)
	if w := s.ask("GET " + full); w.Code != http.StatusOK {
		t.Errorf("complete, after an hour: %d %s", w.Code, w.Body)
	}
	for _, line := range []string{"GET " + part, "GET " + part + "/_config/size", "PUT " + part + "/2?prevExist=false value=a=http://b:1", "GET " + part + "?wait=true"} {
		if w := s.ask(line); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "has expired; make a new one") {
			t.Errorf("%s after its hour: %d %s", line, w.Code, w.Body)
		}
	}
	s.pass(time.Hour)
	if w := s.ask("GET " + full); w.Code != http.StatusNotFound {
		t.Errorf("complete, after two hours: %d %s", w.Code, w.Body)
	}
}

func TestBounds(t *testing.T) {
	s := newService(t, server.Options{Tokens: 1, Waits: 1})
	path := s.new(2)
	w := s.ask("GET /new")
	if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" {
		t.Errorf("a token too many: %d %s", w.Code, w.Body)
	}
	if w := s.join(path, 1); w.Code != http.StatusCreated {
		t.Errorf("a member all the same: %d %s", w.Code, w.Body)
	}
	s.pass(30 * 24 * time.Hour)
	path = s.new(2) // what has expired makes room
	s.join(path, 1)
	big := "PUT " + path + "/2?prevExist=false value=" + strings.Repeat("a", 1<<20)
	if w := s.ask(big); w.Code != http.StatusBadRequest {
		t.Errorf("a large body: %d %s", w.Code, w.Body)
	}
	base, stop := s.serve()
	defer stop()
	first, err := http.Get(base + path + "?wait=true&recursive=true") // its head comes at once
	if err != nil {
		t.Fatal(err)
	}
	defer first.Body.Close()
	second, err := http.Get(base + path + "?wait=true")
	if err != nil {
		t.Fatal(err)
	}
	second.Body.Close()
	if second.StatusCode != http.StatusServiceUnavailable {
		t.Errorf("a wait too many: %s", second.Status)
	}
	s.join(path, 2)
	if body, err := io.ReadAll(first.Body); err != nil || !bytes.Contains(body, []byte(`"n2=http://10.0.0.2:2380"`)) {
		t.Errorf("the wait: %q, %v", body, err)
	}
}

// serve has the server listen, until stop.
func (s *service) serve() (base string, stop func()) {
	s.t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		s.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.server.Serve(ctx, l) }()
	return "http://" + l.Addr().String(), func() {
		cancel()
		if err := <-ended; err != nil {
			s.t.Error(err)
		}
		http.DefaultClient.CloseIdleConnections()
	}
}

// A wait ends empty when the service ends: the client asks again, elsewhere or later.
func TestEndLeavesNobodyWaiting(t *testing.T) {
	s := newService(t, server.Options{Patience: server.Patience{Grace: time.Minute}})
	path := s.new(1)
	base, stop := s.serve()
	resp, err := http.Get(base + path + "?wait=true")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	stop()
	if body, err := io.ReadAll(resp.Body); err != nil || len(body) != 0 || resp.Header.Get("X-Etcd-Index") != "1" {
		t.Errorf("%q, %v, index %q", body, err, resp.Header.Get("X-Etcd-Index"))
	}
}

// A URL that expires while somebody waits ends the wait at its time, and the next
// one is told.
func TestExpiresWhileSomebodyWaits(t *testing.T) {
	s := newService(t, server.Options{Poll: 50 * time.Millisecond})
	path := s.new(1)
	base, stop := s.serve()
	defer stop()
	resp, err := http.Get(base + path + "?wait=true") // its head comes at once
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	s.pass(30 * 24 * time.Hour)
	if body, err := io.ReadAll(resp.Body); err != nil || len(body) != 0 {
		t.Errorf("%q, %v", body, err)
	}
	if w := s.ask("GET " + path + "?wait=true"); w.Code != http.StatusNotFound || !strings.Contains(w.Body.String(), "has expired") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

// Who sends nothing, or half a body, is cut off.
func TestSlowClientsAreCutOff(t *testing.T) {
	s := newService(t, server.Options{Patience: server.Patience{Header: 50 * time.Millisecond, Body: 50 * time.Millisecond, Answer: time.Minute}})
	path := s.new(1)
	base, stop := s.serve()
	defer stop()
	for sent, told := range map[string]string{
		"GET /new HTTP/1.1\r\nHost: x\r\n": "",
		// A host whose network is slow is not refused: it tries again.
		"PUT " + path + "/1 HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: 100\r\n\r\nvalue=": "HTTP/1.1 408 Request Timeout\r\n",
	} {
		conn, err := net.Dial("tcp", strings.TrimPrefix(base, "http://"))
		if err != nil {
			t.Fatal(err)
		}
		fmt.Fprint(conn, sent)
		answer, _ := io.ReadAll(conn) // returns once we are cut off
		conn.Close()
		if !strings.HasPrefix(string(answer), told) {
			t.Errorf("%q: %q", sent, answer)
		}
	}
	if w := s.ask("GET " + path + "/1"); w.Code != http.StatusNotFound {
		t.Errorf("half a body counted: %d %s", w.Code, w.Body)
	}
}

// What can't be stored is not acknowledged, and nobody hears of it.
func TestFailingDisk(t *testing.T) {
	s := newService(t, server.Options{})
	path := s.new(2)
	s.join(path, 1)
	s.store.Close()
	for _, line := range []string{"GET /new", "PUT " + path + "/2?prevExist=false value=n2=http://10.0.0.2:2380"} {
		w := s.ask(line)
		if w.Code != http.StatusServiceUnavailable || w.Header().Get("Retry-After") == "" || !strings.Contains(w.Body.String(), "its log has the reason") {
			t.Errorf("%s: %d %s", line, w.Code, w.Body)
		}
	}
	if w := s.ask("GET " + path); w.Code != http.StatusOK || strings.Contains(w.Body.String(), "n2") {
		t.Errorf("%d %s", w.Code, w.Body)
	}
}

func TestDamagedStore(t *testing.T) {
	path := filepath.Join(t.TempDir(), "discovery.db")
	if err := os.WriteFile(path, bytes.Repeat([]byte("rubbish "), 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := server.OpenStore(filepath.Dir(path)); err == nil || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("%v", err)
	}
}

func TestStoreIsForOneProcess(t *testing.T) {
	s := newService(t, server.Options{})
	if _, err := server.OpenStore(s.dir); err == nil || !strings.Contains(err.Error(), "another fleetd discovery runs already") {
		t.Errorf("%v", err)
	}
}

func TestAdvertise(t *testing.T) {
	s := newService(t, server.Options{Advertise: "https://d.example.com/"})
	if got := s.ask("GET /new").Body.String(); !strings.HasPrefix(got, "https://d.example.com/0000") {
		t.Error(got)
	}
	for _, bad := range []string{"d.example.com", "ftp://x", "http://", "http://x/new", "http://x?y", "http://u:p@x"} {
		if _, err := server.New(server.Options{Store: s.store, Advertise: bad}); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}

// Without --advertise, URLs begin as the asker, or the proxy before us, was asked.
func TestURLsBeginAsTheAskerReachedUs(t *testing.T) {
	s := newService(t, server.Options{})
	for _, tc := range []struct {
		name    string
		headers []string
		want    string // "": refused
	}{
		{"by a name", []string{"Host: discovery.example.com"}, "http://discovery.example.com/"},
		{"by an address", []string{"Host: [fd00::1]:2381"}, "http://[fd00::1]:2381/"},
		{"by a proxy that speaks https", []string{"Host: d.example.com", "X-Forwarded-Proto: https"}, "https://d.example.com/"},
		{"by two proxies", []string{"Host: 10.0.0.5:2381", "X-Forwarded-Host: d.example.com, inner", "X-Forwarded-Proto: HTTPS, http"}, "https://d.example.com/"},
		{"no host", []string{"Host: "}, ""},
		{"a host that is none", []string{"Host: a b"}, ""},
		{"a path", []string{"X-Forwarded-Host: d.example.com/evil"}, ""},
		{"another protocol", []string{"X-Forwarded-Proto: javascript"}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			w := s.ask("GET /new", tc.headers...)
			if tc.want == "" {
				if w.Code != http.StatusBadRequest || !strings.Contains(w.Body.String(), "--advertise") {
					t.Errorf("%d %s", w.Code, w.Body)
				}
			} else if !strings.HasPrefix(w.Body.String(), tc.want+"0000") || w.Header().Get("Cache-Control") != "no-store" {
				t.Errorf("%d %s %v", w.Code, w.Body, w.Header())
			}
		})
	}
}
