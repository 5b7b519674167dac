package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// floorPath is where the hosts have the program that measures floors.
const floorPath = "/usr/local/bin/floor"

// hosts are three hosts that are one fleet.
type hosts struct {
	*cluster.Cluster
	platform *platform.Platform
}

// boot boots the hosts and makes a cluster of them: all as installed, with the
// default configuration. Metadata tells the hosts apart: index=0, 1, 2.
func boot(ctx context.Context) (*bench, error) {
	floor, err := buildFloor(ctx)
	if err != nil {
		return nil, err
	}
	p, err := platform.New(ctx, platform.Options{Out: os.Stderr})
	if err != nil {
		return nil, err
	}
	h := &hosts{platform: p}
	if err := h.form(ctx, floor); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return &bench{hosts: h}, nil
}

func (h *hosts) form(ctx context.Context, floor string) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	opts := cluster.Options{
		Conf:  func(i int) []string { return []string{fmt.Sprintf("metadata=index=%d", i)} },
		Files: map[string]platform.File{floorPath: {Content: floor, Mode: 0o755}},
	}
	specs, err := cluster.Specs(ctx, h.platform, opts)
	if err != nil {
		return err
	}
	booted, err := h.platform.BootAll(ctx, specs...)
	if err != nil {
		return err
	}
	h.Cluster, err = cluster.Form(ctx, booted, opts)
	return err
}

// buildFloor builds the program that measures floors on the hosts.
func buildFloor(ctx context.Context) (string, error) {
	dir, err := os.MkdirTemp("", "floor-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(dir)
	bin := filepath.Join(dir, "floor")
	build := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "./bench/hosts/floor")
	build.Dir, build.Env = cluster.Root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building bench/hosts/floor: %w\n%s", err, out)
	}
	text, err := os.ReadFile(bin)
	return string(text), err
}

// floor runs the floors' program on a host and reads what it measured.
func floor[T any](ctx context.Context, h *platform.Host, args ...string) (T, error) {
	var v T
	out, err := h.Run(ctx, append([]string{floorPath}, args...)...)
	if err != nil {
		return v, err
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		return v, fmt.Errorf("what floor %s on %s said: %w: %s", strings.Join(args, " "), h.Name(), err, out)
	}
	return v, nil
}

// onAll runs something for all hosts at once.
func (h *hosts) onAll(f func(i int, host *platform.Host) error) error {
	errs := make([]error, len(h.Hosts))
	var all sync.WaitGroup
	for i, host := range h.Hosts {
		all.Go(func() { errs[i] = f(i, host) })
	}
	all.Wait()
	return errors.Join(errs...)
}
