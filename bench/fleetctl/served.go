package main

import (
	"context"
	"errors"
	"net"

	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/bench/load"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"golang.org/x/sync/errgroup"
)

// still is a cluster in which nothing happens: its units run. It only answers what
// a list asks; whatever else is asked of it panics.
type still struct {
	server.Registry
	view *record.View
}

// stillCluster has so many units on ten machines.
func stillCluster(units int) still {
	shape := load.Shape{Templates: 1, Instances: units, Machines: 10, Kind: load.Plain}
	view := record.NewView()
	view.Revision = 1
	for _, change := range shape.Snapshot() {
		view.Apply(change)
	}
	for id, m := range view.Machines {
		m.IP = "192.0.2.1"
		view.Machines[id] = m
	}
	i := 0
	for name, u := range view.Units {
		spec := record.Spec{Target: u.Target, File: u.File}
		key := record.Key{Machine: load.MachineID(i % shape.Machines), Unit: name}
		view.Schedule[key] = spec
		view.States[key] = record.State{Spec: spec, SystemdState: unit.SystemdState{Load: "loaded", Active: "active", Sub: "running"}}
		i++
	}
	return still{view: view}
}

// Follow tells the whole cluster, and then nothing.
func (s still) Follow(ctx context.Context, fn func(registry.Update) error) error {
	if err := fn(registry.Update{Reset: true, View: s.view}); err != nil {
		return err
	}
	<-ctx.Done()
	return ctx.Err()
}

// Revision is the cluster's only one.
func (s still) Revision(context.Context) (int64, error) { return s.view.Revision, nil }

// RequestProgress is for those who wait for more than Follow has told: there is none.
func (s still) RequestProgress(context.Context) error { return nil }

// Health is good.
func (s still) Health() error { return nil }

// serve answers on a unix socket until it is told to stop.
func (s still) serve(socket string) (stop func() error, err error) {
	listener, err := net.Listen("unix", socket)
	if err != nil {
		return nil, err
	}
	srv := server.New(server.Options{Registry: s})
	ctx, cancel := context.WithCancel(context.Background())
	var both errgroup.Group
	both.Go(func() error { return srv.Run(ctx) })
	both.Go(func() error { return srv.Serve(ctx, listener) })
	return func() error {
		cancel()
		if err := both.Wait(); !errors.Is(err, context.Canceled) {
			return err
		}
		return nil
	}, nil
}
