package main

import (
	"context"
	"fmt"
	"runtime"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/bench/figure"
	"github.com/fleet-project/fleet/bench/load"
	"github.com/fleet-project/fleet/unit"
	"golang.org/x/sync/errgroup"
)

// startAll submits all units through the API and waits until it tells that they
// run.
func (f *fleet) startAll(ctx context.Context, report *figure.Report, bare costs) error {
	leader := f.servers[0]
	seen, err := observe(ctx, leader)
	if err != nil {
		return err
	}
	defer seen.stop()
	shape := shapeOf(f.o)
	n := shape.Units()
	usage := f.usage()
	proposals, err := f.etcd.metric("etcd_server_proposals_committed_total")
	if err != nil {
		return err
	}
	began := time.Now()
	submitting, submitted := errgroup.WithContext(ctx)
	submitting.SetLimit(f.o.parallel)
	for i := range n {
		template, instance := i/shape.Instances, i%shape.Instances
		text := string(shape.Text(template))
		submitting.Go(func() error {
			_, err := leader.client.SetUnit(submitted, api.Unit{Name: load.Name(template, instance), Text: text, DesiredState: unit.TargetLaunched})
			return err
		})
	}
	if err := submitting.Wait(); err != nil {
		return err
	}
	accepted := time.Since(began)
	patience, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	if err := seen.awaitActive(patience, n); err != nil {
		return err
	}
	took := time.Since(began)
	after, err := f.etcd.metric("etcd_server_proposals_committed_total")
	if err != nil {
		return err
	}
	rate := func(d time.Duration) float64 { return float64(n) / d.Seconds() }
	each := func(d time.Duration) float64 { return figure.Micros(d) / float64(n) }
	spent := f.usage().since(usage)
	report.Add(subjectOf(f.o),
		figure.Figure{
			Name: "started, from submit to reported running", Value: rate(took), Unit: "units/s",
			Beside: &figure.Beside{Name: "etcd alone with the same puts", Value: rate(bare.took)}, Want: figure.AtLeast(2500),
			Note: fmt.Sprintf("the hosts' agents ran on the same %d processors and had %.0f%% of them; etcd, engine and API, which a cluster shares, took %.0f µs a unit",
				runtime.NumCPU(), percent(spent.hosts, took)/float64(runtime.NumCPU()), each(spent.etcd+spent.servers)),
		},
		figure.Figure{Name: "  of which accepted by the API", Value: rate(accepted), Unit: "units/s"},
		figure.Figure{Name: "  processor time of etcd, a unit", Value: each(spent.etcd), Unit: "µs",
			Beside: &figure.Beside{Name: "etcd alone", Value: each(bare.etcd)}, Note: "alone, each submit is a transaction; fleet has those that come together in one"},
		figure.Figure{Name: "  processor time of engine and API, a unit", Value: each(spent.servers), Unit: "µs"},
		figure.Figure{Name: "  processor time of all hosts, a unit", Value: each(spent.hosts), Unit: "µs"},
		figure.Figure{Name: "  etcd's proposals, a unit", Value: (after - proposals) / float64(n)},
	)
	return nil
}
