package rescue

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
)

// calm is for how long nothing may have become different of what machines say: a
// host that is back says at once what it runs, a few hundred units at a time.
const calm = 3 * time.Second

// Restoring is what Finish needs of a registry.
type Restoring interface {
	Restoring(ctx context.Context) (*registry.Restored, *record.View, error)
	FinishRestore(ctx context.Context, held *registry.Restored, is registry.Reality) error
}

// FinishOptions say when a restore is finished.
type FinishOptions struct {
	Registry Restoring
	// Without are machines that won't come back, by the beginnings of their ids.
	Without []string
	Say     func(string)
	Pause   time.Duration // before it looks again: a second
}

// Finish waits until all machines have come back to a restored etcd, and then has
// fleet go on with what they run.
func Finish(ctx context.Context, o FinishOptions) error {
	var said, last string
	since := time.Now()
	for {
		held, view, err := o.Registry.Restoring(ctx)
		switch {
		case errors.Is(err, registry.ErrNotRestoring):
			return err
		case err == nil:
			if err := o.check(held); err != nil {
				return err
			}
			missing := o.missing(held, view)
			text := "waiting for " + strings.Join(slices.Sorted(maps.Values(missing)), ", ") +
				": each needs etcd (on its host: fleetd etcd replace --add) and fleetd; one that won't come back: --without ID"
			if len(missing) > 0 && text != said {
				o.Say(text)
				said = text
			}
			if now := spoken(view); now != last {
				last, since = now, time.Now()
			}
			if len(missing) == 0 && time.Since(since) >= calm {
				err := o.finish(ctx, held, view)
				if !errors.Is(err, registry.ErrWrittenMeanwhile) {
					return err
				}
				o.Say(fmt.Sprintf("%v: looking again", err)) // each unit once: it stays as it was written
			}
		case err.Error() != said:
			said = err.Error()
			o.Say(said)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("not finished: fleet changes nothing and keeps everything running until fleetd etcd restore --finish: %w", ctx.Err())
		case <-time.After(o.Pause):
		}
	}
}

// check refuses what gives up another machine than one that was meant: its units would
// run twice if it is alive.
func (o FinishOptions) check(held *registry.Restored) error {
	for _, w := range o.Without {
		var meant []string
		for _, id := range slices.Sorted(maps.Keys(held.Machines)) {
			if w != "" && strings.HasPrefix(string(id), w) {
				meant = append(meant, fmt.Sprintf("%s (%s)", held.Machines[id], id))
			}
		}
		if len(meant) != 1 {
			return fmt.Errorf("--without %s: it must begin the id of one machine of the backup, not of %d: %s", w, len(meant), strings.Join(meant, ", "))
		}
	}
	return nil
}

func (o FinishOptions) missing(held *registry.Restored, view *record.View) map[machine.ID]string {
	missing := held.Missing(view)
	maps.DeleteFunc(missing, func(id machine.ID, _ string) bool {
		return slices.ContainsFunc(o.Without, func(w string) bool { return strings.HasPrefix(string(id), w) })
	})
	return missing
}

// spoken sums up what machines say.
func spoken(v *record.View) string {
	launched := 0
	for _, s := range v.States {
		if s.Target.Wanted() {
			launched++
		}
	}
	return fmt.Sprint(len(v.Machines), len(v.States), launched)
}

func (o FinishOptions) finish(ctx context.Context, held *registry.Restored, view *record.View) error {
	is := held.Reality(view)
	if err := o.Registry.FinishRestore(ctx, held, is); err != nil {
		return err
	}
	if names := slices.Sorted(maps.Keys(is.Run)); len(names) > 0 {
		o.Say(fmt.Sprintf("they run, though the backup had them stopped, and stay: %v", names))
	}
	if len(is.Unknown) > 0 {
		o.Say(fmt.Sprintf("they run, and the backup had never heard of them; they are left alone. Hand them in again (fleetctl start), and they stay as they are: %v", is.Unknown))
	}
	if len(is.Again) > 0 {
		o.Say(fmt.Sprintf("the backup has them running, and no host does: they are started now, though some may have been stopped or destroyed since: %v", is.Again))
	}
	o.Say("fleet goes on: " + fmt.Sprintf("%d machines, %d units", len(view.Machines), len(view.Units)))
	return nil
}
