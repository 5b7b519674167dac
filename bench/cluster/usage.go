package main

import (
	"context"
	"fmt"
	"time"

	"github.com/fleet-project/fleet/bench/figure"
)

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

func percent(of, whole time.Duration) float64 { return 100 * of.Seconds() / whole.Seconds() }

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
