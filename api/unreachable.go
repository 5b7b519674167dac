package api

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/url"
	"strings"
	"syscall"
	"time"
)

var errTimeout = errors.New("no answer in time")

// UnreachableError says that fleetd could not be asked, and what to do.
type UnreachableError struct {
	Endpoint string
	Via      string // the host through which it was tried; "" for none
	Remedy   string
	Err      error
}

func (e *UnreachableError) Error() string {
	s := "cannot reach fleetd at " + e.Endpoint
	if e.Via != "" {
		s += " through " + e.Via
	}
	s += ": " + e.Err.Error()
	if e.Remedy != "" {
		s += "\n" + e.Remedy
	}
	return s
}

// Unwrap gives the cause.
func (e *UnreachableError) Unwrap() error { return e.Err }

// appearTime is how long a socket that is not there yet is waited for: fleetd
// may have been started a moment ago (fleetd dev &).
const appearTime = 500 * time.Millisecond

// dialSocket connects to a unix socket, and gives a fleetd that is just
// starting the time to make it, but no more than half of a request's.
func (c *Client) dialSocket(ctx context.Context, path string) (net.Conn, error) {
	limit := appearTime
	if c.opts.Timeout > 0 {
		limit = min(limit, c.opts.Timeout/2)
	}
	patience, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	for {
		conn, err := c.opts.Dial(ctx, "unix", path)
		if err == nil || !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, syscall.ECONNREFUSED) {
			return conn, err
		}
		select {
		case <-patience.Done():
			return nil, err
		case <-time.After(20 * time.Millisecond): // a file that appears makes no event without inotify
		}
	}
}

// explain turns a failed connection into what a person can act upon.
func (c *Client) explain(ctx context.Context, err error) error {
	socket := strings.HasPrefix(c.opts.Endpoint, "unix://")
	if cause := context.Cause(ctx); errors.Is(cause, errTimeout) {
		remedy := "Is the host up?"
		if socket && c.opts.Via == "" { // systemd listens, whether fleetd comes up or not
			remedy = "fleetd does not come up there, or hangs: systemctl status fleet, fleetctl doctor."
		}
		return &UnreachableError{
			Endpoint: c.opts.Endpoint, Via: c.opts.Via, Err: fmt.Errorf("%w (%s)", errTimeout, c.opts.Timeout),
			Remedy: remedy + " A longer time: --request-timeout SECONDS.",
		}
	} else if cause != nil {
		return cause
	}
	var u *url.Error
	if errors.As(err, &u) {
		err = u.Err
	}
	e := &UnreachableError{Endpoint: c.opts.Endpoint, Via: c.opts.Via, Err: err}
	switch {
	case socket && (errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED)):
		e.Err = errors.New("fleetd isn't running there")
		e.Remedy = "Start it (systemctl start fleet), name another host's (--endpoint http://HOST:PORT or --tunnel HOST), or try fleet on this machine alone (fleetd dev)."
	case socket && errors.Is(err, fs.ErrPermission):
		e.Err = errors.New("you may not write to that socket")
		e.Remedy = "Become root (sudo), have SocketGroup= in fleet.socket name a group of yours (whoever is in it is as good as root), or name another fleetd (--endpoint)."
	case errors.Is(err, syscall.ECONNREFUSED):
		e.Err = errors.New("nothing listens there")
		e.Remedy = "Is fleetd running on that host (systemctl status fleet), and does fleet.socket listen on that port?"
	default:
		e.explainTLS(err)
	}
	return e
}
