package functional

import (
	"fmt"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/platform"
	"github.com/google/go-cmp/cmp"
)

// backedUp are units of all kinds, some of them hard to write down.
var backedUp = map[string]string{
	"keep@.service": sleeper(""),
	"crlf.service":  "[Service]\r\nExecStart=/bin/sleep infinity\r\n",
	"odd.service":   "# ---\n\n[Service]\n\tExecStart=/bin/sleep infinity \t\n# no line break at the end",
	"every.service": sleeper("Global=true\n"),
	"idle.service":  sleeper(""),
	"down.service":  sleeper(""),
}

// fill starts them and gives where each runs.
func (w *world) fill() map[string]running {
	w.t.Helper()
	for name, text := range backedUp {
		w.file(name, text)
	}
	w.run(w.Any(), `cd /root/units
fleetctl submit keep@.service idle.service
fleetctl load down.service
fleetctl start keep@1 keep@2 keep@3 crlf.service odd.service every.service`)
	return w.runningAll()
}

// runningAll is what of fill's runs where, but for the global unit, which runs
// on all.
func (w *world) runningAll() map[string]running {
	w.t.Helper()
	all := map[string]running{}
	for _, prefix := range []string{"keep@", "crlf", "odd"} {
		for unit, r := range w.where(prefix) {
			all[unit] = r
		}
	}
	return all
}

// wanted is what the cluster was told, as a backup has it.
func (w *world) wanted() string {
	w.t.Helper()
	out := w.run(w.Any(), "fleetctl backup 2>/dev/null")
	before, after, found := strings.Cut(out, "\ntaken: ")
	if !found {
		w.t.Fatalf("no backup:\n%s", out)
	}
	_, after, _ = strings.Cut(after, "\n")
	return before + "\n" + after
}

// awaitEvery waits for the global unit to run everywhere, and gives its processes.
func (w *world) awaitEvery() (pids []string) {
	w.t.Helper()
	w.await("every.service to run on every host", func() (bool, string) {
		pids = nil
		for _, h := range w.Hosts {
			pids = append(pids, w.mainPID(h, "every.service"))
		}
		return !strings.Contains(" "+strings.Join(pids, " ")+" ", " 0 "), strings.Join(pids, " ")
	})
	return pids
}

func TestBackupAndRestore(t *testing.T) {
	w := use(t)
	w.fill()
	h := w.Any()
	w.run(h, "fleetctl backup /root/before.yaml")
	w.run(h, fmt.Sprintf(`curl -sSf --unix-socket /var/run/fleet.sock -X PATCH -H 'Content-Type: application/json-patch+json' http://fleet/fleet/v1/machines -d '[
		{"op":"replace","path":"/%s/overrides","value":{"metadata":{"disk":"ssd"},"removed":["region"]}}]'`, w.Hosts[2].MachineID()))
	w.run(h, "fleetctl backup /root/backup.yaml")
	if mode := w.run(h, "stat -c %a /root/backup.yaml"); mode != "600" {
		t.Errorf("the file has mode %s", mode)
	}
	want := w.wanted()
	w.destroyAll(w.ctx)
	w.run(h, `fleetctl submit /root/units/idle.service; fleetctl destroy idle.service`) // a name that was used in between
	if left := w.wanted(); strings.Contains(left, "- name:") {
		t.Fatalf("not destroyed:\n%s", left)
	}
	w.run(h, "fleetctl restore --yes /root/backup.yaml")
	if d := cmp.Diff(want, w.wanted()); d != "" {
		t.Errorf("the cluster was told something else:\n%s", d)
	}
	w.await("all of it to run", func() (bool, string) {
		got := w.runningAll()
		return len(got) == 5, fmt.Sprint(got)
	})
	w.awaitEvery()
	for name, text := range backedUp {
		path := "/root/units/" + name
		if got := w.run(h, "fleetctl cat "+name+" | cmp - "+path+" && echo same || true"); got != "same" {
			t.Errorf("%s came back as something else than %q: %s", name, text, got)
		}
	}
	// An earlier state, in which nothing was said of the machine.
	w.run(h, fmt.Sprintf("fleetctl restore --yes --prune /root/before.yaml; fleetctl list-machines --full | grep %s | grep -q region", w.Hosts[2].MachineID()))
}

