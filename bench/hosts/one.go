package main

import (
	"context"
	"strconv"
	"time"

	"github.com/fleet-project/fleet/bench/figure"
)

// startRuns are how often a single unit is started.
const startRuns = 50

// caseOne starts one new unit, again and again, on a cluster that does nothing
// else.
func caseOne(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 2*time.Minute)
	defer cancel()
	say("start of one unit, %d times", startRuns)
	runs, err := floor[struct{ Fleetctl, Systemd, Etcd []time.Duration }](ctx, b.Hosts[0], "one", strconv.Itoa(startRuns+1))
	if err != nil {
		return err
	}
	first := runs.Fleetctl[0] // has the API follow the cluster: nobody had asked it
	runs.Fleetctl, runs.Systemd, runs.Etcd = runs.Fleetctl[1:], runs.Systemd[1:], runs.Etcd[1:]
	sums := make([]time.Duration, startRuns)
	for i := range sums {
		sums[i] = runs.Systemd[i] + runs.Etcd[i]
	}
	below := figure.Millis(figure.Quantile(sums, 0.5))
	beside := &figure.Beside{Name: "StartUnit by hand and three etcd transactions, p50", Value: below}
	b.report.Add(subject,
		figure.Figure{
			Name: "fleetctl start of one new unit, waited for, p50", Unit: "ms", Value: figure.Millis(figure.Quantile(runs.Fleetctl, 0.5)),
			Beside: beside, Want: figure.AtMost(below + 40), Note: "the whole process, timed on the host",
		},
		figure.Figure{
			Name: "fleetctl start of one new unit, waited for, p99", Unit: "ms", Value: figure.Millis(figure.Quantile(runs.Fleetctl, 0.99)),
			Beside: beside, Want: figure.AtMost(below + 150), Note: "the floor is its p50",
		},
		figure.Figure{Name: "the first of them, of an API that nobody had asked", Unit: "ms", Value: figure.Millis(first)},
		figure.Figure{Name: "StartUnit by hand, p50", Unit: "ms", Value: figure.Millis(figure.Quantile(runs.Systemd, 0.5))},
		figure.Figure{Name: "three etcd transactions by hand, p50", Unit: "ms", Value: figure.Millis(figure.Quantile(runs.Etcd, 0.5))},
	)
	return nil
}
