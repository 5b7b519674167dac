// Command cluster measures a whole fleet through a real etcd: engine and API as
// fleetd has them, and a thousand hosts that run the real agent, each with a
// connection, a lease and watches of its own, on a systemd that only pretends.
// Etcd, fleetd and the hosts are processes of their own, so that what each of
// them costs can be told apart; they share this machine's processors.
//
// Floor is etcd alone: the same keys with the same values, written by as many
// clients, with nobody watching.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/fleet-project/fleet/bench/figure"
)

// options are what all processes of a run are started with.
type options struct {
	agents, units int
	processes     int // that the agents are spread over
	parallel      int // requests of who submits
	latency, ttl  time.Duration
	churn         time.Duration
	cases         string
	fleetd        string
	fleetctl      string
	dir           string // on a disk: etcd's data
	cpu, mem, out string

	// Of a process that is a part of a run.
	role     string
	etcd     string
	socket   string
	from, to int
}

// roles are what a process may be; empty is the one that a person starts.
var roles = map[string]func(context.Context, options) error{
	"":      run,
	"serve": serve,
	"hosts": hosts,
	"floor": floor,
}

func main() {
	var o options
	flag.IntVar(&o.agents, "agents", 1000, "hosts")
	flag.IntVar(&o.units, "units", 50000, "units, on all hosts together")
	flag.IntVar(&o.processes, "processes", 1, "processes that the hosts are spread over")
	flag.IntVar(&o.parallel, "parallel", 64, "requests under way while units are submitted, as fleetctl has them")
	flag.DurationVar(&o.latency, "latency", 7500*time.Microsecond, "time that a host's systemd takes for a start or a stop, one after the other")
	flag.DurationVar(&o.ttl, "ttl", 30*time.Second, "agent_ttl")
	flag.DurationVar(&o.churn, "churn", 20*time.Second, "how long units are started and stopped, 20 each a second")
	flag.StringVar(&o.cases, "case", strings.Join(caseNames(), ","), "what to measure, in this order, after all units were started")
	flag.StringVar(&o.fleetd, "fleetd", "bin/fleetd", "the program that has etcd in it")
	flag.StringVar(&o.fleetctl, "fleetctl", "bin/fleetctl", "the program that lists units")
	flag.StringVar(&o.dir, "dir", "", "a directory on the disk that etcd shall write to; it is made and removed (default: a temporary one)")
	flag.StringVar(&o.cpu, "cpuprofile", "", "write CPU profiles to files whose names begin so, one for each process and case")
	flag.StringVar(&o.mem, "memprofile", "", "write what is in memory at the end to files whose names begin so")
	flag.StringVar(&o.out, "out", "", "write the report as JSON to this file")
	flag.StringVar(&o.role, "role", "", "for a process that this one starts: "+strings.Join(roleNames(), ", "))
	flag.StringVar(&o.etcd, "etcd", "", "with -role: etcd's URL")
	flag.StringVar(&o.socket, "socket", "", "with -role serve: the API's socket")
	flag.IntVar(&o.from, "from", 0, "with -role hosts or floor: the first host")
	flag.IntVar(&o.to, "to", 0, "with -role hosts or floor: the host after the last")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	role, known := roles[o.role]
	if !known {
		fmt.Fprintf(os.Stderr, "cluster: -role %s: there is none of that name\n", o.role)
		os.Exit(2)
	}
	if err := role(ctx, o); err != nil {
		fmt.Fprintf(os.Stderr, "cluster: %s%v\n", o.role+strings.Repeat(": ", min(1, len(o.role))), err)
		stop()
		os.Exit(1) //nolint:gocritic // stop was called
	}
}

func roleNames() []string {
	var names []string
	for name := range roles {
		if name != "" {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// run is the process that a person starts.
func run(ctx context.Context, o options) (err error) {
	if o.dir, err = os.MkdirTemp(o.dir, "fleet-bench-"); err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(o.dir)) }()
	var report figure.Report
	err = measure(ctx, o, &report)
	fmt.Print(report.String()) // as far as it came
	if o.out != "" {
		err = errors.Join(err, report.Write(o.out))
	}
	return err
}
