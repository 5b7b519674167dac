package api

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fleet-project/fleet/unit"
	jsonv2 "github.com/go-json-experiment/json"
)

// pageLimit is how many units the client asks for at a time: as many as a server
// gives. A page costs a question to etcd, however long it is.
const pageLimit = 5000

// ClientOptions say where fleetd is and how to reach it.
type ClientOptions struct {
	// Endpoint is unix:///PATH, http://HOST:PORT or https://HOST:PORT.
	Endpoint string
	// TLS is for https; nil means the system's defaults.
	TLS *tls.Config
	// Dial replaces the way connections are made, such as by an SSH tunnel.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
	// Via names the host through which Dial goes, for messages; "" for none.
	Via string
	// MaxConnections bounds the connections at one time; 0 means no bound.
	MaxConnections int
	// Timeout bounds one request, watches excepted; 0 means no bound.
	Timeout time.Duration
	// UserAgent names the program that asks.
	UserAgent string
}

// Client speaks to one fleetd. It is safe for concurrent use.
type Client struct {
	opts ClientOptions
	base string // URL of the API
	http *http.Client
	old  fleet1
}

// NewClient makes a client. It does not connect yet.
func NewClient(opts ClientOptions) (*Client, error) {
	if opts.Dial == nil {
		opts.Dial = (&net.Dialer{Timeout: opts.Timeout}).DialContext
	}
	c := &Client{opts: opts}
	transport := &http.Transport{
		DialContext:    opts.Dial,
		DialTLSContext: c.dialTLS,
		// A command that changes many units sends as many requests at a time as
		// it likes, and none of them should make a connection of its own.
		MaxIdleConnsPerHost: 64,
		MaxConnsPerHost:     opts.MaxConnections,
	}
	if path, ok := strings.CutPrefix(opts.Endpoint, "unix://"); ok {
		if !strings.HasPrefix(path, "/") {
			return nil, fmt.Errorf("endpoint %q: write unix:// and an absolute path, such as unix:///var/run/fleet.sock", opts.Endpoint)
		}
		transport.DialContext = func(ctx context.Context, _, _ string) (net.Conn, error) { return c.dialSocket(ctx, path) }
		c.base = "http://fleetd" + Prefix
	} else {
		u, err := url.Parse(opts.Endpoint)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
			return nil, fmt.Errorf("endpoint %q: write unix:///PATH, http://HOST:PORT or https://HOST:PORT", opts.Endpoint)
		}
		c.base = strings.TrimSuffix(u.String(), "/") + Prefix
	}
	c.http = &http.Client{Transport: transport}
	return c, nil
}

// Close ends the idle connections.
func (c *Client) Close() { c.http.CloseIdleConnections() }

// Units lists all units, without their texts, sorted by name.
func (c *Client) Units(ctx context.Context) ([]Unit, error) {
	units, err := list(ctx, c, "/units", nil, UnitPage.parts)
	if err != nil {
		return nil, err
	}
	for i := range units {
		units[i].complete()
	}
	return withAddresses(ctx, c, units, func(u *Unit) (string, *string) { return u.MachineID, &u.PrimaryIP })
}

// StateFilter narrows a list of states; an empty field doesn't.
type StateFilter struct {
	Unit    unit.Name
	Machine string
}

// States lists what machines say of units, sorted by unit.
func (c *Client) States(ctx context.Context, f StateFilter) ([]UnitState, error) {
	states, err := list(ctx, c, "/state", f.query(), UnitStatePage.parts)
	if err != nil {
		return nil, err
	}
	return withAddresses(ctx, c, states, func(s *UnitState) (string, *string) { return s.MachineID, &s.PrimaryIP })
}

func (f StateFilter) query() url.Values {
	q := url.Values{}
	if f.Unit != "" {
		q.Set("unitName", string(f.Unit))
	}
	if f.Machine != "" {
		q.Set("machineID", f.Machine)
	}
	return q
}

// Machines lists the cluster's hosts, sorted by id.
func (c *Client) Machines(ctx context.Context) ([]Machine, error) {
	return list(ctx, c, "/machines", nil, MachinePage.parts)
}

