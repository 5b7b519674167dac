package api

import (
	"context"
	"net/url"
	"sync"

	"github.com/fleet-project/fleet/unit"
)

// maxQuery is how long a watch's query may be: a server reads a request's headers
// up to 1 MiB.
const maxQuery = 512 << 10

// watchParts cuts units into parts that one request each can name.
func watchParts(names []unit.Name) (parts [][]unit.Name) {
	begin, size := 0, 0
	for i, n := range names {
		own := len("&unit=") + len(url.QueryEscape(string(n)))
		if size+own > maxQuery && i > begin {
			parts = append(parts, names[begin:i:i])
			begin, size = i, 0
		}
		size += own
	}
	return append(parts, names[begin:])
}

// watchAll is Watch over a stream for each part.
func (c *Client) watchAll(ctx context.Context, parts [][]unit.Name, fn func(Event) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	m := &mergedWatch{fn: fn, troubled: map[int]bool{}}
	var all sync.WaitGroup
	for i, names := range parts {
		all.Go(func() {
			cancel(c.watchOne(ctx, names, func(e Event) error { return m.pass(ctx, i, e) }))
		})
	}
	all.Wait()
	return context.Cause(ctx)
}

// mergedWatch passes the events of several streams on as if they were one's.
type mergedWatch struct {
	mu       sync.Mutex
	fn       func(Event) error
	troubled map[int]bool // streams
	told     string       // the trouble
}

// pass passes a stream's event on. A trouble that all have is told once, and is
// over when it is for the last of them.
func (m *mergedWatch) pass(ctx context.Context, stream int, e Event) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if ctx.Err() != nil { // another has ended the watch
		return context.Cause(ctx)
	}
	switch {
	case e.Trouble != "":
		m.troubled[stream] = true
		if m.told == e.Trouble {
			return nil
		}
		m.told = e.Trouble
	case e.Recovered:
		if delete(m.troubled, stream); len(m.troubled) > 0 {
			return nil
		}
		m.told = ""
	}
	return m.fn(e)
}
