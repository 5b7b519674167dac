package functional

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
	"github.com/google/go-cmp/cmp"
)

// newer makes the packages of the same code under a later version.
func newer(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	said(t, "make", "--no-print-directory", "packages", "VERSION=9.9.9", "BIN="+dir+"/bin", "OUT="+dir+"/out")
	found, err := filepath.Glob(dir + "/out/fleet_9.9.9_*.deb")
	if err != nil || len(found) != 1 {
		t.Fatalf("%d packages of the version 9.9.9, %v", len(found), err)
	}
	return found[0]
}

// bareHosts boots hosts beside the shared ones. They form a cluster of their own,
// or none.
func bareHosts(t *testing.T, specs ...platform.HostSpec) *world {
	t.Helper()
	if whyNoHost != nil {
		t.Skipf("needs real hosts: %v", whyNoHost)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	hosts, err := plat.BootAll(ctx, specs...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		cancel()
		if t.Failed() {
			keepJournals(t.Name())
		}
		for _, h := range hosts {
			if err := h.Remove(); err != nil {
				t.Error(err)
			}
		}
	})
	return &world{Cluster: &cluster.Cluster{Hosts: hosts}, t: t, ctx: ctx}
}

// enablement is what systemd says of the package's units.
func (w *world) enablement(h *platform.Host) string {
	w.t.Helper()
	return w.run(h, `for u in fleet-cloudinit.service fleet.service fleet.socket etcd2.service fleet-discovery.service
do echo $u $(systemctl is-enabled $u 2>/dev/null) $(systemctl is-active $u); done`)
}

// A host that was set up by hand gets the package: what its administrator wrote
// stays, a fleetd that runs becomes the package's, no unit is touched, and the
// copies of the units that hide the package's are told of.
func TestPackageOverAHostSetUpByHand(t *testing.T) {
	old, err := cluster.Package()
	if err != nil {
		t.Fatal(err)
	}
	content, err := os.ReadFile(old)
	if err != nil {
		t.Fatal(err)
	}
	w := bareHosts(t, platform.HostSpec{Name: "byhand", Files: map[string]platform.File{
		"/root/fleet.deb":       {Content: string(content)},
		"/root/kept.service":    {Content: "[Service]\nExecStart=/bin/sleep infinity\n"},
		"/etc/fleet/fleet.conf": {Content: "metadata=by=hand\n"},
	}})
	h := w.Hosts[0]
	w.run(h, `dpkg-deb --extract /root/fleet.deb /tmp/fleet; cd /tmp/fleet/usr
cp bin/* /usr/bin/; cp lib/systemd/system/fleet.s* lib/systemd/system/etcd2.service /etc/systemd/system/
systemctl daemon-reload; systemctl enable --quiet --now etcd2 fleet.socket fleet; fleetctl start /root/kept.service`)
	fleetd, kept := w.mainPID(h, "fleet.service"), w.mainPID(h, "kept.service")

	said := w.run(h, "dpkg --force-confold --install /root/fleet.deb 2>&1")
	for _, name := range []string{"fleet.service", "fleet.socket", "etcd2.service"} {
		if !strings.Contains(said, "/etc/systemd/system/"+name+" hides the package's") {
			t.Errorf("%s hides the package's, and installing it said:\n%s", name, said)
		}
	}
	if now := w.mainPID(h, "fleet.service"); now == fleetd {
		t.Error("the fleetd of before still runs")
	}
	w.run(h, "cd /etc/systemd/system; rm fleet.service fleet.socket etcd2.service; systemctl daemon-reload; systemctl reenable --quiet etcd2 fleet.socket fleet; systemctl restart fleet")
	if now := w.mainPID(h, "kept.service"); now != kept || now == "0" {
		t.Errorf("kept.service was %s and is %s", kept, now)
	}
	if file := w.run(h, "systemctl show -P FragmentPath fleet.service"); strings.HasPrefix(file, "/etc/") {
		t.Errorf("fleet.service is still %s", file)
	}
	if conf := w.run(h, "cat /etc/fleet/fleet.conf"); conf != "metadata=by=hand" {
		t.Errorf("fleet.conf is now %s", conf)
	}
	if got := w.enablement(h); strings.Count(got, " enabled active") != 3 {
		t.Errorf("in the end:\n%s", got)
	}
}