// Unit gives one unit, with its text.
func (c *Client) Unit(ctx context.Context, name unit.Name) (*Unit, error) {
	var u Unit
	_, err := c.do(ctx, http.MethodGet, unitPath(name), nil, &u)
	if err != nil {
		return nil, err
	}
	u.complete()
	return &u, nil
}

// SetUnit creates a unit, replaces its text, or, if the unit given has none,
// changes its desired state. It reports whether the text was stored anew.
func (c *Client) SetUnit(ctx context.Context, u Unit) (stored bool, err error) {
	put := func(u Unit) (int, error) { return c.do(ctx, http.MethodPut, unitPath(u.Name), u, nil) }
	known := c.isFleet1()
	var code int
	if !known {
		code, err = put(u)
	}
	if c.isFleet1() && (known || u.Text != "") { // which took no notice of the text
		if u, err = forFleet1(u); err != nil {
			return false, err
		}
		code, err = put(u)
	}
	c.old.wake()
	return code == http.StatusCreated, err
}

// DestroyUnit has a unit stopped everywhere and forgotten.
func (c *Client) DestroyUnit(ctx context.Context, name unit.Name) error {
	_, err := c.do(ctx, http.MethodDelete, unitPath(name), nil, nil)
	c.old.wake()
	return err
}

// RestartUnit has each machine that has launched the unit restart it once. A
// fleet 1.0 server is told to stop it, which is waited for, and to start it.
func (c *Client) RestartUnit(ctx context.Context, name unit.Name) (Restarted, error) {
	var r Restarted
	if !c.isFleet1() {
		_, err := c.do(ctx, http.MethodPost, unitPath(name)+"/restart", nil, &r)
		if !IsNotFound(err) || !c.isFleet1() {
			return r, err
		}
	}
	return c.restartFleet1(ctx, name)
}

// RestartUnitOn has one machine, given by its whole id, restart a unit that it has
// launched; no other does. A fleet 1.0 server can't have that done.
func (c *Client) RestartUnitOn(ctx context.Context, name unit.Name, machineID string) (Restarted, error) {
	var r Restarted
	var err error
	if !c.isFleet1() {
		_, err = c.do(ctx, http.MethodPost, unitPath(name)+"/restart?"+url.Values{"machineID": {machineID}}.Encode(), nil, &r)
	}
	if c.isFleet1() && (err == nil || IsNotFound(err)) {
		return Restarted{}, &Fleet1Error{
			Endpoint: c.opts.Endpoint, Lacks: "restart a unit on one machine only",
			Remedy: fmt.Sprintf("Have that machine's systemd do it: fleetctl ssh %s sudo systemctl restart %s", machineID, name),
		}
	}
	return r, err
}

// Explain says where a unit may run and why not elsewhere.
func (c *Client) Explain(ctx context.Context, name unit.Name) (*Explanation, error) {
	var e Explanation
	_, err := c.do(ctx, http.MethodGet, unitPath(name)+"/explain", nil, &e)
	if IsNotFound(err) && c.isFleet1() {
		return nil, &Fleet1Error{
			Endpoint: c.opts.Endpoint, Lacks: "explain where a unit may run",
			Remedy: "Ask a fleetd of this version, or read the old one's log: journalctl -u fleet on the machine that runs its engine.",
		}
	}
	if err != nil {
		return nil, err
	}
	return &e, nil
}

func unitPath(name unit.Name) string { return "/units/" + url.PathEscape(string(name)) }

// list follows a list's pages to the end; of gives what a page has.
func list[P, T any](ctx context.Context, c *Client, path string, q url.Values, of func(P) (rows []T, next string)) ([]T, error) {
	if q == nil {
		q = url.Values{}
	}
	q.Set("limit", strconv.Itoa(pageLimit))
	var all []T
	for {
		var page P
		if _, err := c.do(ctx, http.MethodGet, path+"?"+q.Encode(), nil, &page); err != nil {
			return nil, err
		}
		rows, next := of(page)
		if all = append(all, rows...); next == "" {
			return all, nil
		}
		q.Set("nextPageToken", next)
	}
}

