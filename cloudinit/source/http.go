package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"time"

	"github.com/fleet-project/fleet/cloudinit/format"
)

// retry says how often something is fetched, and how patiently.
type retry struct {
	tries       int           // 15
	first, most time.Duration // the pauses between: 50ms, doubled up to 5s
	attempt     time.Duration // for one attempt, from its beginning to its last byte: 30s
	connect     time.Duration // for a connection, and then for an answer to begin: 10s
}

func (r retry) orDefault() retry {
	return retry{
		tries: cmp.Or(r.tries, 15), first: cmp.Or(r.first, 50*time.Millisecond), most: cmp.Or(r.most, 5*time.Second),
		attempt: cmp.Or(r.attempt, 30*time.Second), connect: cmp.Or(r.connect, 10*time.Second),
	}
}

// statusError is an answer that isn't a success.
type statusError struct{ code int }

func (e *statusError) Error() string {
	return fmt.Sprintf("HTTP status %d %s", e.code, http.StatusText(e.code))
}

// finalError is one that trying again doesn't mend.
type finalError struct{ error }

func (e *finalError) Unwrap() error { return e.error }

// lateError is an attempt that takes too long, in words.
type lateError struct{ error }

func (*lateError) Error() string { return "no whole answer in time" }

func (e *lateError) Unwrap() error { return e.error }

// isAbsent says whether the server has answered, and has no such thing.
func isAbsent(err error) bool {
	var status *statusError
	return errors.As(err, &status) && status.code/100 == 4 && !isPassing(status.code)
}

// isPassing says whether a client's error is really the server's wish for a
// pause.
func isPassing(code int) bool {
	return code == http.StatusRequestTimeout || code == http.StatusTooEarly || code == http.StatusTooManyRequests
}

// client fetches what is at URLs.
type client struct {
	host   *Host
	retry  retry
	http   *http.Client
	header http.Header
}

const maxRedirects = 5

// newClient makes a client. Metadata services are on the host's own link: no
// proxy leads there.
func (h *Host) newClient(proxied bool, header http.Header) *client {
	r := h.retry.orDefault()
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: r.connect}).DialContext,
		TLSHandshakeTimeout:   r.connect,
		ResponseHeaderTimeout: r.connect,
		DisableKeepAlives:     true, // few requests, and no idle connections to own
		DisableCompression:    true, // a gzipped config is taken, and summed, as it is
	}
	if proxied {
		transport.Proxy = http.ProxyFromEnvironment
	}
	return &client{host: h, retry: r, header: header, http: &http.Client{Transport: transport, CheckRedirect: checkRedirect}}
}

func checkRedirect(req *http.Request, via []*http.Request) error {
	switch last := via[len(via)-1]; {
	case len(via) > maxRedirects:
		return &finalError{fmt.Errorf("it redirects more than %d times", maxRedirects)}
	case req.URL.Scheme != "http" && req.URL.Scheme != "https":
		return &finalError{fmt.Errorf("it redirects to %s, which is neither http nor https", redact(req.URL))}
	case last.URL.Scheme == "https" && req.URL.Scheme != "https":
		return &finalError{fmt.Errorf("it redirects from https to %s", redact(req.URL))}
	}
	return nil
}

// parseURL takes a URL that can be fetched.
func parseURL(s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if err != nil {
		return nil, errors.New("it is no URL") // the error would quote it, with its password
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Host == "" {
		return nil, errors.New("it is no URL that begins with http:// or https://")
	}
	return u, nil
}

// redact gives a URL without what may be a secret.
func redact(u *url.URL) string {
	shown := url.URL{Scheme: u.Scheme, Host: u.Host, Path: u.Path}
	if u.User != nil {
		shown.User = url.User("xxxxx")
	}
	if u.RawQuery != "" {
		shown.RawQuery = "xxxxx"
	}
	return shown.String()
}

// get fetches a URL, with patience for what passes.
func (c *client) get(ctx context.Context, u string) ([]byte, error) {
	pause := c.retry.first
	for try := 1; ; try++ {
		data, err := c.once(ctx, http.MethodGet, u, nil)
		var final *finalError
		switch {
		case err == nil, ctx.Err() != nil, errors.As(err, &final), isAbsent(err):
			return data, err
		case try == c.retry.tries:
			return nil, fmt.Errorf("%w (tried %d times)", err, try)
		}
		if try == 1 {
			c.host.log("%v; trying again", err)
		}
		if !c.host.sleep(ctx, pause) {
			return nil, err
		}
		pause = min(2*pause, c.retry.most)
	}
}

// getOr fetches what a service need not have: it is empty then.
func (c *client) getOr(ctx context.Context, u string) ([]byte, error) {
	data, err := c.get(ctx, u)
	if isAbsent(err) {
		return nil, nil
	}
	return data, err
}

// once makes one attempt.
func (c *client) once(ctx context.Context, method, at string, header http.Header) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.retry.attempt)
	defer cancel()
	u, err := parseURL(at)
	if err != nil {
		return nil, &finalError{err}
	}
	data, err := c.do(ctx, method, u, header)
	if errors.Is(err, context.DeadlineExceeded) {
		err = &lateError{err}
	}
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, redact(u), err)
	}
	return data, nil
}

func (c *client) do(ctx context.Context, method string, u *url.URL, header http.Header) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, method, u.String(), nil)
	if err != nil {
		return nil, &finalError{errors.New("it cannot be asked for")}
	}
	for _, h := range []http.Header{c.header, header} {
		for key, values := range h {
			req.Header[key] = values
		}
	}
	resp, err := c.http.Do(req)
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err // it would quote the URL
	}
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return nil, &statusError{resp.StatusCode}
	}
	return readBounded(resp.Body)
}

// readBounded reads no more than a config may have.
func readBounded(r io.Reader) ([]byte, error) {
	data, err := io.ReadAll(io.LimitReader(r, format.MaxSize+1))
	if err == nil && len(data) > format.MaxSize {
		err = &finalError{fmt.Errorf("it is larger than %d MiB", format.MaxSize>>20)}
	}
	if err != nil {
		return nil, err
	}
	return data, nil
}