func TestRestoreIntoARunningCluster(t *testing.T) {
	w := use(t)
	before := w.fill()
	pids := w.awaitEvery()
	h := w.Any()
	w.run(h, "fleetctl backup /root/backup.yaml")
	w.run(h, `fleetctl destroy keep@1
fleetctl stop keep@2
fleetctl unload down.service
fleetctl start /root/units/idle.service
cp /root/units/idle.service /root/units/new.service
fleetctl start /root/units/new.service
fleetctl restore --dry-run /root/backup.yaml && exit 1 || test $? = 1
fleetctl restore --yes /root/backup.yaml`)
	w.await("what was taken away to run again", func() (bool, string) {
		got := w.runningAll()
		return len(got) == 5, fmt.Sprint(got)
	})
	after := w.runningAll()
	for _, unit := range []string{"keep@1.service", "keep@2.service"} {
		delete(before, unit)
		delete(after, unit)
	}
	if d := cmp.Diff(before, after, cmp.AllowUnexported(running{})); d != "" {
		t.Errorf("units were touched that are as in the backup:\n%s", d)
	}
	if d := cmp.Diff(pids, w.awaitEvery()); d != "" {
		t.Errorf("the global unit was touched:\n%s", d)
	}
	if w.HostOf(w.ctx, "new.service") == nil {
		t.Error("a unit that the backup doesn't have is gone")
	}
	w.run(h, `fleetctl restore --dry-run /root/backup.yaml | grep -q '^leave .*new.service'
fleetctl restore --yes --prune /root/backup.yaml
fleetctl restore --dry-run /root/backup.yaml`)
}

// A person's own computer has no fleetd, and reaches the cluster by SSH.
func TestBackupAndRestoreThroughATunnel(t *testing.T) {
	w := use(t)
	w.fill()
	l := w.laptop("root")
	taken := l.ok("backup")
	if !strings.Contains(taken, "- name: crlf.service\n") {
		t.Fatalf("no backup:\n%s", taken)
	}
	want := w.wanted()
	w.destroyAll(w.ctx)
	if r := l.feed(taken, "restore", "--dry-run", "-"); r.code != 1 || !strings.Contains(r.out, "create  unit crlf.service launched") {
		t.Errorf("what would change: %+v", r)
	}
	if r := l.feed(taken, "restore", "--yes", "-"); r.code != 0 {
		t.Errorf("restored: %+v", r)
	}
	if d := cmp.Diff(want, w.wanted()); d != "" {
		t.Errorf("the cluster was told something else:\n%s", d)
	}
}

// The worst: etcd has nothing left, on any host. The units run on, and the backup
// makes a cluster of them again, without one of them being restarted.
func TestRestoreAfterEtcdLostEverything(t *testing.T) {
	w := use(t)
	before := w.fill()
	pids := w.awaitEvery()
	h := w.Any()
	w.run(h, "fleetctl backup /root/backup.yaml")
	want := w.wanted()
	cluster := w.get(h, prefix+"cluster").Kvs[0].Value
	w.everywhere(func(h *platform.Host) { w.run(h, "systemctl stop etcd2.service; rm -r /var/lib/etcd2/*") })
	w.everywhere(func(h *platform.Host) { w.run(h, "systemctl start etcd2.service") })
	w.await("fleetd to see that its cluster is gone", func() (bool, string) {
		out, err := w.Fleetctl(w.ctx, "list-machines", "--no-legend")
		return err == nil && strings.Count(out, "\n") == len(w.Hosts), fmt.Sprint(out, err)
	})
	unchanged := func(when string) {
		t.Helper()
		if d := cmp.Diff(before, w.runningAll(), cmp.AllowUnexported(running{})); d != "" {
			t.Errorf("%s: units changed:\n%s", when, d)
		}
		if d := cmp.Diff(pids, w.awaitEvery()); d != "" {
			t.Errorf("%s: the global unit changed:\n%s", when, d)
		}
	}
	unchanged("after the loss")
	w.run(h, "fleetctl restore --yes /root/backup.yaml")
	unchanged("after the restore")
	w.put(h, prefix+"cluster", cluster)
	w.await("the engine to have found each unit", func() (bool, string) {
		out := w.fleetctl("list-unit-files", "--no-legend", "--fields", "unit,state,target")
		return strings.Count(out, "launched") == 5, out
	})
	// Whatever the engine does at first, it does before this.
	w.fleetctl("start", w.file("probe.service", sleeper("")))
	w.fleetctl("destroy", "probe.service")
	unchanged("after the engine took over")
	if d := cmp.Diff(want, w.wanted()); d != "" {
		t.Errorf("the cluster was told something else:\n%s", d)
	}
}