func (p UnitPage) parts() ([]Unit, string)           { return p.Units, p.NextPageToken }
func (p UnitStatePage) parts() ([]UnitState, string) { return p.States, p.NextPageToken }
func (p MachinePage) parts() ([]Machine, string)     { return p.Machines, p.NextPageToken }

// do sends one request. While fleetd says that it will be able to answer soon,
// it asks again until the time for a request is over.
func (c *Client) do(ctx context.Context, method, path string, in, out any) (code int, err error) {
	if c.opts.Timeout > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, c.opts.Timeout, errTimeout)
		defer cancel()
	}
	var body []byte
	if in != nil {
		if body, err = json.Marshal(in); err != nil {
			return 0, err
		}
	}
	var notReady error // why fleetd could not answer when it was asked before
	broken := false    // whether an attempt was broken off, done or not
	for attempt := 1; ; attempt++ {
		code, err = c.once(ctx, method, path, body, out)
		if brokenOff(err) && method != http.MethodPost && attempt < brokenAttempts {
			broken = true
			continue
		}
		if broken && method == http.MethodDelete && IsNotFound(err) {
			return http.StatusNoContent, nil // by the attempt that wasn't answered
		}
		if err != nil && notReady != nil && errors.Is(context.Cause(ctx), errTimeout) {
			return http.StatusServiceUnavailable, notReady
		}
		var refused *Error
		// A restart that may have been counted must not be counted twice.
		if !errors.As(err, &refused) || refused.RetryAfter == 0 || method == http.MethodPost {
			return code, err
		}
		select {
		case <-ctx.Done():
			return code, err
		case <-time.After(min(refused.RetryAfter, retryPause)):
			notReady = err
		}
	}
}

// brokenAttempts is how often a request is sent whose connection ends before the
// answer: a fleetd that is restarted meanwhile does that once, and its successor
// answers on the same socket. All requests but POST may be repeated.
const brokenAttempts = 3

// brokenOff reports whether a connection that was made was ended without an answer.
func brokenOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// retryPause is how long the client waits when fleetd is not ready.
const retryPause = 200 * time.Millisecond

func (c *Client) once(ctx context.Context, method, path string, body []byte, out any) (int, error) {
	resp, err := c.send(ctx, method, path, body)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	if out != nil {
		if err := jsonv2.UnmarshalDecode(newDecoder(resp.Body), out); err != nil {
			return resp.StatusCode, fmt.Errorf("%s %s: reading the answer of %s: %w", method, path, c.opts.Endpoint, c.explain(ctx, err))
		}
	}
	_, _ = io.Copy(io.Discard, resp.Body) // so that the connection can be used again
	return resp.StatusCode, nil
}

// send sends one request and turns an answer that is an error into one.
func (c *Client) send(ctx context.Context, method, path string, body []byte) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	req.Header.Set("User-Agent", c.opts.UserAgent)
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.explain(ctx, err)
	}
	if resp.StatusCode < 300 {
		c.recognise(resp.Header, false)
		return resp, nil
	}
	defer resp.Body.Close()
	refused, mute := refusal(resp)
	c.recognise(resp.Header, mute)
	return nil, refused
}

// refusal reads the error out of an answer, also of one that isn't fleetd's. It
// is mute if it is in fleetd's form and has no message.
func refusal(resp *http.Response) (e *Error, mute bool) {
	e = &Error{Code: resp.StatusCode}
	if text, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20)); err == nil {
		var f Failure
		if json.Unmarshal(text, &f) == nil {
			e.Message, e.Problems = f.Error.Message, f.Error.Problems
			mute = f.Error.Code == resp.StatusCode && e.Message == ""
		} else if resp.StatusCode == http.StatusBadRequest && strings.Contains(string(text), plainToTLS) {
			e.Message = "TLS is spoken there: write https:// (--endpoint), with --ca-file, --cert-file and --key-file"
		}
	}
	if s, err := strconv.Atoi(resp.Header.Get("Retry-After")); err == nil && resp.StatusCode == http.StatusServiceUnavailable {
		e.RetryAfter = max(time.Duration(s)*time.Second, time.Millisecond)
	}
	return e, mute
}
