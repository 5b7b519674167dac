package main

import (
	"context"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/fleet-project/fleet/bench/figure"
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
