package source

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleet-project/fleet/cloudinit/format"
)

const helloSum = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"

// serve serves, and counts the requests.
func serve(t *testing.T, handler http.HandlerFunc) (base string, requests *atomic.Int64) {
	t.Helper()
	requests = new(atomic.Int64)
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		requests.Add(1)
		handler(w, r)
	}))
	t.Cleanup(srv.Close)
	return srv.URL, requests
}

func hello(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "hello") }

// twice fails in a way the first two times, and then says hello.
func twice(fail http.HandlerFunc) http.HandlerFunc {
	var n atomic.Int64
	return func(w http.ResponseWriter, r *http.Request) {
		if n.Add(1) <= 2 {
			fail(w, r)
			return
		}
		hello(w, r)
	}
}

func status(code int) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(code) }
}

func truncated(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Length", "100")
	fmt.Fprint(w, "hel")
}

func oversized(w http.ResponseWriter, _ *http.Request) {
	_, _ = io.Copy(w, io.LimitReader(zeros{}, format.MaxSize+1)) // the client goes away
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

func slow(w http.ResponseWriter, _ *http.Request) {
	for _, c := range "hello" {
		fmt.Fprintf(w, "%c", c)
		w.(http.Flusher).Flush()
	}
}

func redirecting(times int) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if n := len(r.URL.Query().Get("n")); n < times {
			http.Redirect(w, r, "/?n="+strings.Repeat("x", n+1), http.StatusFound)
			return
		}
		hello(w, r)
	}
}

func TestURL(t *testing.T) {
	for _, c := range []struct {
		name     string
		handler  http.HandlerFunc
		after    string // the URL
		requests int64
		err      string
	}{
		{"at once", hello, "", 1, ""},
		{"in pieces", slow, "", 1, ""},
		{"503, then there", twice(status(503)), "", 3, ""},
		{"429, then there", twice(status(429)), "", 3, ""},
		{"cut off, then whole", twice(truncated), "", 3, ""},
		{"its sum", hello, "#sha256=" + helloSum, 1, ""},
		{"not its sum", hello, "#sha256=" + strings.Repeat("00", 32), 1, "nothing is changed"},
		{"404", status(404), "", 1, "HTTP status 404 Not Found"},
		{"403", status(403), "/secret?token=SECRET", 1, "/secret?xxxxx: HTTP status 403 Forbidden"},
		{"too large", oversized, "", 1, "it is larger than 16 MiB"},
		{"redirected", redirecting(maxRedirects), "", maxRedirects + 1, ""},
		{"redirected to a file", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, "", 1, "neither http nor https"},
		{"redirected for ever", redirecting(1 << 20), "", maxRedirects + 1, "it redirects more than 5 times"},
	} {
		t.Run(c.name, func(t *testing.T) {
			base, requests := serve(t, c.handler)
			h := fast()
			s, err := h.URL(base + c.after)
			if err != nil {
				t.Fatal(err)
			}
			found, err := h.First(context.Background(), time.Hour, s)
			if (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%v; want %q", err, c.err)
			}
			if err == nil && string(found.UserData) != "hello" {
				t.Errorf("got %q", found.UserData)
			}
			if err != nil && strings.Contains(err.Error(), "SECRET") {
				t.Errorf("a secret is told: %v", err)
			}
			if n := requests.Load(); n != c.requests {
				t.Errorf("%d requests, want %d", n, c.requests)
			}
		})
	}
}

