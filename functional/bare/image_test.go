package bare

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// butane is the cloud-config's cluster in Butane's words.
const butane = `variant: fcos
version: 1.5.0
systemd:
  units:
    - name: etcd2.service
      enabled: true
      dropins:
        - name: 20-cluster.conf
          contents: |
            [Service]
            Environment=ETCD_DISCOVERY=%s
            Environment="ETCD_ADVERTISE_CLIENT_URLS=http://$private_ipv4:2379,http://$private_ipv4:4001"
            Environment="ETCD_INITIAL_ADVERTISE_PEER_URLS=http://$private_ipv4:2380"
            Environment=ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379,http://0.0.0.0:4001
            Environment="ETCD_LISTEN_PEER_URLS=http://$private_ipv4:2380"
    - name: fleet.service
      enabled: true
storage:
  files:
    - path: /etc/fleet/fleet.conf
      overwrite: true
      contents:
        inline: |
          metadata=role=web,region=eu
`

// Hosts boot from an image to which the Butane file, or the Ignition config made
// of it, was applied while it wasn't running.
func TestImages(t *testing.T) {
	w := newWorld(t)
	w.serve()
	fleetd := filepath.Join(cluster.Root(), "bin/fleetd")
	dir := t.TempDir()
	for _, format := range []string{"butane", "ignition"} {
		url := w.url(3)
		file := filepath.Join(dir, format)
		if err := os.WriteFile(file, fmt.Appendf(nil, butane, url), 0o600); err != nil {
			t.Fatal(err)
		}
		script := `"$1" cloudinit --root="$ROOT" --from-file="$2"`
		if format == "ignition" {
			script = `"$1" cloudinit --to=ignition --from-file="$2" >"$2.ign"; "$1" cloudinit --root="$ROOT" --from-file="$2.ign"`
		}
		image, err := w.plat.Layer(w.ctx, format, []string{w.layer}, "sh", "-ec", script, "sh", fleetd, file)
		if err != nil {
			t.Fatal(err)
		}
		var specs []platform.HostSpec
		for i := range 3 {
			specs = append(specs, platform.HostSpec{Name: fmt.Sprintf("%s%d", format, i+1), Layers: []string{w.layer, image}})
		}
		hosts, err := w.plat.BootAll(w.ctx, specs...)
		if err != nil {
			t.Fatal(err)
		}
		booted := time.Now()
		list := w.awaitMachines(hosts[2], 3)
		t.Logf("%s: three machines %.1f s after the last host had booted", format, time.Since(booted).Seconds())
		w.describes(list, hosts, "region=eu,role=web")
		etcd := w.members(hosts...)
		if err := platform.RebootAll(w.ctx, hosts...); err != nil {
			t.Fatal(err)
		}
		w.awaitMachines(hosts[0], 3)
		if now := w.members(hosts...); now.ID != etcd.ID {
			t.Errorf("%s: the etcd cluster was %v, and is %v", format, etcd, now)
		}
		for _, h := range hosts {
			if err := h.PowerOff(w.ctx); err != nil {
				t.Fatal(err)
			}
		}
	}
	if n := w.registrations(); n != 6 {
		t.Errorf("%d registrations: %s", n, strings.TrimSpace(w.service.Log()))
	}
}
