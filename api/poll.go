package api

import (
	"context"
	"fmt"
	"reflect"
	"time"

	"github.com/fleet-project/fleet/unit"
)

// How often a server that knows no watch is asked: soon after something has
// changed, or this client has changed something, and then less and less.
const (
	pollFirst = 500 * time.Millisecond
	pollMost  = 2 * time.Second
)

// pollEach is how many units are asked for one by one; more are looked up in the
// list of all.
const pollEach = 10

// poll is Watch for a fleet 1.0 server: it asks again and again. With troubled, a
// trouble has been told of that ends with the first answer.
func (c *Client) poll(ctx context.Context, names []unit.Name, troubled bool, fn func(Event) error) error {
	told := map[unit.Name]UnitStatus{}
	pause := pollFirst
	for {
		changed, restarts := c.old.next() // first, so that what is told is not older
		now, err := c.askFleet1(ctx, names, restarts)
		switch {
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case err != nil && len(told) == 0 && !troubled:
			return err
		case err != nil && !troubled:
			troubled = true
			err = fn(Event{Trouble: fmt.Sprintf("fleetd at %s doesn't say how units are: %v: asking again", c.opts.Endpoint, err)})
		case err != nil:
			err = nil
		default:
			if troubled {
				troubled, err = false, fn(Event{Recovered: true})
			}
			for _, name := range names {
				s := now[name]
				if last, known := told[name]; err != nil || known && reflect.DeepEqual(last, s) {
					continue
				}
				told[name], pause = s, pollFirst
				err = fn(Event{Status: &s})
			}
		}
		if err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-changed:
			pause = pollFirst
		case <-time.After(pause):
			pause = min(pause*3/2, pollMost)
		}
	}
}

// askFleet1 gives what a fleet 1.0 server says of units.
func (c *Client) askFleet1(ctx context.Context, names []unit.Name, restarts map[unit.Name]uint64) (map[unit.Name]UnitStatus, error) {
	units, err := c.namedUnits(ctx, names)
	if err != nil {
		return nil, err
	}
	var filter StateFilter
	if len(names) == 1 {
		filter.Unit = names[0]
	}
	reported, err := list(ctx, c, "/state", filter.query(), UnitStatePage.parts)
	if err != nil {
		return nil, err
	}
	states := map[unit.Name][]UnitState{}
	for _, s := range reported {
		states[s.Name] = append(states[s.Name], s)
	}
	machines, err := c.Machines(ctx)
	if err != nil {
		return nil, err
	}
	addresses := make(map[string]string, len(machines))
	for _, m := range machines {
		addresses[m.ID] = m.PrimaryIP
	}
	out := make(map[unit.Name]UnitStatus, len(names))
	for _, name := range names {
		out[name] = fleet1Status(name, units[name], states[name], addresses, restarts[name])
	}
	return out, nil
}

func (c *Client) namedUnits(ctx context.Context, names []unit.Name) (map[unit.Name]*Unit, error) {
	out := make(map[unit.Name]*Unit, len(names))
	if len(names) > pollEach {
		all, err := list(ctx, c, "/units", nil, UnitPage.parts)
		for i := range all {
			all[i].complete()
			out[all[i].Name] = &all[i]
		}
		return out, err
	}
	for _, name := range names {
		u, err := c.Unit(ctx, name)
		if err != nil && !IsNotFound(err) {
			return nil, err
		}
		out[name] = u
	}
	return out, nil
}
