package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"runtime"
	"strings"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/bench/figure"
	"github.com/fleet-project/fleet/bench/load"
	"github.com/fleet-project/fleet/unit"
	"golang.org/x/sync/errgroup"
)

// cases are what is measured once all units run.
var cases = map[string]func(context.Context, *fleet, *figure.Report) error{
	"lists":    listing,
	"churn":    churning,
	"failover": failingOver,
}

func caseNames() []string { return []string{"lists", "churn", "failover"} }

// measure runs everything.
func measure(ctx context.Context, o options, report *figure.Report) error {
	var wanted []string
	if o.cases != "" {
		wanted = strings.Split(o.cases, ",")
	}
	for _, name := range wanted {
		if cases[name] == nil {
			return fmt.Errorf("-case %s: want some of %s", name, strings.Join(caseNames(), ", "))
		}
	}
	subject := subjectOf(o)
	fmt.Fprintf(os.Stderr, "%s: the floor\n", subject)
	bare, err := floorOf(ctx, o)
	if err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: joining\n", subject)
	began := time.Now()
	f, err := newFleet(ctx, o)
	if err != nil {
		return err
	}
	defer f.close()
	report.Add(subject, figure.Figure{Name: "all hosts join", Value: time.Since(began).Seconds(), Unit: "s"})
	if err := f.idle(ctx, report); err != nil {
		return err
	}
	fmt.Fprintf(os.Stderr, "%s: starting all units\n", subject)
	if err := f.profiled("start", func() error { return f.startAll(ctx, report, bare) }); err != nil {
		return err
	}
	for _, name := range wanted {
		fmt.Fprintf(os.Stderr, "%s: %s\n", subject, name)
		if err := f.profiled(name, func() error { return cases[name](ctx, f, report) }); err != nil {
			return fmt.Errorf("case %s: %w", name, err)
		}
	}
	return f.sizes(report)
}

func subjectOf(o options) string {
	return fmt.Sprintf("cluster: %d units on %d hosts", o.units, o.agents)
}

// costs are processor times, for one unit each.
type costs struct {
	took time.Duration
	etcd time.Duration
}

// floorOf measures etcd alone, with a data directory of its own.
func floorOf(ctx context.Context, o options) (costs, error) {
	e, err := startEtcd(ctx, o, "floor")
	if err != nil {
		return costs{}, err
	}
	defer e.stop()
	f := &fleet{o: o, etcd: e}
	p, err := f.self("floor", "-agents", fmt.Sprint(o.agents), "-units", fmt.Sprint(o.units),
		"-to", fmt.Sprint(o.agents), "-parallel", fmt.Sprint(o.parallel))
	if err != nil {
		return costs{}, err
	}
	defer p.kill()
	if err := p.awaitReady(); err != nil {
		return costs{}, err
	}
	before := e.processor()
	var w written
	if err := p.ask("go", &w); err != nil {
		return costs{}, err
	}
	if w.Error != "" {
		return costs{}, fmt.Errorf("the floor: %s", w.Error)
	}
	return costs{took: time.Duration(w.Seconds * float64(time.Second)), etcd: e.processor() - before}, nil
}

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
			Beside: &figure.Beside{Name: "etcd alone", Value: each(bare.etcd)}},
		figure.Figure{Name: "  processor time of engine and API, a unit", Value: each(spent.servers), Unit: "µs"},
		figure.Figure{Name: "  processor time of all hosts, a unit", Value: each(spent.hosts), Unit: "µs"},
		figure.Figure{Name: "  etcd's proposals, a unit", Value: (after - proposals) / float64(n)},
	)
	return nil
}

// idle measures what leases and connections cost while nothing happens.
func (f *fleet) idle(ctx context.Context, report *figure.Report) error {
	before, began := f.usage(), time.Now()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(5 * time.Second):
	}
	spent, lasted := f.usage().since(before), time.Since(began)
	report.Add(subjectOf(f.o),
		figure.Figure{Name: "of a processor while nothing happens: etcd", Value: percent(spent.etcd, lasted), Unit: "%"},
		figure.Figure{Name: "of a processor while nothing happens: engine and API", Value: percent(spent.servers, lasted), Unit: "%"},
		figure.Figure{Name: "of a processor while nothing happens: all hosts", Value: percent(spent.hosts, lasted), Unit: "%"},
	)
	return nil
}

func percent(of, whole time.Duration) float64 { return 100 * of.Seconds() / whole.Seconds() }

// usage is the processor time of all parts so far.
type usage struct{ etcd, servers, hosts time.Duration }

