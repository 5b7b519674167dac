package bare

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/platform"
)

// Hosts boot while the discovery service is down; it comes, is killed and comes
// again; later two hosts boot at once for the place that is left. One is a member,
// the other a proxy, and nobody ever is alone.
func TestLateHosts(t *testing.T) {
	w := newWorld(t)
	w.serve()
	url := w.url(3)
	file := with(fmt.Sprintf(cloudConfig, url))
	w.crash()
	early := w.boot(file, "n1", "n2")
	for _, h := range early {
		w.says(h, "etcd2", "does not answer", "trying again")
	}
	w.serve()
	for _, h := range early {
		w.says(h, "etcd2", "2 of 3 joined; waiting for 1 more")
	}
	w.crash()
	w.serve()
	for _, h := range early {
		if role := w.role(h); role != "" {
			t.Errorf("%s is a %s, while one is missing", h.Name(), role)
		}
	}
	if err := early[0].Kill(); err != nil { // its power is cut off
		t.Fatal(err)
	}
	if err := early[0].Start(w.ctx); err != nil { // it has its place still
		t.Fatal(err)
	}
	w.says(early[0], "etcd2", "2 of 3 joined; waiting for 1 more")

	late := w.boot(file, "n3", "n4")
	for _, h := range w.Hosts {
		w.awaitMachines(h, 4)
	}
	member, proxy := late[0], late[1]
	if w.role(member) == "proxy" {
		member, proxy = proxy, member
	}
	w.awaitRole("proxy", proxy)
	w.members(append(early, member)...)
	if n := w.registrations(); n != 3 {
		t.Errorf("%d registrations: %s%s", n, w.logs, w.service.Log())
	}
	w.deadURL(url, append(early, member), proxy)
}

// deadURL reuses the URL of a cluster that is no more: a host that was none of its
// members finds nobody; one that was, and has no data any more, is refused. None begins
// anew by itself.
func (w *world) deadURL(url string, members []*platform.Host, proxy *platform.Host) {
	w.t.Helper()
	for _, h := range append(members[1:], proxy) {
		if err := h.PowerOff(w.ctx); err != nil {
			w.t.Fatal(err)
		}
	}
	w.sh(members[0], "systemctl stop etcd2; rm -rf /var/lib/etcd2; systemctl reset-failed etcd2; systemctl start etcd2")
	w.says(members[0], "etcd2", "for a new cluster, make a new URL")
	stranger := w.boot(with(fmt.Sprintf(cloudConfig, url)), "n5")[0]
	w.says(stranger, "etcd2", url, members[0].IP())
	for _, h := range []*platform.Host{members[0], stranger} {
		if role := w.role(h); strings.Contains(role, "member") {
			w.t.Errorf("%s is a %s, of a cluster of its own", h.Name(), role)
		}
	}
}
