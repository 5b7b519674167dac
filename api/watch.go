package api

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"time"

	"github.com/fleet-project/fleet/unit"
)

// silence is how long a watch may be silent before its connection counts as
// lost: two heartbeats and some.
const silence = 2*HeartbeatInterval + 5*time.Second

var errSilent = errors.New("the connection is silent")

// Watch calls fn with the status of each unit, existing or not, and then at
// each change, until ctx ends or fn returns an error, which it returns. Once it
// was connected it connects anew whenever the connection is lost, and tells of
// that as a trouble; fn then gets each unit's status again. A fleet 1.0 server,
// which knows no watch, is asked now and then.
func (c *Client) Watch(ctx context.Context, names []unit.Name, fn func(Event) error) error {
	if parts := watchParts(names); len(parts) > 1 {
		return c.watchAll(ctx, parts, fn)
	}
	return c.watchOne(ctx, names, fn)
}

// watchOne is Watch over a single stream.
func (c *Client) watchOne(ctx context.Context, names []unit.Name, fn func(Event) error) error {
	q := url.Values{}
	for _, n := range names {
		q.Add("unit", string(n))
	}
	path := "/watch?" + q.Encode()
	resp, err := c.openWatch(ctx, path, false)
	for troubled := false; ; troubled = true {
		if IsNotFound(err) && c.isFleet1() {
			return c.poll(ctx, names, troubled, fn)
		}
		if err != nil {
			return err
		}
		if err = c.readWatch(ctx, resp, fn); ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var own callbackError
		if errors.As(err, &own) {
			return own.error
		}
		if err := fn(Event{Trouble: fmt.Sprintf("lost the connection to fleetd at %s (%v): connecting again", c.opts.Endpoint, err)}); err != nil {
			return err
		}
		if resp, err = c.openWatch(ctx, path, true); err == nil {
			if err := fn(Event{Recovered: true}); err != nil {
				resp.Body.Close()
				return err
			}
		}
	}
}

// callbackError marks what the callback itself returned.
type callbackError struct{ error }

// openWatch opens the stream. It waits for a fleetd that is not ready, for as
// long as a request may take; with persist, for one that isn't there or has a
// proxy that says so, too, and for as long as ctx lives. It then pauses first: a
// server that ends each stream at once must not be asked without end.
func (c *Client) openWatch(ctx context.Context, path string, persist bool) (*http.Response, error) {
	deadline := time.Now().Add(c.opts.Timeout)
	for again := persist; ; again = true {
		if again {
			select {
			case <-ctx.Done():
			case <-time.After(retryPause):
			}
		}
		resp, err := c.sendTimed(ctx, path)
		if err == nil {
			return resp, nil
		}
		var refused *Error
		var unreachable *UnreachableError
		notReady := errors.As(err, &refused) && refused.RetryAfter > 0
		switch {
		case ctx.Err() != nil:
			return nil, context.Cause(ctx)
		case persist && (errors.As(err, &unreachable) || refused != nil && refused.Code >= http.StatusInternalServerError):
		case notReady && (c.opts.Timeout == 0 || time.Now().Before(deadline)):
		default:
			return nil, err
		}
	}
}

// sendTimed bounds the time until the answer begins, but not the answer.
func (c *Client) sendTimed(ctx context.Context, path string) (*http.Response, error) {
	if c.opts.Timeout == 0 {
		return c.send(ctx, http.MethodGet, path, nil)
	}
	ctx, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(c.opts.Timeout, func() { cancel(errTimeout) })
	defer timer.Stop()
	resp, err := c.send(ctx, http.MethodGet, path, nil)
	if err != nil {
		cancel(err)
		return nil, err
	}
	resp.Body = closer{resp.Body, func() { cancel(context.Canceled) }}
	return resp, nil
}

// readWatch passes a stream's events on. It returns only with an error.
func (c *Client) readWatch(ctx context.Context, resp *http.Response, fn func(Event) error) error {
	return readStream(ctx, resp, func(e Event) error {
		if e.Heartbeat {
			return nil
		}
		return fn(e)
	})
}

// closer is a body that frees what else belongs to it.
type closer struct {
	io.ReadCloser
	free func()
}

func (c closer) Close() error {
	c.free()
	return c.ReadCloser.Close()
}