func (f *fleet) usage() usage {
	u := usage{etcd: f.etcd.processor()}
	for _, s := range f.servers {
		u.servers += s.processor()
	}
	for _, p := range f.hosts {
		u.hosts += p.processor()
	}
	return u
}

func (u usage) since(before usage) usage {
	return usage{u.etcd - before.etcd, u.servers - before.servers, u.hosts - before.hosts}
}

// listing asks for all units, in the ways that users do.
func listing(ctx context.Context, f *fleet, report *figure.Report) error {
	s := f.servers[0]
	const rounds = 5
	all := shapeOf(f.o).Units()
	var raw, decoded, program []time.Duration
	for range rounds {
		began := time.Now()
		if err := s.readAll(ctx, "/units", all); err != nil {
			return err
		}
		raw = append(raw, time.Since(began))
		began = time.Now()
		units, err := s.client.Units(ctx)
		if err != nil {
			return err
		}
		decoded = append(decoded, time.Since(began))
		if len(units) < all {
			return fmt.Errorf("GET /units gave %d units", len(units))
		}
		took, printed, err := f.fleetctl(ctx, s, "list-units", "--no-legend")
		if err != nil {
			return err
		}
		if int(printed) < all {
			return fmt.Errorf("fleetctl list-units printed %d lines of %d", printed, all)
		}
		program = append(program, took)
	}
	median := func(took []time.Duration) float64 { return figure.Millis(figure.Quantile(took, 0.5)) }
	report.Add(subjectOf(f.o),
		figure.Figure{Name: "GET /units of all, median", Value: median(raw), Unit: "ms", Want: figure.AtMost(400)},
		figure.Figure{Name: "GET /units of all and decoded, median", Value: median(decoded), Unit: "ms"},
		figure.Figure{Name: "fleetctl list-units of all, median", Value: median(program), Unit: "ms", Want: figure.AtMost(400)},
	)
	return nil
}

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

// sizes tells what is in memory and on the disk at the end.
func (f *fleet) sizes(report *figure.Report) error {
	mib := func(bytes float64) float64 { return bytes / (1 << 20) }
	var figures []figure.Figure
	for _, m := range []struct{ name, metric string }{
		{"etcd's database", "etcd_mvcc_db_total_size_in_bytes"},
		{"  of which in use", "etcd_mvcc_db_total_size_in_use_in_bytes"},
	} {
		v, err := f.etcd.metric(m.metric)
		if err != nil {
			return err
		}
		figures = append(figures, figure.Figure{Name: m.name, Value: mib(v), Unit: "MiB"})
	}
	tell := func(name string, of ...*process) {
		var now, most float64
		for _, p := range of {
			n, m := p.resident()
			now, most = now+n, most+m
		}
		figures = append(figures, figure.Figure{Name: name + ", resident", Value: now, Unit: "MiB", Note: fmt.Sprintf("at most %.0f MiB", most)})
	}
	tell("etcd", f.etcd.process)
	tell("engine and API", f.servers[len(f.servers)-1].process)
	tell("all hosts", f.hosts...)
	c, err := f.counted()
	if err != nil {
		return err
	}
	figures = append(figures, figure.Figure{Name: "warnings that hosts logged", Value: float64(c.Warnings)})
	report.Add(subjectOf(f.o), figures...)
	if f.o.mem == "" {
		return nil
	}
	for name, p := range f.named() {
		if err := p.order("heap " + f.o.mem + name + ".heap"); err != nil {
			return err
		}
	}
	return fetch(f.etcd.url+"/debug/pprof/heap", f.o.mem+"etcd.heap")
}

// profiled runs a case, with CPU profiles of all processes if they are wanted.
func (f *fleet) profiled(name string, measured func() error) error {
	if f.o.cpu == "" {
		return measured()
	}
	f.profile = f.o.cpu + name + "-"
	defer func() { f.profile = "" }()
	etcd := make(chan error, 1)
	path := f.profile + "etcd.pprof"
	go func() { etcd <- fetch(f.etcd.url+"/debug/pprof/profile?seconds=10", path) }()
	for of, p := range f.named() {
		if err := p.order("cpu " + f.profile + of + ".pprof"); err != nil {
			return err
		}
	}
	err := measured()
	for _, p := range f.named() { // without those that were ended as part of the case
		err = errors.Join(err, p.order("stop"))
	}
	return errors.Join(err, <-etcd)
}

// fetch keeps what a URL answers.
func fetch(url, path string) error {
	resp, err := http.Get(url)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o644)
}
