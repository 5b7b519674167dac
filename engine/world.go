package engine

import (
	"context"
	"sync"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
)

// World is all by which an engine waits, and what it does beside its own
// goroutine. A simulation has its own, in which nobody waits for anything and
// time is virtual; everything else in this package is what runs on hosts.
type World interface {
	Now() time.Time
	// Pause waits, or returns early with ctx.
	Pause(ctx context.Context, d time.Duration)
	// Campaign waits until this engine leads.
	Campaign(ctx context.Context, id machine.ID, ttl time.Duration) (*registry.Leadership, error)
	// Follow tells fn what registry.Follow does, until stop returns.
	Follow(ctx context.Context, fn func(registry.Update) error) (stop func())
	// Await returns when there is something in ready, when lost is closed, at
	// the time, or with ctx.
	Await(ctx context.Context, ready <-chan struct{}, lost <-chan struct{}, until time.Time)
}

// realWorld has goroutines and the host's clock.
type realWorld struct{ *registry.Registry }

func (realWorld) Now() time.Time { return time.Now() }

func (realWorld) Pause(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

func (w realWorld) Follow(ctx context.Context, fn func(registry.Update) error) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	var following sync.WaitGroup
	following.Go(func() { _ = w.Registry.Follow(ctx, fn) }) // ends with ctx only: fn never fails
	return func() { cancel(); following.Wait() }
}

func (realWorld) Await(ctx context.Context, ready <-chan struct{}, lost <-chan struct{}, until time.Time) {
	t := time.NewTimer(time.Until(until))
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-lost:
	case <-ready:
	case <-t.C:
	}
}
