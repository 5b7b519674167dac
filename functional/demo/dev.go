package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
)

// onDev is the session on one host, for machines that can't boot more: without
// docker and without a host to lose.
func onDev(ctx context.Context, s *stage) (err error) {
	dir, err := os.MkdirTemp("", "fleet-demo-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	socket := "unix://" + filepath.Join(dir, "fleet.sock")
	s.say("$ fleetd dev --listen %s &", socket)
	dev := exec.CommandContext(ctx, filepath.Join(cluster.Root(), "bin", "fleetd"), "dev", "--listen", socket)
	dev.Stdout, dev.Stderr = s.out, s.out
	dev.Cancel = func() error { return dev.Process.Signal(syscall.SIGTERM) }
	if err := dev.Start(); err != nil {
		return err
	}
	ended := make(chan error, 1)
	go func() { ended <- dev.Wait() }()
	defer func() {
		_ = dev.Process.Signal(syscall.SIGTERM) // it may have ended by itself already
		err = errors.Join(err, <-ended)
	}()
	run := func(args ...string) error {
		cmd := exec.CommandContext(ctx, filepath.Join(cluster.Root(), "bin", "fleetctl"), args...)
		cmd.Env = append(os.Environ(), "FLEETCTL_ENDPOINT="+socket)
		_, err := s.show("$", cmd, append([]string{"fleetctl"}, args...)...)
		return err
	}
	if err := awaitAPI(ctx, ended, socket); err != nil {
		return err
	}
	hello := filepath.Join(cluster.Root(), "examples", "hello.service")
	for _, args := range [][]string{
		{"list-machines"}, {"submit", hello}, {"load", "hello"}, {"start", "hello"}, {"list-units"}, {"journal", "hello"}, {"destroy", "hello"},
	} {
		if err := run(args...); err != nil {
			return err
		}
	}
	s.say("\nThat was fleet on one host. Type next: bin/fleetd dev, and in another terminal bin/fleetctl --help")
	return nil
}

// awaitAPI returns when fleetctl gets an answer, or with the reason why
// fleetd dev ended.
func awaitAPI(ctx context.Context, ended chan error, socket string) error {
	ctx, cancel := within(ctx, 30*time.Second)
	defer cancel()
	for {
		cmd := exec.CommandContext(ctx, filepath.Join(cluster.Root(), "bin", "fleetctl"), "--endpoint", socket, "list-machines")
		if cmd.Run() == nil {
			return nil
		}
		select {
		case err := <-ended:
			ended <- err
			return fmt.Errorf("fleetd dev ended: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("fleetd dev did not answer: %w", ctx.Err())
		case <-time.After(50 * time.Millisecond):
		}
	}
}
