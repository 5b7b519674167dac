package functional

import (
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// joining is a drop-in of etcd2.service for a host that joins by a URL.
const joining = `[Service]
Environment="ETCD_DISCOVERY=http://127.0.0.1:1/0123456789abcdef0123456789abcdef"
Environment="ETCD_LISTEN_PEER_URLS=http://$private_ipv4:2380"
Environment="ETCD_LISTEN_CLIENT_URLS=http://0.0.0.0:2379,http://0.0.0.0:4001"
Environment="ETCD_ADVERTISE_CLIENT_URLS=http://$private_ipv4:2379,http://$private_ipv4:4001"
`

// etcd2.service as systemd runs it: a mistake leaves it failed, with words, at once
// and for good; what may pass is waited for, and status says what for.
func TestEtcd2Service(t *testing.T) {
	layer, err := cluster.Installed(t.Context(), plat)
	if err != nil {
		t.Fatal(err)
	}
	const dropIn = "/etc/systemd/system/etcd2.service.d/20-join.conf"
	w := bareHosts(t, platform.HostSpec{Name: "etcd2", Layers: []string{layer}, Files: map[string]platform.File{dropIn: {Content: joining}}})
	h := w.Hosts[0]
	show := func(property string) string { return w.run(h, "systemctl show -P "+property+" etcd2") }

	w.run(h, "systemctl start etcd2")
	w.await("the mistake to be found", func() (bool, string) { s := show("ActiveState"); return s == "failed", s })
	if code, restarts := show("ExecMainStatus"), show("NRestarts"); code != "78" || restarts != "0" {
		t.Errorf("it ended with %s, after %s restarts", code, restarts)
	}
	if status := w.run(h, "systemctl status etcd2 || true"); !strings.Contains(status, "set ETCD_INITIAL_ADVERTISE_PEER_URLS=http://$private_ipv4:2380") {
		t.Errorf("status does not say what to do:\n%s", status)
	}

	w.run(h, "echo 'Environment=\"ETCD_INITIAL_ADVERTISE_PEER_URLS=http://$private_ipv4:2380\"' >>"+dropIn+"; systemctl daemon-reload; systemctl start etcd2")
	w.await("it to wait for the service", func() (bool, string) {
		s := show("StatusText")
		return strings.Contains(s, "does not answer") && strings.Contains(s, "trying again"), s
	})
	w.run(h, "systemctl stop etcd2")
	if state, result := show("ActiveState"), show("Result"); state != "inactive" || result != "success" {
		t.Errorf("stopped, it is %s: %s", state, result)
	}
	if left := w.run(h, "ls -A /var/lib/etcd2 2>/dev/null || true"); left != "" {
		t.Errorf("it never registered, and has left %s", left)
	}
}
