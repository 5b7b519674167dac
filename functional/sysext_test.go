package functional

import (
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// The sysext, merged into a host's /usr, which it makes read-only: units can be
// enabled and configured in /etc, and form a cluster. Hosts in containers can't
// mount an image: systemd-sysext is given the same as a directory.
func TestSysextOnARealHost(t *testing.T) {
	if whyNoHost != nil {
		t.Skipf("needs real hosts: %v", whyNoHost)
	}
	const unpack = `mkdir -p "$ROOT/var/lib/extensions"
unsquashfs -quiet -no-progress -dest "$ROOT/var/lib/extensions/fleet" "$1"`
	layer, err := plat.Layer(t.Context(), "sysext", nil, "sh", "-ec", unpack, "sh", packageFile(t, "fleet-*.raw"))
	if err != nil {
		t.Fatal(err)
	}
	w := bareHosts(t, platform.HostSpec{Name: "sysext", Layers: []string{layer}})
	h := w.Hosts[0]
	w.run(h, "systemd-sysext merge && systemctl daemon-reload")
	if out := w.run(h, "touch /usr/written 2>&1 || true"); !strings.Contains(out, "Read-only") {
		t.Errorf("/usr can be written to: %s", out)
	}
	if wanted := w.run(h, "systemctl show -P Wants multi-user.target"); !strings.Contains(wanted, "fleet-cloudinit.service") || strings.Contains(wanted, "etcd2.service") {
		t.Errorf("multi-user.target wants %s", wanted)
	}
	c, err := cluster.Form(w.ctx, w.Hosts, cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	w.Cluster = c
	if on := w.startMany("extended", 1, ""); len(on) != 1 {
		t.Errorf("units run: %v", on)
	}
}