// A server that takes the request and never answers is left, and asked again.
func TestURLNeverAnswered(t *testing.T) {
	base, _ := serve(t, twice(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	h := fast()
	h.retry.connect = 50 * time.Millisecond
	s, err := h.URL(base)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := h.First(context.Background(), time.Hour, s); err != nil || string(found.UserData) != "hello" {
		t.Errorf("%q, %v", found.UserData, err)
	}
}

// An answer that drips is left after a while, and that is told in words.
func TestURLTakesTooLong(t *testing.T) {
	base, _ := serve(t, func(w http.ResponseWriter, r *http.Request) {
		slow(w, r)
		<-r.Context().Done()
	})
	h := fast()
	h.retry.attempt, h.retry.tries = 50*time.Millisecond, 1
	_, err := h.newClient(false, nil).get(context.Background(), base)
	if !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "no whole answer in time") {
		t.Errorf("%v", err)
	}
}

func TestURLThatIsNone(t *testing.T) {
	for at, want := range map[string]string{
		"":                                 "it is no URL that begins with http",
		"file:///etc/passwd":               "it is no URL that begins with http",
		"http://":                          "it is no URL that begins with http",
		"http://u:SECRET@h:bad/":           "it is no URL",
		"http://host/#sha1=00":             `there is no checksum "sha1"`,
		"http://host/#sha256=" + "00":      "it must be 64 hexadecimal digits",
		"ftp://user:SECRET@host/user-data": "it is no URL that begins with http",
	} {
		_, err := new(Host).URL(at)
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "SECRET") {
			t.Errorf("%q: %v; want %q", at, err, want)
		}
	}
}

// What a service hasn't is empty; what fails is tried so often, and no oftener.
func TestTries(t *testing.T) {
	for _, c := range []struct {
		name     string
		handler  http.HandlerFunc
		requests int64
		want     string
		err      string
	}{
		{"there", hello, 1, "hello", ""},
		{"none", status(404), 1, "", ""},
		{"failing twice", twice(status(500)), 3, "hello", ""},
		{"failing", status(503), 15, "", "HTTP status 503 Service Unavailable (tried 15 times)"},
		{"cut off always", truncated, 15, "", "unexpected EOF (tried 15 times)"},
	} {
		t.Run(c.name, func(t *testing.T) {
			base, requests := serve(t, c.handler)
			data, err := fast().newClient(false, nil).getOr(context.Background(), base)
			if string(data) != c.want || (err != nil) != (c.err != "") || err != nil && !strings.Contains(err.Error(), c.err) {
				t.Errorf("%q, %v; want %q, %q", data, err, c.want, c.err)
			}
			if n := requests.Load(); n != c.requests {
				t.Errorf("%d requests, want %d", n, c.requests)
			}
		})
	}
}

// As patient as coreos-cloudinit, whom boots are made for.
func TestPatience(t *testing.T) {
	if got, want := (retry{}).orDefault(), (retry{tries: 15, first: 50 * time.Millisecond, most: 5 * time.Second, attempt: 30 * time.Second, connect: 10 * time.Second}); got != want {
		t.Errorf("%+v, want %+v", got, want)
	}
	if Wait != 5*time.Minute {
		t.Errorf("waits %s for a source", Wait)
	}
}

func TestGetEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	base, _ := serve(t, func(_ http.ResponseWriter, r *http.Request) { cancel(); <-r.Context().Done() })
	if _, err := new(Host).newClient(false, nil).get(ctx, base); !errors.Is(err, context.Canceled) {
		t.Errorf("ended with %v", err)
	}
}

func TestNoWayBackFromHTTPS(t *testing.T) {
	plain, asked := serve(t, hello)
	srv := httptest.NewTLSServer(http.RedirectHandler(plain, http.StatusFound))
	t.Cleanup(srv.Close)
	c := fast().newClient(false, nil)
	c.http.Transport = srv.Client().Transport
	_, err := c.get(context.Background(), srv.URL)
	if err == nil || !strings.Contains(err.Error(), "it redirects from https to http://") || asked.Load() != 0 {
		t.Errorf("%v, %d requests", err, asked.Load())
	}
}

func TestReadBounded(t *testing.T) {
	if data, err := readBounded(io.LimitReader(zeros{}, format.MaxSize)); err != nil || len(data) != format.MaxSize {
		t.Errorf("%d bytes, %v", len(data), err)
	}
	if _, err := readBounded(zeros{}); err == nil {
		t.Error("read to no end")
	}
	if data, err := readBounded(bytes.NewReader(nil)); err != nil || len(data) != 0 {
		t.Errorf("%d bytes, %v", len(data), err)
	}
}
