package faults

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"strings"
	"sync"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// World is a cluster of real hosts, one row's at a time.
type World struct {
	*cluster.Cluster
	Platform *platform.Platform
	// Specs are what the hosts were booted from, for a row that boots one more.
	Specs []platform.HostSpec
}

// Pool makes worlds when they are asked for, at most so many, and keeps those
// that rows have left whole for other rows.
type Pool struct {
	opts cluster.Options
	out  io.Writer
	free chan *World // nil stands for one that is yet to be made
}

// NewPool makes a pool of at most n clusters.
func NewPool(n int, opts cluster.Options, out io.Writer) *Pool {
	opts.Files = maps.Clone(opts.Files)
	if opts.Files == nil {
		opts.Files = Files()
	} else {
		maps.Copy(opts.Files, Files())
	}
	p := &Pool{opts: opts, out: out, free: make(chan *World, n)}
	for range n {
		p.free <- nil
	}
	return p
}

// Take gives a healthy cluster that is nobody else's until it is given back, when
// there is one.
func (p *Pool) Take(ctx context.Context) (*World, error) {
	select {
	case w := <-p.free:
		if w != nil {
			return w, nil
		}
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	w, err := p.build(ctx)
	if err != nil {
		p.free <- nil
		return nil, err
	}
	return w, nil
}

func (p *Pool) build(ctx context.Context) (*World, error) {
	plat, err := platform.New(ctx, platform.Options{Out: p.out})
	if err != nil {
		return nil, err
	}
	w := &World{Platform: plat}
	if w.Specs, err = cluster.Specs(ctx, plat, p.opts); err != nil {
		return nil, errors.Join(err, plat.Close())
	}
	hosts, err := plat.BootAll(ctx, w.Specs...)
	if err == nil {
		w.Cluster, err = cluster.Form(ctx, hosts, p.opts)
	}
	if err != nil {
		return nil, errors.Join(err, plat.Close())
	}
	return w, nil
}

// Give gives a cluster back. One that isn't healthy is not taken: the error says what
// is wrong with it, and it is to be discarded.
func (p *Pool) Give(ctx context.Context, w *World) error {
	if err := w.Clean(ctx); err != nil {
		return fmt.Errorf("the cluster was left broken: %w", err)
	}
	p.free <- w
	return nil
}

// Discard throws a cluster away that was taken, for another to be made in its place.
func (p *Pool) Discard(w *World) error {
	p.free <- nil
	return w.Platform.Close()
}

// Close removes all clusters, once they have been given back.
func (p *Pool) Close() error {
	var errs []error
	for range cap(p.free) {
		if w := <-p.free; w != nil {
			errs = append(errs, w.Platform.Close())
		}
	}
	return errors.Join(errs...)
}

// Clean takes all units away and all that witnesses have written, and returns
// when the cluster is healthy: every host in it and reachable, every etcd member
// in touch with a leader, nothing scheduled.
func (w *World) Clean(ctx context.Context) error {
	for _, h := range w.Hosts {
		if s := h.State(); s != platform.Running {
			return fmt.Errorf("%s is %s", h.Name(), s)
		}
	}
	if err := w.AwaitMachines(ctx, len(w.Hosts)); err != nil {
		return err
	}
	left, err := w.Fleetctl(ctx, "list-unit-files", "--no-legend", "--fields", "unit")
	if err != nil {
		return err
	}
	if left != "" {
		if _, err := w.Fleetctl(ctx, append([]string{"destroy"}, strings.Fields(left)...)...); err != nil {
			return err
		}
	}
	return w.Everywhere(func(h *platform.Host) error {
		if err := cluster.Await(ctx, h.Name()+"'s etcd to be healthy, and its units to be gone", func() (bool, string) {
			// A unit that fleet has brought to the host has a record there.
			out, err := h.Run(ctx, "sh", "-ec", "curl -sf http://127.0.0.1:2379/health >/dev/null; ls /run/fleet/units/")
			return err == nil && out == "", fmt.Sprint(out, err)
		}); err != nil {
			return err
		}
		_, err := h.Run(ctx, "rm", "-rf", logDir)
		return err
	})
}

// Everywhere does something on all hosts at once.
func (w *World) Everywhere(do func(h *platform.Host) error) error {
	errs := make([]error, len(w.Hosts))
	var all sync.WaitGroup
	for i, h := range w.Hosts {
		all.Go(func() { errs[i] = do(h) })
	}
	all.Wait()
	return errors.Join(errs...)
}
