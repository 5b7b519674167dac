package bare

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
	"github.com/google/go-cmp/cmp"
)

// cloudConfig is what the guide tells, with only the URL filled in.
const cloudConfig = `#cloud-config
coreos:
  etcd2:
    discovery: %s
    advertise-client-urls: http://$private_ipv4:2379,http://$private_ipv4:4001
    initial-advertise-peer-urls: http://$private_ipv4:2380
    listen-client-urls: http://0.0.0.0:2379,http://0.0.0.0:4001
    listen-peer-urls: http://$private_ipv4:2380
  fleet:
    metadata: role=web,region=eu
  units:
    - name: etcd2.service
      command: start
    - name: fleet.service
      command: start
`

// What is tested here is what image builders are told to take.
func TestExampleIsTheCloudConfig(t *testing.T) {
	example, err := os.ReadFile(filepath.Join(cluster.Root(), "examples/cloud-config.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(example)) {
		if !strings.HasPrefix(line, "# ") {
			lines = append(lines, line)
		}
	}
	if diff := cmp.Diff(fmt.Sprintf(cloudConfig, "http://discovery.example.com:2381/0123456789abcdef0123456789abcdef"), strings.Join(lines, "")); diff != "" {
		t.Error(diff)
	}
}

// Three bare hosts become a cluster by a cloud-config and a URL; a fourth and a
// fifth join by proxies; all five are rebooted at once, without the discovery service.
// What each part needs is what the one before left.
func TestCloudConfig(t *testing.T) {
	w := newWorld(t)
	w.serve()
	url := w.url(3)
	file := with(fmt.Sprintf(cloudConfig, url))

	began := time.Now()
	three := w.boot(file, "n1", "n2", "n3")
	booted := time.Now()
	list := w.awaitMachines(three[0], 3)
	t.Logf("three machines %.1f s after the last host had booted, %.1f s after they were switched on", time.Since(booted).Seconds(), time.Since(began).Seconds())
	w.describes(list, three, "region=eu,role=web")
	etcd := w.members(three...)

	two := w.boot(file, "n4", "n5")
	booted = time.Now()
	five := slices.Concat(three, two)
	list = w.awaitMachines(two[0], 5)
	t.Logf("five machines %.1f s after the fourth and the fifth had booted", time.Since(booted).Seconds())
	w.describes(list, five, "region=eu,role=web")
	w.awaitRole("proxy", two...)
	w.awaitRole("member", three...)
	if now := w.members(three...); !cmp.Equal(now, etcd) {
		t.Errorf("the etcd cluster was %v, and is %v", etcd, now)
	}
	w.startUnits(five)

	registered := w.registrations()
	if registered != 3 {
		t.Errorf("%d registrations: %s", registered, w.service.Log())
	}
	w.crash() // nobody needs it any more
	began = time.Now()
	if err := platform.RebootAll(w.ctx, five...); err != nil {
		t.Fatal(err)
	}
	booted = time.Now()
	w.awaitMachines(two[1], 5)
	w.awaitUnits(five)
	t.Logf("after a reboot of all five: all units run again %.1f s after the last had booted, %.1f s after they went down", time.Since(booted).Seconds(), time.Since(began).Seconds())
	w.awaitRole("proxy", two...)
	if now := w.members(three...); !cmp.Equal(now, etcd) {
		t.Errorf("before the reboot the etcd cluster was %v, after it %v", etcd, now)
	}
	w.appliedTwice(five[0])
	w.changed(url, five)
	w.serve()
	w.reusedURL(url, five)
	w.lostData(three)
	if now := w.registrations(); now != registered {
		t.Errorf("hosts registered again: %s%s", w.logs, w.service.Log())
	}
}

// describes checks a list of machines: each host once, by its address, with its
// metadata.
func (w *world) describes(list string, hosts []*platform.Host, metadata string) {
	w.t.Helper()
	for _, h := range hosts {
		found := 0
		for line := range strings.Lines(list) {
			if slices.Equal(strings.Fields(line), []string{h.MachineID(), h.IP(), metadata}) {
				found++
			}
		}
		if found != 1 {
			w.t.Errorf("%s (%s, %s) is there %d times:\n%s", h.Name(), h.MachineID(), h.IP(), found, list)
		}
	}
}

// startUnits starts, by fleetctl on the last host, a unit that runs everywhere
// and one for each host alone.
func (w *world) startUnits(hosts []*platform.Host) {
	w.t.Helper()
	const sleep = "[Service]\nExecStart=/bin/sleep infinity\n\n[X-Fleet]\n"
	last := hosts[len(hosts)-1]
	files := map[string]platform.File{"/root/everywhere.service": {Content: sleep + "Global=true\n"}}
	units := []string{"/root/everywhere.service"}
	for _, h := range hosts {
		path := "/root/on-" + h.Name() + ".service"
		files[path] = platform.File{Content: sleep + "MachineID=" + h.MachineID() + "\nMachineMetadata=role=web\n"}
		units = append(units, path)
	}
	if err := last.WriteFiles(w.ctx, files); err != nil {
		w.t.Fatal(err)
	}
	w.fleetctl(last, append([]string{"start"}, units...)...)
	w.awaitUnits(hosts)
}

// awaitUnits waits until startUnits' units run where they belong.
func (w *world) awaitUnits(hosts []*platform.Host) {
	w.t.Helper()
	for _, h := range hosts {
		w.await("the units of "+h.Name(), func() (bool, string) {
			out, _ := h.Run(w.ctx, "systemctl", "is-active", "everywhere.service", "on-"+h.Name()+".service") // it tells more than whether
			return out == "active\nactive\n", out
		})
	}
	w.await("fleetctl to show them", func() (bool, string) {
		out, err := hosts[len(hosts)-1].Run(w.ctx, "fleetctl", "list-units", "--no-legend", "--full", "--fields", "unit,sub")
		return err == nil && strings.Count(out, "running") == 2*len(hosts), out
	})
}

// appliedTwice applies the file by hand, on a host that has booted with it.
func (w *world) appliedTwice(h *platform.Host) {
	w.t.Helper()
	const look = "find /etc /run/systemd/system /var/lib/coreos-install ! -type d -printf '%p %T@ %i\\n' | sort; systemctl show -P MainPID -P ActiveEnterTimestamp etcd2 fleet"
	before := w.sh(h, look)
	out := w.sh(h, "fleetd cloudinit --from-file "+userData+" 2>&1")
	if !strings.Contains(out, "nothing") {
		w.t.Errorf("applied twice, it says: %s", out)
	}
	if diff := cmp.Diff(before, w.sh(h, look)); diff != "" {
		w.t.Errorf("applied twice, it changed: %s", diff)
	}
}

// changed changes the file of the last host, which counts from its next boot.
func (w *world) changed(url string, hosts []*platform.Host) {
	w.t.Helper()
	last := hosts[len(hosts)-1]
	text := strings.Replace(fmt.Sprintf(cloudConfig, url), "role=web", "role=db", 1)
	if err := last.WriteFiles(w.ctx, with(text)); err != nil {
		w.t.Fatal(err)
	}
	if err := platform.RebootAll(w.ctx, last); err != nil {
		w.t.Fatal(err)
	}
	w.await("the last host's new role", func() (bool, string) {
		out, err := hosts[0].Run(w.ctx, "fleetctl", "list-machines", "--no-legend", "--full")
		return err == nil && strings.Contains(out, last.IP()+"\tregion=eu,role=db"), out
	})
	w.describes(w.awaitMachines(last, len(hosts)), []*platform.Host{last}, "region=eu,role=db")
}

// reusedURL boots one more host with the URL of a cluster that is complete: it is
// that cluster's.
func (w *world) reusedURL(url string, hosts []*platform.Host) {
	w.t.Helper()
	sixth := w.boot(with(fmt.Sprintf(cloudConfig, url)), "n6")[0]
	w.awaitMachines(sixth, len(hosts)+1)
	w.awaitRole("proxy", sixth)
	w.says(sixth, "etcd2", "proxy")
}

// lostData takes a member's data away: it isn't let in as what it was, nor is it
// a cluster of its own, and it says what to do. That makes it a member again.
func (w *world) lostData(members []*platform.Host) {
	w.t.Helper()
	before := w.members(members...)
	lost := members[1]
	w.sh(lost, "systemctl stop etcd2; rm -rf /var/lib/etcd2; systemctl reset-failed etcd2; systemctl start etcd2")
	w.says(lost, "etcd2", "lost its data", "    fleetd etcd replace --dry-run", "    fleetd etcd replace\n")
	if role := w.role(lost); role != "" {
		w.t.Errorf("%s, which lost its data, is a %s", lost.Name(), role)
	}
	if now, err := w.ask(members[0]); err != nil || !cmp.Equal(now, before) {
		w.t.Errorf("meanwhile the cluster is %v (%v), and was %v", now, err, before)
	}
	w.t.Logf("fleetd etcd replace:\n%s", w.sh(lost, "fleetd etcd replace --dry-run; fleetd etcd replace"))
	var after etcdCluster
	w.await("all three to be full members", func() (bool, string) {
		after = w.members(members...)
		return !slices.ContainsFunc(after.Members, func(m etcdMember) bool { return m.IsLearner }), fmt.Sprint(after)
	})
	if after.ID != before.ID || cmp.Equal(after, before) {
		w.t.Errorf("the cluster was %v, and is %v", before, after)
	}
	// A reboot finds it a member, though the URL knows it by its old id.
	if err := platform.RebootAll(w.ctx, lost); err != nil {
		w.t.Fatal(err)
	}
	if now := w.members(members...); !cmp.Equal(now, after) {
		w.t.Errorf("after a reboot the cluster is %v, and was %v", now, after)
	}
}
