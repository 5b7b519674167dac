package discovery

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
)

// client asks one discovery service about one token.
type client struct {
	base    *url.URL // without path
	key     string   // the token's key: the URL's path
	http    *http.Client
	request time.Duration // for an ordinary request
	poll    time.Duration // for one that waits
}

func newClient(opts Options) (*client, error) {
	u, err := parseURL(opts.URL)
	if err != nil {
		return nil, err
	}
	key := strings.TrimSuffix(u.Path, "/")
	transport := http.DefaultTransport.(*http.Transport).Clone() // with proxies from the environment
	if opts.Proxy != "" {
		proxy, err := url.Parse(opts.Proxy)
		if err != nil || proxy.Host == "" {
			proxy, err = url.Parse("http://" + opts.Proxy)
		}
		if err != nil {
			return nil, fmt.Errorf("discovery's proxy: %w", err)
		}
		transport.Proxy = http.ProxyURL(proxy)
	}
	return &client{
		base: &url.URL{Scheme: u.Scheme, Host: u.Host}, key: key,
		http:    &http.Client{Transport: transport, CheckRedirect: asIs},
		request: opts.Request, poll: opts.Poll,
	}, nil
}

// CheckURL refuses what cannot be a discovery URL.
func CheckURL(text string) error {
	_, err := parseURL(text)
	return err
}

func parseURL(text string) (*url.URL, error) {
	u, err := url.Parse(text)
	if err != nil {
		return nil, fmt.Errorf("discovery URL: %w", err)
	}
	key := strings.TrimSuffix(u.Path, "/")
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		return nil, fmt.Errorf("discovery URL %q: it must be http://HOST/TOKEN or https://HOST/TOKEN, as /new?size=3 gives it", text)
	case key == "" || key == "/new":
		return nil, fmt.Errorf("discovery URL %q names no token: make one with curl '%s://%s/new?size=3', and give what it prints to all hosts", text, u.Scheme, u.Host)
	case u.RawQuery != "" || u.Fragment != "" || u.User != nil:
		return nil, fmt.Errorf("discovery URL %q: nothing may follow the token, nor stand before the host", u.Redacted())
	}
	return u, nil
}

// asIs leaves redirects to do: it keeps the method, and what is sent with it.
func asIs(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }

// redirected is where an answer sends us; nil if nowhere.
func redirected(resp *http.Response) (*url.URL, error) {
	if resp.StatusCode/100 != 3 {
		return nil, nil
	}
	to, err := resp.Location()
	if err != nil {
		return nil, fmt.Errorf("it answers %s, but not where to: is the URL right?", resp.Status)
	}
	if to.Scheme != "http" && to.Scheme != "https" {
		return nil, fmt.Errorf("it redirects to %s: is the URL right?", to.Redacted())
	}
	if resp.Request.URL.Scheme == "https" && to.Scheme != "https" {
		return nil, fmt.Errorf("it redirects to %s, away from https, which would give the URL away: give all hosts the URL that is meant", to.Redacted())
	}
	return to, nil
}

func (c *client) close() { c.http.CloseIdleConnections() }

// maxAnswer bounds an answer: all members, with the longest values.
const maxAnswer = 1 << 20

// do sends a request. An answer without a body, which ends a wait, is nil.
func (c *client) do(ctx context.Context, limit time.Duration, method, key string, query, form url.Values) (*Answer, uint64, error) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	u := *c.base
	u.Path, u.RawQuery = path.Join(c.key, key), query.Encode()
	for range maxRedirects {
		resp, text, err := c.ask(ctx, method, &u, form)
		if err != nil {
			return nil, 0, err
		}
		to, err := redirected(resp)
		if err != nil {
			return nil, 0, err
		}
		if to == nil {
			return c.read(resp, text)
		}
		u = *to
	}
	return nil, 0, fmt.Errorf("it redirects more than %d times, at last to %s: is the URL right?", maxRedirects, u.Redacted())
}

// maxRedirects is as many as etcd's client follows.
const maxRedirects = 10

// ask sends one request, and reads its answer.
func (c *client) ask(ctx context.Context, method string, u *url.URL, form url.Values) (*http.Response, []byte, error) {
	var body io.Reader
	if form != nil {
		body = strings.NewReader(form.Encode())
	}
	req, err := http.NewRequestWithContext(ctx, method, u.String(), body)
	if err != nil {
		return nil, nil, err
	}
	if form != nil {
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, temporary{err}
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, nil, temporary{fmt.Errorf("%s %s: the answer broke off: %w", method, u.Path, err)}
	}
	return resp, text, nil
}

