package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// userData is where a host's image brings its config.
const userData = "/var/lib/coreos-install/user_data"

// discovery boots a small host that hands out discovery URLs, and asks it for
// one.
func (d *demo) discovery(ctx context.Context, p *platform.Platform) error {
	layer, err := cluster.Installed(ctx, p)
	if err != nil {
		return err
	}
	h, err := p.Boot(ctx, platform.HostSpec{
		Name:   "discovery",
		Layers: []string{layer},
		Files:  map[string]platform.File{"/etc/default/fleet-discovery": {Content: "LISTEN=0.0.0.0:2381\n"}},
	})
	if err != nil {
		return err
	}
	if _, err := d.on(ctx, h, "systemctl", "enable", "--quiet", "--now", "fleet-discovery"); err != nil {
		return err
	}
	url, err := d.on(ctx, h, "curl", "--silent", "--show-error", "--fail", "--write-out", `\n`, "http://"+h.IP()+":2381/new?size=3")
	d.url = strings.TrimSpace(url)
	return err
}

var (
	urlInExample   = regexp.MustCompile(`(?m)^    discovery: .*$`)
	fleetInExample = regexp.MustCompile(`(?m)^  fleet:$`)
)

// config writes the hosts' one cloud-config: the one of examples/, with the URL
// filled in, and an agent_ttl for somebody who is watching.
func (d *demo) config() (string, error) {
	file := filepath.Join(cluster.Root(), "examples/cloud-config.yaml")
	text, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	for _, put := range []struct {
		at   *regexp.Regexp
		line string
	}{
		{urlInExample, "    discovery: " + d.url},
		{fleetInExample, "  fleet:\n    agent-ttl: " + agentTTL.String()},
	} {
		if len(put.at.FindAll(text, -1)) != 1 {
			return "", fmt.Errorf("%s has not one line like %s", file, put.at)
		}
		text = put.at.ReplaceAllLiteral(text, []byte(put.line))
	}
	return string(text), nil
}

// files prints what the hosts and fleet are given, in full: the demo is what
// these two say.
func (d *demo) files() error {
	config, err := d.config()
	if err != nil {
		return err
	}
	d.hostFiles[userData] = platform.File{Content: config}
	d.say("--- %s, the same on each host\n%s", userData, config)
	d.say("--- echo.service, for fleet\n%s", d.hostFiles["/root/echo.service"].Content)
	return nil
}

// boot boots three hosts that have nothing but fleet's package and the
// cloud-config, and waits until they are a cluster.
func (d *demo) boot(ctx context.Context, p *platform.Platform) error {
	specs, err := cluster.Specs(ctx, p, cluster.Options{Docker: true, Files: d.hostFiles})
	if err != nil {
		return err
	}
	hosts, err := p.BootAll(ctx, specs...)
	if err != nil {
		return err
	}
	for _, h := range hosts {
		d.say("%s  %s  machine %s", h.Name(), h.IP(), h.MachineID())
	}
	d.cluster = &cluster.Cluster{Hosts: hosts}
	began := time.Now()
	ctx, cancel := within(ctx, time.Minute)
	defer cancel()
	if err := d.cluster.AwaitMachines(ctx, len(hosts)); err != nil {
		return err
	}
	d.say("   (a cluster of three %s after the last one was up)", round(time.Since(began)))
	return nil
}
