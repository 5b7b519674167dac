// Command hosts measures fleet on three real hosts: systemd as PID 1, etcd and
// fleetd as installed by the package (make packages). It prints a table in which
// each figure stands beside its floor, measured in the same run on the same hosts:
// systemd driven by hand, and etcd's transactions alone. It needs root.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"

	"github.com/fleet-project/fleet/bench/figure"
	"github.com/fleet-project/fleet/functional/platform"
)

// subject is what the figures on starting and stopping are of.
const subject = "start and stop on real hosts"

// cases by name, in the order of the table. Each leaves the cluster whole, and
// without units.
var cases = []struct {
	name string
	run  func(context.Context, *bench) error
}{
	{"one", caseOne},
	{"many", caseMany},
	{"thousand", caseThousand},
	{"failover", caseFailover},
	{"idle", caseIdle},
}

func main() {
	var names []string
	for _, c := range cases {
		names = append(names, c.name)
	}
	one := flag.String("case", "", "run only this: "+strings.Join(names, ", "))
	out := flag.String("out", "", "write the figures to this file, for bench/table")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *one, *out); err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("interrupted, and the hosts are removed (%w)", err)
		}
		fmt.Fprintln(os.Stderr, "hosts:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, one, out string) (err error) {
	known := one == ""
	for _, c := range cases {
		known = known || c.name == one
	}
	if !known {
		return fmt.Errorf("no case is called %q", one)
	}
	if err := platform.Prepare(ctx, os.Stderr); err != nil {
		return err
	}
	b, err := boot(ctx)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, b.platform.Close()) }()
	err = b.measure(ctx, one)
	fmt.Print(b.report.String()) // as far as it came
	if out != "" {
		err = errors.Join(err, b.report.Write(out))
	}
	return err
}

// measure runs one case, or all.
func (b *bench) measure(ctx context.Context, one string) error {
	for _, c := range cases {
		if one != "" && one != c.name {
			continue
		}
		began := time.Now()
		if err := c.run(ctx, b); err != nil {
			return fmt.Errorf("case %s: %w", c.name, err)
		}
		say("case %s took %s", c.name, time.Since(began).Round(time.Second))
	}
	return nil
}

// say tells a person how far it is.
func say(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }

// bench is one run: the cluster, and what was measured.
type bench struct {
	*hosts
	report figure.Report
}
