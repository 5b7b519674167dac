package main

import (
	"context"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/bench/figure"
	"github.com/fleet-project/fleet/bench/load"
	"github.com/fleet-project/fleet/unit"
	"golang.org/x/sync/errgroup"
)

// churning starts and stops units at a steady rate while all others run.
func churning(ctx context.Context, f *fleet, report *figure.Report) error {
	s := f.servers[0]
	seen, err := observe(ctx, s)
	if err != nil {
		return err
	}
	defer seen.stop()
	shape := shapeOf(f.o)
	if err := seen.awaitActive(ctx, shape.Units()); err != nil {
		return err
	}
	const rate = 20
	n := int(f.o.churn.Seconds() * rate)
	starts, stops := make(map[unit.Name]time.Time, n), make(map[unit.Name]time.Time, n)
	usage, began := f.usage(), time.Now()
	asking, asked := errgroup.WithContext(ctx)
	ticker := time.NewTicker(time.Second / rate)
	defer ticker.Stop()
	for i := range n {
		<-ticker.C
		fresh, old := load.Name(i%shape.Templates, shape.Instances+i/shape.Templates), load.Name(i%shape.Templates, i/shape.Templates)
		text := string(shape.Text(i % shape.Templates))
		starts[fresh] = time.Now()
		asking.Go(func() error {
			_, err := s.client.SetUnit(asked, api.Unit{Name: fresh, Text: text, DesiredState: unit.TargetLaunched})
			return err
		})
		stops[old] = time.Now()
		asking.Go(func() error {
			_, err := s.client.SetUnit(asked, api.Unit{Name: old, DesiredState: unit.TargetLoaded})
			return err
		})
	}
	if err := asking.Wait(); err != nil {
		return err
	}
	patience, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	var running, down []time.Duration
	if err := seen.await(patience, "the end of the churn", func() bool {
		running, down = since(starts, seen.active), since(stops, seen.idle)
		return len(running) == n && len(down) == n
	}); err != nil {
		return err
	}
	spent, lasted := f.usage().since(usage), time.Since(began)
	report.Add(subjectOf(f.o),
		figure.Figure{Name: "submit to running at 20 starts and 20 stops a second, median", Value: figure.Millis(figure.Quantile(running, 0.5)), Unit: "ms"},
		figure.Figure{Name: "submit to running at 20 starts and 20 stops a second, p99", Value: figure.Millis(figure.Quantile(running, 0.99)), Unit: "ms", Want: figure.AtMost(250)},
		figure.Figure{Name: "stop to stopped meanwhile, p99", Value: figure.Millis(figure.Quantile(down, 0.99)), Unit: "ms"},
		figure.Figure{Name: "  of a processor meanwhile: etcd", Value: percent(spent.etcd, lasted), Unit: "%"},
		figure.Figure{Name: "  of a processor meanwhile: engine and API", Value: percent(spent.servers, lasted), Unit: "%"},
		figure.Figure{Name: "  of a processor meanwhile: all hosts", Value: percent(spent.hosts, lasted), Unit: "%"},
	)
	return nil
}

// since gives how long what was asked took to be seen, of what was.
func since(asked, seen map[unit.Name]time.Time) []time.Duration {
	var took []time.Duration
	for name, at := range asked {
		if is, ok := seen[name]; ok {
			took = append(took, is.Sub(at))
		}
	}
	return took
}
