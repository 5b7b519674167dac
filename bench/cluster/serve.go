package main

import (
	"context"
	"net"
	"path/filepath"

	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/engine"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"
)

// serve is the role of a process that is fleetd without its agent: engine and API
// on one registry, as fleetd wires them.
func serve(ctx context.Context, o options) error {
	var warned complaints
	metrics := prometheus.NewRegistry()
	metrics.MustRegister(collectors.NewGoCollector())
	r, err := registry.Dial(registry.Config{Endpoints: []string{o.etcd}, Log: warned.logger(), Metrics: metrics})
	if err != nil {
		return err
	}
	defer r.Close()
	socket, err := net.Listen("unix", o.socket)
	if err != nil {
		return err
	}
	s := server.New(server.Options{
		Registry: r, AgentTTL: o.ttl, Log: warned.logger(),
		Metrics: promhttp.HandlerFor(metrics, promhttp.HandlerOpts{}), Registerer: metrics,
	})
	e := engine.New(engine.Options{
		Registry: r, Machine: machine.ID(filepath.Base(o.socket)), AgentTTL: o.ttl,
		KnownCluster: func() record.ClusterID { return "" }, // it is known to agents, of which there is none here
		Log:          warned.logger(), Metrics: metrics,
	})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return s.Run(ctx) })
	group.Go(func() error { return s.Serve(ctx, socket) })
	group.Go(func() error { return e.Run(ctx) })
	group.Go(func() error { return obey(ctx, nil) })
	return ended(group.Wait())
}