// The life of the .deb on real hosts: installed, it starts nothing; upgraded, it
// touches no unit; removed, it hands the units over and leaves what is the
// administrator's; purged, it leaves nothing.
func TestPackageOnRealHosts(t *testing.T) {
	old, err := cluster.Package()
	if err != nil {
		t.Fatal(err)
	}
	files := map[string]platform.File{}
	for name, deb := range map[string]string{"old.deb": old, "new.deb": newer(t)} {
		content, err := os.ReadFile(deb)
		if err != nil {
			t.Fatal(err)
		}
		files["/root/"+name] = platform.File{Content: string(content)}
	}
	w := bareHosts(t, platform.HostSpec{Name: "pkg1", Files: files}, platform.HostSpec{Name: "pkg2", Files: files})
	one, two := w.Hosts[0], w.Hosts[1]

	const hides = "/etc/systemd/system/etcd2.service" // as Debian's etcd does that is enabled
	w.run(two, "ln -s /lib/systemd/system/etcd.service "+hides)
	if said := w.run(two, "dpkg --install /root/old.deb 2>&1"); !strings.Contains(said, "systemctl disable --now etcd") {
		t.Errorf("installed beside Debian's etcd, it said:\n%s", said)
	}
	w.run(two, "rm "+hides+"; dpkg --purge fleet")

	for _, h := range w.Hosts {
		w.run(h, "dpkg --install /root/old.deb")
		w.run(h, "systemctl reset-failed; dpkg --verify fleet") // no file differs from what was packed
		want := "fleet-cloudinit.service enabled inactive\nfleet.service disabled inactive\nfleet.socket disabled inactive\n" +
			"etcd2.service disabled inactive\nfleet-discovery.service disabled inactive"
		if d := cmp.Diff(want, w.enablement(h)); d != "" {
			t.Fatalf("%s, installed: wanted (-) and got (+):\n%s", h.Name(), d)
		}
	}
	w.run(two, "systemctl disable --quiet fleet-cloudinit.service")

	// One etcd member, two machines. On the first all is enabled; on the second
	// fleet was started by hand, as a cloud-config's command does it.
	c, err := cluster.Form(w.ctx, w.Hosts[:1], cluster.Options{})
	if err != nil {
		t.Fatal(err)
	}
	conf := fmt.Sprintf("etcd_servers=http://%s:2379\npublic_ip=%s\n", one.IP(), two.IP())
	if err := two.WriteFile(w.ctx, "/etc/fleet/fleet.conf", platform.File{Content: conf}); err != nil {
		t.Fatal(err)
	}
	w.run(two, "systemctl start fleet.socket fleet.service")
	if err := c.AwaitMachines(w.ctx, 2); err != nil {
		t.Fatal(err)
	}
	before := w.startMany("kept", 6, "")
	if len(before) != 6 {
		t.Fatalf("%d of 6 units run", len(before))
	}
	own := func(h *platform.Host) string {
		return w.run(h, "systemctl show -P MainPID fleet.service; systemctl show -P NRestarts fleet.service; fleetd version | head -1")
	}
	etcd, key := w.mainPID(one, "etcd2.service"), prefix+"machines/"+two.MachineID()
	lease := w.get(one, key).Kvs[0].Lease

	for _, h := range []*platform.Host{two, one} {
		was := strings.Fields(own(h))[0]
		said := w.run(h, "dpkg --install /root/new.deb 2>&1")
		is := strings.Fields(own(h))
		if is[0] == was || is[0] == "0" || is[1] != "0" || is[len(is)-1] != "9.9.9" {
			t.Errorf("%s, upgraded: fleetd %s became %v", h.Name(), was, is)
		}
		if starts := w.run(h, "journalctl -o cat -u fleet.service | grep -c ^Started"); starts != "2" {
			t.Errorf("%s: fleet.service started %s times, want 2", h.Name(), starts)
		}
		if (h == one) != strings.Contains(said, "systemctl restart etcd2") {
			t.Errorf("%s: the upgrade said:\n%s", h.Name(), said)
		}
	}
	if err := c.AwaitMachines(w.ctx, 2); err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(before, w.where("kept@"), cmp.AllowUnexported(running{})); d != "" {
		t.Errorf("units before the upgrade (-) and after (+):\n%s", d)
	}
	if pid := w.mainPID(one, "etcd2.service"); pid != etcd {
		t.Errorf("the upgrade restarted etcd2.service: %s, then %s", etcd, pid)
	}
	if now := w.get(one, key).Kvs[0].Lease; now != lease || lease == "" {
		t.Errorf("the upgraded fleetd has lease %s, not %s", now, lease)
	}
	if got := w.enablement(two); !strings.HasPrefix(got, "fleet-cloudinit.service disabled") {
		t.Errorf("the upgrade enabled what was disabled: %s", got)
	}
	if got := w.run(two, "cat /etc/fleet/fleet.conf"); got+"\n" != conf {
		t.Errorf("the upgrade changed fleet.conf: %s", got)
	}

	// Removed from one, its units go to the other.
	w.run(two, "dpkg --remove fleet")
	w.await("all units on the other host", func() (bool, string) {
		on := w.where("kept@")
		for _, r := range on {
			if r.host != one.Name() {
				return false, fmt.Sprint(on)
			}
		}
		return len(on) == 6, fmt.Sprint(on)
	})
	for _, h := range []*platform.Host{one, two} {
		w.run(h, "dpkg --remove fleet")
		if left := w.run(h, "ls -d /usr/bin/fleet* /usr/lib/systemd/system/fleet* /usr/lib/systemd/system/etcd2* 2>/dev/null || true; pgrep -x fleetd || true; systemctl list-units --all --plain --no-legend 'fleet*' 'etcd2*' 'kept*' | grep -v not-found || true"); left != "" {
			t.Errorf("%s, removed, still has: %s", h.Name(), left)
		}
	}
	w.run(one, "test -s /etc/fleet/fleet.conf && test -d /var/lib/etcd2/member")

	// Installed again, it is as it was.
	w.run(one, "dpkg --install /root/new.deb; systemctl start etcd2.service fleet.socket fleet.service")
	if got := w.enablement(one); strings.Count(got, " enabled ") != 4 {
		t.Errorf("installed again: %s", got)
	}
	w.await("the units on the one host", func() (bool, string) {
		on := w.where("kept@")
		return len(on) == 6, fmt.Sprint(on)
	})

	for _, h := range []*platform.Host{one, two} {
		w.run(h, "dpkg --purge fleet")
		if left := w.run(h, "find /etc /var/lib -path /var/lib/dpkg -prune -o \\( -name 'fleet*' -o -name 'etcd2*' \\) -print | grep -v etcd2.service.d || true"); left != "" {
			t.Errorf("%s, purged, still has: %s", h.Name(), left)
		}
		if failed := w.run(h, "systemctl --failed --no-legend --plain"); failed != "" {
			t.Errorf("%s has failed units: %s", h.Name(), failed)
		}
	}
}
