package main

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"sync"

	"github.com/fleet-project/fleet/api"
)

// machinesAtOnce is how many machines' overrides go into one request, all of them
// or none; fleetd takes 128.
const machinesAtOnce = 100

// restoring carries changes out, and knows of each how it went.
type restoring struct {
	client *api.Client
	errs   map[*change]error // absent: done
}

// carryOutRestore makes the changes, and says what was done and what was not.
func (c *cli) carryOutRestore(ctx context.Context, todo []*change, say bool) error {
	client, err := c.client(ctx)
	if err != nil {
		return err
	}
	r := &restoring{client: client, errs: map[*change]error{}}
	for _, ch := range todo {
		r.errs[ch] = errNotTried
	}
	r.run(ctx, todo)
	done := 0
	for _, ch := range todo {
		err, bad := r.errs[ch]
		switch {
		case !bad:
			if done++; say {
				c.printf("%s %s: %s", ch.Kind, ch.Name, pasts[ch.Action])
			}
		case !errors.Is(err, errNotTried):
			not := "perhaps NOT"
			if e := new(api.Error); errors.As(err, &e) && e.Code < http.StatusInternalServerError {
				not = "NOT" // it was refused; else it may have happened, or may yet
			}
			c.errorf("%s %s: %s %s: %v", ch.Kind, ch.Name, not, pasts[ch.Action], err)
		}
	}
	if done == len(todo) {
		return nil
	}
	untried := 0
	for _, ch := range todo {
		if errors.Is(r.errs[ch], errNotTried) {
			c.errorf("%s %s: not %s yet", ch.Kind, ch.Name, pasts[ch.Action])
			untried++
		}
	}
	return failf("%d of %d changes were made, %d failed and %d were not tried. Run the same command again: it does what is left.", done, len(todo), len(todo)-done-untried, untried)
}

// pasts say that an action was done.
var pasts = map[string]string{
	"create": "created", "replace": "replaced", "target": "set to its desired state", "set": "set", "destroy": "destroyed", "reset": "reset",
}

// run goes from step to step, as long as nothing fails: what units are to find must
// be there before them, and nothing is destroyed while its successor may be missing.
func (r *restoring) run(ctx context.Context, todo []*change) {
	of := func(actions ...string) (out []*change) {
		for _, ch := range todo {
			if slices.Contains(actions, ch.Action) {
				out = append(out, ch)
			}
		}
		return out
	}
	for batch := range slices.Chunk(of("set", "reset"), machinesAtOnce) {
		if !r.machines(ctx, batch) {
			return
		}
	}
	units := of("create", "replace", "target")
	for len(units) > 0 {
		r.all(ctx, units, r.put)
		var again []*change
		for _, ch := range units {
			if r.errs[ch] == nil {
				continue
			}
			if !refused(r.errs[ch]) {
				return
			}
			again = append(again, ch)
		}
		if len(again) == len(units) {
			return
		}
		// A unit may be refused for what another one said until just now.
		units = again
	}
	r.all(ctx, of("destroy"), func(ctx context.Context, ch *change) error {
		err := r.client.DestroyUnit(ctx, ch.unit.Name)
		if api.IsNotFound(err) { // somebody else was quicker
			return nil
		}
		return err
	})
}

func (r *restoring) machines(ctx context.Context, batch []*change) bool {
	var all []api.MachineOverrides
	for _, ch := range batch {
		all = append(all, overrides(ch.machine))
	}
	err := r.client.ReplaceOverrides(ctx, all)
	for _, ch := range batch {
		r.note(ch, err)
	}
	return err == nil
}

func (r *restoring) put(ctx context.Context, ch *change) error {
	u := api.Unit{Name: ch.unit.Name, DesiredState: ch.unit.Target}
	if ch.Action != "target" { // else the text stays: somebody may be replacing it
		u.Text = string(ch.unit.Text)
	}
	_, err := r.client.SetUnit(ctx, u)
	return err
}

func (r *restoring) note(ch *change, err error) {
	if err == nil {
		delete(r.errs, ch)
		return
	}
	r.errs[ch] = err
}

// refused reports whether fleetd has considered it and said no: it is there, and
// what comes next may go well.
func refused(err error) bool {
	var e *api.Error
	return errors.As(err, &e) && e.Code < 500
}

// all does something for each, several at a time. Once fleetd doesn't answer, or
// can't, the rest is left: it would fare no better, each after its own time-out.
func (r *restoring) all(ctx context.Context, of []*change, do func(context.Context, *change) error) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	broken := false
	slots := make(chan struct{}, parallel)
	for _, ch := range of {
		slots <- struct{}{}
		mu.Lock()
		stop := broken || ctx.Err() != nil
		mu.Unlock()
		if stop {
			break
		}
		wg.Go(func() {
			err := do(ctx, ch)
			mu.Lock()
			r.note(ch, err)
			broken = broken || err != nil && !refused(err)
			mu.Unlock()
			<-slots
		})
	}
	wg.Wait()
}

// errNotTried is of a change that another one's failure kept from being made.
var errNotTried = errors.New("not tried")
