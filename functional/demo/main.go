// Command demo shows fleet's main job on real hosts: make demo. "up" boots
// three hosts with one cloud-config, by which they become a cluster, runs a
// docker service on it, kills the host that runs it and shows the service
// answering from another. "down" removes all of it. Where real hosts can't be
// booted, "up" shows what it can on fleetd dev.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
)

// name is the platform's: "down" finds it by this.
const name = "demo"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	verb := ""
	if len(os.Args) == 2 {
		verb = os.Args[1]
	}
	var err error
	switch verb {
	case "up":
		err = up(ctx)
	case "down":
		err = down()
	default:
		err = errors.New("usage: demo up|down (make demo, make demo-down)")
	}
	if err != nil {
		if ctx.Err() != nil {
			err = fmt.Errorf("interrupted, and what was made is removed (%w)", err)
		}
		fmt.Fprintf(os.Stderr, "demo: %v\n", err)
		os.Exit(1)
	}
}

func up(ctx context.Context) error {
	s := newStage(os.Stdout)
	if err := platform.Prepare(ctx, os.Stdout); err != nil {
		s.say("The same session on fleetd dev, one host in one process: %v.", err)
		return onDev(ctx, s)
	}
	if err := down(); err != nil {
		return err
	}
	return onHosts(ctx, s)
}

// down removes the demo's hosts, if there are any.
func down() error {
	p, err := platform.Open(name)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	fmt.Printf("removing the demo's hosts\n")
	return p.Close()
}

// within bounds the wait for one thing.
func within(ctx context.Context, d time.Duration) (context.Context, context.CancelFunc) {
	return context.WithTimeout(ctx, d)
}
