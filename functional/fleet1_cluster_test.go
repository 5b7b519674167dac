package functional

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// fleet1Dir is where fleet 1.0's programs are on hosts.
const fleet1Dir = "/opt/fleet1/"

// fleet1Programs are fleet 1.0's fleetd and fleetctl and an etcd of its time, by
// where they go on a host. They are built once and kept where what is costly is.
var fleet1Programs = sync.OnceValues(func() (map[string]platform.File, error) {
	dir, err := buildFleet1()
	if err != nil {
		return nil, err
	}
	files := map[string]platform.File{}
	for _, name := range []string{"fleetd", "fleetctl", "etcd"} {
		content, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			return nil, err
		}
		files[fleet1Dir+name] = platform.File{Content: string(content), Mode: 0o755}
	}
	return files, nil
})

func buildFleet1() (dir string, err error) {
	return buildOnce("fleet1", []built{
		{"fleet1", "fleetd", "github.com/coreos/fleet"},
		{"fleet1", "fleetctl", "github.com/coreos/fleet/fleetctl"},
		{"fleet1/etcd", "etcd", "go.etcd.io/etcd/server/v3"},
	})
}

// fleet1Cluster is the cluster of fleet 1.0 of all tests that leave it one.
var fleet1Cluster = sync.OnceValues(func() (*cluster.Cluster, error) { return bootFleet1("old") })

// bootFleet1 makes a cluster of the real fleet 1.0, on two hosts of its own; our
// programs are there as well.
func bootFleet1(name string) (*cluster.Cluster, error) {
	programs, err := fleet1Programs() // not within the time given: it may build them
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	specs, err := cluster.Specs(ctx, plat, cluster.Options{Size: 2, Files: programs})
	if err != nil {
		return nil, err
	}
	for i := range specs {
		specs[i].Name = fmt.Sprintf("%s%d", name, i+1)
	}
	hosts, err := plat.BootAll(ctx, specs...)
	if err != nil {
		return nil, err
	}
	for i, h := range hosts {
		if err := startFleet1(ctx, h, hosts[0], i); err != nil {
			return nil, err
		}
	}
	c := &cluster.Cluster{Hosts: hosts}
	return c, cluster.Await(ctx, "fleet 1.0's machines", func() (bool, string) {
		out, err := hosts[0].Run(ctx, fleet1Dir+"fleetctl", "list-machines", "--no-legend")
		return err == nil && strings.Count(out, "\n") == len(hosts), out
	})
}

const fleet1Service = `[Unit]
Description=fleet daemon
Wants=fleet.socket
After=fleet.socket

[Service]
ExecStart=/opt/fleet1/fleetd
Restart=always
RestartSec=10s

[Install]
WantedBy=multi-user.target
`

const fleet1Socket = `[Unit]
Description=Fleet API Socket
PartOf=fleet.service

[Socket]
ListenStream=/var/run/fleet.sock
ListenStream=8320
SocketMode=0660
`

// startFleet1 makes a host the i-th of a fleet 1.0 cluster, whose etcd is on one
// host, as CoreOS had it set up.
func startFleet1(ctx context.Context, h, etcd *platform.Host, i int) error {
	conf := fmt.Sprintf("public_ip=%s\nagent_ttl=10s\nengine_reconcile_interval=0.2\nmetadata=index=%d\netcd_servers=[\"http://%s:2379\"]\n", h.IP(), i, etcd.IP())
	files := map[string]platform.File{
		"/etc/fleet/fleet.conf":             {Content: conf},
		"/etc/systemd/system/fleet.service": {Content: fleet1Service},
		"/etc/systemd/system/fleet.socket":  {Content: fleet1Socket},
	}
	start := "systemctl daemon-reload; systemctl start fleet.socket fleet.service"
	if h == etcd {
		files["/etc/systemd/system/etcd1.service"] = platform.File{Content: fmt.Sprintf(
			"[Service]\nType=notify\nExecStart=/opt/fleet1/etcd --enable-v2 --data-dir=/var/lib/etcd2 --listen-client-urls=http://0.0.0.0:2379 --advertise-client-urls=http://%s:2379\n", h.IP())}
		start = "systemctl daemon-reload; systemctl start etcd1.service fleet.socket fleet.service"
	}
	if err := h.WriteFiles(ctx, files); err != nil {
		return err
	}
	_, err := h.Run(ctx, "sh", "-ec", start)
	return err
}

// useFleet1 gives a test the cluster of fleet 1.0, and empties it at its end.
func useFleet1(t *testing.T) *world {
	t.Helper()
	if whyNoHost != nil {
		t.Skipf("needs real hosts: %v", whyNoHost)
	}
	old, err := fleet1Cluster()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	w := &world{Cluster: old, t: t, ctx: ctx}
	t.Cleanup(func() {
		cancel()
		if t.Failed() {
			keepJournals(t.Name())
		}
		after, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		const empty = "fleetctl list-unit-files --no-legend --fields unit | xargs -r fleetctl destroy"
		if _, err := old.Hosts[0].Run(after, "sh", "-ec", empty); err != nil {
			t.Errorf("destroying what the test left at fleet 1.0: %v", err)
		}
	})
	return w
}
