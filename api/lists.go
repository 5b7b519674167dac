package api

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"mime"
	"net/url"
	"reflect"
	"slices"
	"time"
)

// askAgain is how often a list is asked for anew from a fleet 1.0 server, which
// has no watches.
const askAgain = 2 * time.Second

// WatchUnits calls fn with each unit (Added), with a Bookmark once that was all,
// and then with each change, until ctx ends or fn returns an error, which it
// returns. Later Bookmarks say that a Trouble began or, with none, that it is
// over. Once it was connected it connects anew whenever the connection is lost;
// that is a trouble, after which fn gets no more than what has become different.
func (c *Client) WatchUnits(ctx context.Context, fn func(ListEvent[Unit]) error) error {
	return watchList(ctx, c, "/units", url.Values{}, c.Units, func(u Unit) string { return string(u.Name) }, fn)
}

// WatchStates is WatchUnits for what machines say of units.
func (c *Client) WatchStates(ctx context.Context, f StateFilter, fn func(ListEvent[UnitState]) error) error {
	ask := func(ctx context.Context) ([]UnitState, error) { return c.States(ctx, f) }
	return watchList(ctx, c, "/state", f.query(), ask, func(s UnitState) string { return string(s.Name) + "/" + s.MachineID }, fn)
}

// WatchMachines is WatchUnits for the cluster's hosts.
func (c *Client) WatchMachines(ctx context.Context, fn func(ListEvent[Machine]) error) error {
	return watchList(ctx, c, "/machines", url.Values{}, c.Machines, func(m Machine) string { return m.ID }, fn)
}

// watchList follows a list, over a stream or, where the server has none, by
// asking again. ask gives the list; key is what tells rows apart.
func watchList[T any](ctx context.Context, c *Client, path string, q url.Values,
	ask func(context.Context) ([]T, error), key func(T) string, fn func(ListEvent[T]) error) error {
	q.Set("watch", "true")
	d := &differ[T]{key: key, fn: fn, known: map[string]T{}}
	resp, err := c.openWatch(ctx, path+"?"+q.Encode(), false)
	for {
		if err != nil {
			return err
		}
		if kind, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); kind != StreamType {
			resp.Body.Close()
			return d.poll(ctx, ask)
		}
		if err := d.begin(); err != nil {
			resp.Body.Close()
			return err
		}
		if err = readStream(ctx, resp, d.take); ctx.Err() != nil {
			return context.Cause(ctx)
		}
		var own callbackError
		if errors.As(err, &own) {
			return own.error
		}
		if err := d.tell(fmt.Sprintf("lost the connection to fleetd at %s (%v): connecting again", c.opts.Endpoint, err)); err != nil {
			return err
		}
		resp, err = c.openWatch(ctx, path+"?"+q.Encode(), true)
	}
}

// differ passes on what becomes different between what was told before and what
// is told now, whichever way that comes.
type differ[T any] struct {
	key     func(T) string
	fn      func(ListEvent[T]) error
	known   map[string]T
	trouble string
	// seen is what the list holds so far, while it is told from the beginning;
	// nil afterwards.
	seen map[string]bool
	// whole: the list was complete once.
	whole bool
}

// begin is before a list is told from the beginning.
func (d *differ[T]) begin() error {
	d.seen = map[string]bool{}
	return d.tell("")
}

// take is a stream's next event. One of a kind that is not known here is left
// to later clients.
func (d *differ[T]) take(e ListEvent[T]) error {
	switch {
	case e.Type == Bookmark:
		if err := d.complete(); err != nil {
			return err
		}
		return d.tell(e.Trouble)
	case e.Object == nil:
		return nil
	case e.Type == Added, e.Type == Modified:
		return d.put(*e.Object)
	case e.Type == Deleted:
		return d.remove(d.key(*e.Object))
	}
	return nil
}

func (d *differ[T]) put(row T) error {
	k := d.key(row)
	if d.seen != nil {
		d.seen[k] = true
	}
	last, known := d.known[k]
	d.known[k] = row
	switch {
	case !known:
		return d.fn(ListEvent[T]{Type: Added, Object: &row})
	case reflect.DeepEqual(last, row):
		return nil
	}
	return d.fn(ListEvent[T]{Type: Modified, Object: &row})
}

func (d *differ[T]) remove(key string) error {
	last, known := d.known[key]
	if !known {
		return nil
	}
	delete(d.known, key)
	return d.fn(ListEvent[T]{Type: Deleted, Object: &last})
}

// complete is when a list was told to its end: what wasn't in it is gone.
func (d *differ[T]) complete() error {
	if d.seen == nil {
		return nil
	}
	for _, k := range slices.Sorted(maps.Keys(d.known)) {
		if !d.seen[k] {
			if err := d.remove(k); err != nil {
				return err
			}
		}
	}
	d.seen = nil
	if d.whole {
		return nil
	}
	d.whole = true
	return d.fn(ListEvent[T]{Type: Bookmark})
}

// tell passes a trouble on, or its end; that of one before the list was ever
// complete is the list's own first Bookmark.
func (d *differ[T]) tell(trouble string) error {
	if d.trouble == trouble {
		return nil
	}
	d.trouble = trouble
	if trouble == "" && !d.whole {
		return nil
	}
	return d.fn(ListEvent[T]{Type: Bookmark, Trouble: trouble})
}

// poll asks for the list now and then. It returns only with an error.
func (d *differ[T]) poll(ctx context.Context, ask func(context.Context) ([]T, error)) error {
	ticker := time.NewTicker(askAgain)
	defer ticker.Stop()
	for {
		list, err := ask(ctx)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && !d.whole:
			return err
		case err != nil:
			err = d.tell(err.Error())
		default:
			err = d.takeAll(list)
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-ticker.C:
		}
	}
}

// takeAll takes over a list that came at once.
func (d *differ[T]) takeAll(list []T) error {
	if err := d.begin(); err != nil {
		return err
	}
	for _, row := range list {
		if err := d.put(row); err != nil {
			return err
		}
	}
	return d.complete()
}

// withAddresses completes a list's rows by their machines' addresses where the
// server doesn't tell them: a fleet 1.0 server.
func withAddresses[T any](ctx context.Context, c *Client, list []T, machine func(*T) (id string, address *string)) ([]T, error) {
	lacking := func(row *T) bool {
		id, address := machine(row)
		return id != "" && *address == ""
	}
	if !slices.ContainsFunc(list, func(row T) bool { return lacking(&row) }) {
		return list, nil
	}
	machines, err := c.Machines(ctx)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]string, len(machines))
	for _, m := range machines {
		byID[m.ID] = m.PrimaryIP
	}
	for i := range list {
		if lacking(&list[i]) {
			id, address := machine(&list[i])
			*address = byID[id]
		}
	}
	return list, nil
}
