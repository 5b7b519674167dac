package simulation

import (
	"context"
	"time"

	"github.com/fleet-project/fleet/registry"
)

// Process is what one fleetd has of the world: tasks that take turns, the host's
// clock, and a way to etcd. Whatever waits, waits by it; so that whoever runs the
// world can stop all of it at any such point, and for ever.
type Process interface {
	// Registry is this process's own, over the model of etcd.
	Registry() *registry.Registry
	// Now is the time of the host's clock, with both readings: what a real process
	// measures time by.
	Now() time.Time
	// Go begins a task. It takes its first turn when the present one waits or ends.
	Go(task func(ctx context.Context))
	// Await has the task wait until there is something in ready, which it takes;
	// or until that time of the host's clock, unless zero.
	Await(ctx context.Context, ready <-chan struct{}, until time.Time)
	// Follow tells what a feed gives, from a snapshot on, as registry.Follow does,
	// in a task of its own, until stop is called. tell may wait.
	Follow(feed *registry.Feed, tell func(ctx context.Context, u registry.Update)) (stop func())
	// Kill ends the process: no task has another turn. A task that kills its own
	// process goes on to its next wait.
	Kill()
	// Freeze has no task take a turn before that true time.
	Freeze(until time.Time)
}
