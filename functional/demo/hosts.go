package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// agentTTL is the demo's: how long a dead host may be silent. The default is
// 30 s; here somebody is watching.
const agentTTL = 10 * time.Second

// demo is the session on real hosts.
type demo struct {
	*stage
	hostFiles map[string]platform.File // for every host
	url       string                   // the discovery URL
	cluster   *cluster.Cluster
}

func onHosts(ctx context.Context, s *stage) error {
	p, err := platform.New(ctx, platform.Options{Name: name, Out: s.out})
	if err != nil {
		return err
	}
	d := &demo{stage: s}
	if err := d.run(ctx, p); err != nil {
		return errors.Join(err, p.Close())
	}
	if err := p.Detach(); err != nil {
		return err
	}
	d.farewell(ctx, p)
	return nil
}

func (d *demo) run(ctx context.Context, p *platform.Platform) error {
	if err := d.buildEcho(); err != nil {
		return err
	}
	steps := []struct {
		what string
		work func() error
	}{
		{"a discovery URL for three hosts, from fleetd discovery", func() error { return d.discovery(ctx, p) }},
		{"the two files", d.files},
		{"boot three bare hosts with this cloud-config: systemd and docker, etcd and fleet by the config", func() error { return d.boot(ctx, p) }},
		{"build the image cs312/echo FROM scratch on each host", func() error { return d.image(ctx) }},
		{"the service, from unit file to running container", func() error { return d.session(ctx) }},
		{"the echo", func() error { return d.answer(ctx, "hello, fleet") }},
		{"kill its host, and the echo again from another", func() error { return d.failover(ctx) }},
	}
	for _, st := range steps {
		if err := d.step(st.what, st.work); err != nil {
			return err
		}
	}
	return nil
}

// buildEcho builds the echo server, and puts it, its Dockerfile and its unit on
// every host.
func (d *demo) buildEcho() error {
	bin := filepath.Join(cluster.Root(), "bin", "echo")
	build := exec.Command("go", "build", "-trimpath", "-ldflags=-s -w", "-o", bin, "./examples/echo")
	build.Dir, build.Env = cluster.Root(), append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building examples/echo: %w\n%s", err, out)
	}
	d.hostFiles = map[string]platform.File{}
	for from, to := range map[string]string{
		"bin/echo":                 "/root/image/echo",
		"examples/echo/Dockerfile": "/root/image/Dockerfile",
		"examples/echo.service":    "/root/echo.service",
	} {
		b, err := os.ReadFile(filepath.Join(cluster.Root(), from))
		if err != nil {
			return err
		}
		d.hostFiles[to] = platform.File{Content: string(b), Mode: 0o755}
	}
	return nil
}

// image builds on all hosts at once and shows what the first one says.
func (d *demo) image(ctx context.Context) error {
	errs := make([]error, len(d.cluster.Hosts))
	var wg sync.WaitGroup
	for i, h := range d.cluster.Hosts {
		wg.Go(func() { _, errs[i] = h.Run(ctx, "docker", "build", "--quiet", "-t", "cs312/echo", "/root/image") })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	_, err := d.on(ctx, d.cluster.Hosts[0], "docker", "images", "cs312/echo")
	return err
}

func (d *demo) session(ctx context.Context) error {
	ctx, cancel := within(ctx, time.Minute)
	defer cancel()
	for _, args := range [][]string{{"list-machines"}, {"submit", "echo"}, {"load", "echo"}, {"start", "echo"}, {"list-units"}} {
		if _, err := d.on(ctx, d.cluster.Hosts[0], append([]string{"fleetctl"}, args...)...); err != nil {
			return err
		}
	}
	return nil
}

// on shows a command run on a host, in /root.
func (d *demo) on(ctx context.Context, h *platform.Host, argv ...string) (string, error) {
	inRoot := append([]string{"env", "--chdir=/root", "HOME=/root"}, argv...)
	return d.show("root@"+h.Name()+":~#", h.Command(ctx, inRoot...), argv...)
}

// answer sends a line to the host that runs the service.
func (d *demo) answer(ctx context.Context, line string) error {
	ctx, cancel := within(ctx, time.Minute)
	defer cancel()
	h := d.cluster.HostOf(ctx, "echo.service")
	if h == nil {
		return fmt.Errorf("echo.service is placed nowhere")
	}
	return d.echo(ctx, h.IP(), line)
}

func (d *demo) failover(ctx context.Context) error {
	ctx, cancel := within(ctx, 2*time.Minute)
	defer cancel()
	lost := d.cluster.HostOf(ctx, "echo.service")
	if lost == nil {
		return fmt.Errorf("echo.service is placed nowhere")
	}
	d.say("killing %s (%s): no shutdown, no goodbye; its lease runs out within %s, a little later if it led etcd", lost.Name(), lost.IP(), agentTTL)
	began := time.Now()
	if err := lost.Kill(); err != nil {
		return err
	}
	var to *platform.Host
	err := cluster.Await(ctx, "echo.service on another host", func() (bool, string) {
		to = d.cluster.HostOf(ctx, "echo.service")
		return to != nil && to != lost, fmt.Sprint(to)
	})
	if err != nil {
		return err
	}
	if err := d.echo(ctx, to.IP(), "hello again"); err != nil {
		return err
	}
	d.say("   (back %s after the host died)", round(time.Since(began)))
	if _, err := d.on(ctx, d.cluster.Any(), "fleetctl", "list-units"); err != nil {
		return err
	}
	_, err = d.on(ctx, d.cluster.Any(), "fleetctl", "list-machines")
	return err
}

// farewell names the host that runs the service: there, status and journal
// need no SSH to another one.
func (d *demo) farewell(ctx context.Context, p *platform.Platform) {
	h := d.cluster.HostOf(ctx, "echo.service")
	if h == nil {
		h = d.cluster.Any()
	}
	d.say("\nDone in %s. The cluster stays up. Type next:\n", round(time.Since(d.began)))
	d.say("  ssh -i %s -o StrictHostKeyChecking=no root@%s", p.SSHKey(), h.IP())
	d.say("    fleetctl list-machines        # on that host")
	d.say("    fleetctl status echo")
	d.say("    fleetctl journal echo")
	d.say("    fleetctl stop echo; fleetctl start echo; fleetctl destroy echo")
	d.say("  make demo-down                  # removes all of it")
}
