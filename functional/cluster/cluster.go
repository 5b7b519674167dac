// Package cluster makes a fleet cluster of real hosts: each runs systemd, and has
// the built .deb installed, whose fleetd and built-in etcd run as services, as in
// production. The functional tests and make demo share it.
package cluster

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
)

// Options say what cluster to make.
type Options struct {
	Size   int  // hosts; 3 if zero
	Docker bool // start docker on the hosts
	// Conf are further lines of fleet.conf by host index, such as "metadata=region=eu".
	Conf func(i int) []string
	// Files are further files for every host, by absolute path.
	Files map[string]platform.File
	// Package is the .deb that is installed; the built one if empty.
	Package string
}

// Cluster is a booted cluster.
type Cluster struct {
	Hosts []*platform.Host
}

// Root is the project's root directory: this file knows where it lies.
func Root() string {
	_, file, _, _ := runtime.Caller(0)
	return filepath.Dir(filepath.Dir(filepath.Dir(file)))
}

// Specs are the hosts of a cluster, not yet configured: fleet's package is
// installed on them, nothing of it runs.
func Specs(ctx context.Context, p *platform.Platform, opts Options) ([]platform.HostSpec, error) {
	install := Installed
	if opts.Package != "" {
		install = func(ctx context.Context, p *platform.Platform) (string, error) {
			return installed(ctx, p, opts.Package)
		}
	}
	layer, err := install(ctx, p)
	if err != nil {
		return nil, err
	}
	n := opts.Size
	if n == 0 {
		n = 3
	}
	specs := make([]platform.HostSpec, n)
	for i := range specs {
		specs[i] = platform.HostSpec{Name: fmt.Sprintf("n%d", i+1), Docker: opts.Docker, Layers: []string{layer}, Files: maps.Clone(opts.Files)}
		if specs[i].Files == nil {
			specs[i].Files = map[string]platform.File{}
		}
	}
	return specs, nil
}

// Form configures etcd and fleet on booted hosts, starts them, and returns
// when every host is in the cluster.
func Form(ctx context.Context, hosts []*platform.Host, opts Options) (*Cluster, error) {
	c := &Cluster{Hosts: hosts}
	var members []string
	for _, h := range hosts {
		members = append(members, fmt.Sprintf("%s=http://%s:2380", h.Name(), h.IP()))
	}
	errs := make([]error, len(hosts))
	var wg sync.WaitGroup
	for i, h := range hosts {
		wg.Go(func() { errs[i] = configure(ctx, h, strings.Join(members, ","), confOf(opts, i)) })
	}
	wg.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return c, c.AwaitMachines(ctx, len(hosts))
}

func confOf(opts Options, i int) []string {
	if opts.Conf == nil {
		return nil
	}
	return opts.Conf(i)
}

func configure(ctx context.Context, h *platform.Host, members string, conf []string) error {
	etcd := fmt.Sprintf(`[Service]
Environment=ETCD_NAME=%[1]s
Environment=ETCD_INITIAL_CLUSTER=%[3]s
Environment=ETCD_INITIAL_ADVERTISE_PEER_URLS=http://%[2]s:2380
Environment=ETCD_LISTEN_PEER_URLS=http://%[2]s:2380
Environment=ETCD_LISTEN_CLIENT_URLS=http://127.0.0.1:2379,http://%[2]s:2379
Environment=ETCD_ADVERTISE_CLIENT_URLS=http://%[2]s:2379
`, h.Name(), h.IP(), members)
	files := map[string]platform.File{
		"/etc/systemd/system/etcd2.service.d/20-cluster.conf": {Content: etcd},
		"/etc/fleet/fleet.conf":                               {Content: strings.Join(append(conf, "public_ip="+h.IP()), "\n") + "\n"},
	}
	if err := h.WriteFiles(ctx, files); err != nil {
		return err
	}
	_, err := h.Run(ctx, "sh", "-ec", "systemctl daemon-reload; systemctl enable --quiet --now etcd2.service fleet.socket fleet.service")
	return err
}

// AwaitMachines returns when the cluster has n machines, asking any host that
// runs.
func (c *Cluster) AwaitMachines(ctx context.Context, n int) error {
	return Await(ctx, fmt.Sprintf("%d machines in the cluster", n), func() (bool, string) {
		out, err := c.Fleetctl(ctx, "list-machines", "--no-legend")
		if err != nil {
			return false, err.Error()
		}
		return strings.Count(out, "\n") == n, out
	})
}

// Any is a host that runs and is not cut off.
func (c *Cluster) Any() *platform.Host {
	for _, h := range c.Hosts {
		if h.State() == platform.Running {
			return h
		}
	}
	return c.Hosts[0]
}

// Fleetctl runs fleetctl on any running host.
func (c *Cluster) Fleetctl(ctx context.Context, args ...string) (string, error) {
	return c.Any().Run(ctx, append([]string{"fleetctl"}, args...)...)
}

// ByIP is the host that has an address, or nil.
func (c *Cluster) ByIP(ip string) *platform.Host {
	for _, h := range c.Hosts {
		if h.IP() == ip {
			return h
		}
	}
	return nil
}

// HostOf is the host on which a unit is placed, or nil, as fleetctl says.
func (c *Cluster) HostOf(ctx context.Context, unit string) *platform.Host {
	out, err := c.Fleetctl(ctx, "list-units", "--no-legend", "--full", "--fields", "unit,machine")
	if err != nil {
		return nil
	}
	for _, line := range strings.Split(out, "\n") {
		f := strings.Fields(line)
		if len(f) == 2 && f[0] == unit {
			_, ip, _ := strings.Cut(f[1], "/")
			return c.ByIP(ip)
		}
	}
	return nil
}

// Await asks until the condition holds or ctx ends; then it says what it
// waited for and what it saw last.
func Await(ctx context.Context, what string, holds func() (ok bool, saw string)) error {
	for {
		ok, saw := holds()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waited in vain for %s; last seen: %s", what, saw)
		case <-time.After(50 * time.Millisecond):
		}
	}
}
