package ssh

import (
	"context"
	"fmt"
	"sync/atomic"
	"time"
)

// patience is a context that ends when a host has been silent for too long.
type patience struct {
	context.Context
	limit  time.Duration
	timer  *time.Timer
	cancel context.CancelCauseFunc
	hint   atomic.Value // string: what the silence may mean
}

func newPatience(ctx context.Context, limit time.Duration) *patience {
	p := &patience{limit: limit}
	p.hint.Store("")
	p.Context, p.cancel = context.WithCancelCause(ctx)
	p.timer = time.AfterFunc(limit, func() { p.cancel(silence{limit, p.hint.Load().(string)}) })
	return p
}

// waitFor says what it would mean if nothing came any more.
func (p *patience) waitFor(hint string) { p.hint.Store(hint) }

// pause lets a person think: that is not the host's silence.
func (p *patience) pause(f func() bool) bool {
	p.timer.Stop()
	defer p.timer.Reset(p.limit)
	return f()
}

func (p *patience) end() {
	p.timer.Stop()
	p.cancel(nil)
}

// silence is the error of a host that has not answered in time.
type silence struct {
	limit time.Duration
	hint  string
}

func (s silence) Error() string {
	text := fmt.Sprintf("no answer within %s", s.limit)
	if s.hint != "" {
		text += ": " + s.hint
	}
	return text + " (--ssh-timeout)"
}

// keepAlive asks the host for a sign of life now and then, and ends the
// connection if there is none.
func (c *Client) keepAlive() {
	tick := time.NewTicker(max(c.config.Timeout, time.Millisecond))
	defer tick.Stop()
	for {
		select {
		case <-c.life.Done():
			return
		case <-tick.C:
		}
		err := c.within(c.life, func() error {
			_, _, err := c.ssh.SendRequest("keepalive@openssh.com", true, nil)
			return err // an answer of either kind is one
		})
		if err != nil {
			return
		}
	}
}