// read makes sense of an answer.
func (c *client) read(resp *http.Response, text []byte) (*Answer, uint64, error) {
	trimmed := strings.TrimSpace(string(text))
	if resp.StatusCode >= 500 || resp.StatusCode == http.StatusTooManyRequests || resp.StatusCode == http.StatusRequestTimeout {
		return nil, 0, temporary{fmt.Errorf("it answers %s: %.200s", resp.Status, trimmed)}
	}
	if resp.StatusCode == http.StatusOK && trimmed == "" {
		return nil, 0, nil
	}
	if resp.StatusCode != http.StatusOK && resp.StatusCode != http.StatusCreated {
		var f Failure
		if json.Unmarshal(text, &f) == nil && f.Code != 0 {
			return nil, f.Index, &f
		}
		if strings.HasPrefix(trimmed, "unable to ") { // discovery.etcd.io's, for all that went wrong there
			return nil, 0, fmt.Errorf("%w (%s: %.200s)", errUnable, resp.Status, trimmed)
		}
		return nil, 0, fmt.Errorf("it answers %s, not as a discovery service does: %.200q; is the URL right?", resp.Status, trimmed)
	}
	var a Answer
	if err := json.Unmarshal(text, &a); err != nil || a.Node == nil {
		return nil, 0, fmt.Errorf("it answers %.80q, which no discovery service does: is the URL right, is there a proxy or a login page on the way?", trimmed)
	}
	index, err := strconv.ParseUint(resp.Header.Get(IndexHeader), 10, 64)
	if err != nil { // a proxy took it: the latest change that we see must do
		index = a.Node.ModifiedIndex
		for _, n := range a.Node.Nodes {
			index = max(index, n.ModifiedIndex)
		}
	}
	return &a, index, nil
}

// plain is what etcd's own client adds to a GET.
func plain() url.Values {
	return url.Values{"quorum": {"false"}, "recursive": {"false"}, "sorted": {"false"}}
}

// notFound reports whether the service has no such key.
func notFound(err error) bool {
	var f *Failure
	return errors.As(err, &f) && f.Code == CodeKeyNotFound
}

// size asks how many members the cluster has.
func (c *client) size(ctx context.Context) (int, error) {
	a, _, err := c.do(ctx, c.request, http.MethodGet, "_config/size", plain(), nil)
	if notFound(err) {
		return 0, fmt.Errorf("%w (%w)", ErrUnknownURL, err)
	}
	if err != nil {
		return 0, err
	}
	if a == nil || a.Node.Value == nil {
		return 0, errors.New("it does not say how many members the cluster has: is the URL right?")
	}
	n, err := strconv.Atoi(*a.Node.Value)
	if err != nil || n < 1 {
		return 0, fmt.Errorf("it says that the cluster has %.40q members: make a new URL with /new?size=3", *a.Node.Value)
	}
	return n, nil
}

// list asks who has joined, in no order, and how far the token has come.
func (c *client) list(ctx context.Context) ([]*Node, uint64, error) {
	a, index, err := c.do(ctx, c.request, http.MethodGet, "", plain(), nil)
	if notFound(err) {
		return nil, 0, fmt.Errorf("%w (%w)", ErrUnknownURL, err)
	}
	if err != nil {
		return nil, 0, err
	}
	if a == nil {
		return nil, 0, temporary{errors.New("it answers nothing")}
	}
	var members []*Node
	for _, n := range a.Node.Nodes {
		if n != nil && n.Value != nil && !strings.HasPrefix(path.Base(n.Key), "_") {
			members = append(members, n)
		}
	}
	return members, index, nil
}

// create registers, unless the member is there already.
func (c *client) create(ctx context.Context, id, value string) error {
	_, _, err := c.do(ctx, c.request, http.MethodPut, id, url.Values{"prevExist": {"false"}}, url.Values{"value": {value}})
	return err
}

// wait returns once something has happened at index or later, or a while has passed.
func (c *client) wait(ctx context.Context, index uint64) error {
	query := url.Values{"recursive": {"true"}, "wait": {"true"}, "waitIndex": {strconv.FormatUint(index, 10)}}
	_, _, err := c.do(ctx, c.poll, http.MethodGet, "", query, nil)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil // a service that never ends a wait
	}
	return err
}
