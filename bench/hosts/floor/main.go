// Command floor runs on a host of bench/hosts and measures there what nobody gets
// under: systemd driven over D-Bus by the shortest way, and etcd's transactions.
// It times commands as well, so that what it takes to get into the host isn't
// counted. What it measured it prints as JSON; durations are in nanoseconds.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"strconv"
	"syscall"
)

const usage = `usage: floor one RUNS            fleetctl start of a new unit and its floors, in turns
       floor start|stop|destroy PREFIX N  N units by D-Bus alone, one after the other
       floor time COMMAND ARG...  how long a command takes`

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	result, err := run(ctx, os.Args[1:])
	if err == nil {
		err = json.NewEncoder(os.Stdout).Encode(result)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "floor:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) (any, error) {
	switch {
	case len(args) == 2 && args[0] == "one":
		runs, err := strconv.Atoi(args[1])
		if err != nil {
			return nil, err
		}
		return one(ctx, runs)
	case len(args) == 3:
		n, err := strconv.Atoi(args[2])
		if err != nil {
			break
		}
		return many(ctx, args[0], args[1], n)
	}
	if len(args) >= 2 && args[0] == "time" {
		return timed(ctx, args[1:]...)
	}
	return nil, errors.New(usage)
}
