package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// Runs are what the runs took, in their order.
type Runs struct {
	Fleetctl []time.Duration // fleetctl start FILE, the whole process
	Systemd  []time.Duration // file written, StartUnit, JobRemoved
	Etcd     []time.Duration // three transactions, one after the other
}

// one starts new units by fleetctl and, in turns, does by hand what that can't
// do without.
func one(ctx context.Context, runs int) (*Runs, error) {
	s, err := dial(ctx)
	if err != nil {
		return nil, err
	}
	defer s.bus.Close()
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{"http://127.0.0.1:2379"}, Context: ctx, Logger: zap.NewNop()})
	if err != nil {
		return nil, err
	}
	defer etcd.Close()
	var r Runs
	for i := range runs {
		unit := fmt.Sprintf("one-%d.service", i)
		path := "/root/" + unit
		if err := os.WriteFile(path, []byte(sleeper), 0o644); err != nil {
			return nil, err
		}
		took, err := timed(ctx, "fleetctl", "start", path)
		if err != nil {
			return nil, err
		}
		r.Fleetctl = append(r.Fleetctl, took)
		bare := "floor-" + unit
		began := time.Now()
		if err := s.start(ctx, bare); err != nil {
			return nil, err
		}
		r.Systemd = append(r.Systemd, time.Since(began))
		began = time.Now()
		for range 3 {
			if _, err := etcd.Txn(ctx).Then(clientv3.OpPut("floor", sleeper)).Commit(); err != nil {
				return nil, err
			}
		}
		r.Etcd = append(r.Etcd, time.Since(began))
		if err := s.destroy(ctx, bare); err != nil {
			return nil, err
		}
		if _, err := timed(ctx, "fleetctl", "destroy", unit); err != nil {
			return nil, err
		}
	}
	return &r, nil
}

// timed runs a command, which must succeed.
func timed(ctx context.Context, argv ...string) (time.Duration, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	began := time.Now()
	out, err := cmd.CombinedOutput()
	took := time.Since(began)
	if err != nil {
		return 0, fmt.Errorf("%s: %w: %s", strings.Join(argv[:min(len(argv), 4)], " "), err, out)
	}
	return took, nil
}
