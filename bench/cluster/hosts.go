package main

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/fleet-project/fleet/agent"
	"github.com/fleet-project/fleet/bench/load"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
)

// joinTogether is how many hosts join at a time: as after a power cut, but that
// a real thousand has a thousand processors for it.
const joinTogether = 32

// hosts is the role of a process that is a part of the cluster's hosts: each is
// the real agent with a connection, a lease and watches of its own, on a systemd
// that only pretends.
func hosts(ctx context.Context, o options) error {
	// A thousand heaps are one here, and whoever collects one collects all.
	debug.SetGCPercent(400)
	var c count
	var warned complaints
	group, ctx := errgroup.WithContext(ctx)
	slots := make(chan struct{}, joinTogether)
	var joining sync.WaitGroup
	for i := o.from; i < o.to; i++ {
		joining.Add(1)
		joined := sync.OnceFunc(joining.Done)
		group.Go(func() error {
			defer joined() // also if it fails
			slots <- struct{}{}
			return host(ctx, o, i, &c, &warned, func() { <-slots; joined() })
		})
	}
	joining.Wait()
	if ctx.Err() != nil {
		return group.Wait()
	}
	group.Go(func() error {
		return obey(ctx, map[string]func() any{"count": func() any {
			return counted{Starts: c.Starts.Load(), Stops: c.Stops.Load(), Warnings: warned.n.Load()}
		}})
	})
	return ended(group.Wait())
}

// counted is how a process of hosts answers "count".
type counted struct{ Starts, Stops, Warnings int64 }

// host is one host, until ctx ends.
func host(ctx context.Context, o options, i int, c *count, warned *complaints, joined func()) error {
	r, err := registry.Dial(registry.Config{Endpoints: []string{o.etcd}, Log: warned.logger()})
	if err != nil {
		return err
	}
	defer r.Close()
	m := load.Shape{}.Machine(i)
	m.IP, m.Version = fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), "bench"
	presence, err := r.Join(ctx, m, o.ttl)
	if err != nil {
		return fmt.Errorf("host %d: %w", i, err)
	}
	a := agent.New(agent.Options{
		Registry: r, Presence: presence, Systemd: newFakeSystemd(o.latency, c),
		Machine: func() machine.Machine { return m }, TTL: o.ttl,
		Dir: filepath.Join(o.dir, string(m.ID), "units"), Log: warned.logger(),
		Uptime: func() (time.Duration, error) { return time.Hour, nil },
	})
	group, ctx := errgroup.WithContext(ctx)
	group.Go(func() error { return presence.Run(ctx) })
	group.Go(func() error { return a.Run(ctx) })
	joined()
	return group.Wait()
}

// complaints counts what a process warns of: at worst, a thousand hosts say the
// same.
type complaints struct{ n atomic.Int64 }

// Write is io.Writer's, for each entry of the log.
func (c *complaints) Write(line []byte) (int, error) {
	if bytes.Contains(line, []byte("level=warning")) {
		c.n.Add(1)
	} else if !bytes.Contains(line, []byte("level=info")) {
		os.Stderr.Write(line)
	}
	return len(line), nil
}

// logger is as verbose as fleetd's is by default.
func (c *complaints) logger() *logrus.Entry {
	l := logrus.New()
	l.SetOutput(c)
	l.SetFormatter(&logrus.TextFormatter{DisableTimestamp: true})
	return logrus.NewEntry(l)
}
