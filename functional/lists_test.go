package functional

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
)

// watching is a fleetctl that goes on, on a host.
type watching struct {
	w    *world
	host *platform.Host
	name string
}

// watch runs fleetctl as a service of a host's systemd, which ends it as ^C does.
func (w *world) watch(h *platform.Host, name string, args ...string) *watching {
	w.t.Helper()
	v := &watching{w: w, host: h, name: name}
	w.run(h, "for f in out err; do : >/root/"+name+".$f; done; systemctl reset-failed "+name+" 2>/dev/null || true")
	w.run(h, "systemd-run --quiet --unit "+name+" -p KillSignal=SIGINT -p StandardOutput=file:/root/"+name+".out -p StandardError=file:/root/"+name+".err"+
		" fleetctl "+strings.Join(args, " "))
	w.t.Cleanup(func() { // where the test did not come to it
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, _ = h.Run(ctx, "systemctl", "stop", name) // which is no unit any more, after a test that did
	})
	return v
}

// lines gives what it has printed, each line's cells one space apart.
func (v *watching) lines(file string) []string {
	v.w.t.Helper()
	var out []string
	for _, l := range strings.Split(v.w.run(v.host, "cat /root/"+v.name+"."+file), "\n") {
		out = append(out, strings.Join(strings.Fields(l), " "))
	}
	return out
}

// await waits until it has printed a line that has all the words, and gives how
// many such lines there are.
func (v *watching) await(file string, words ...string) (n int) {
	v.w.t.Helper()
	v.w.await(v.name+" to print "+strings.Join(words, " "), func() (bool, string) {
		n = 0
		all := v.lines(file)
		for _, l := range all {
			has := true
			for _, word := range words {
				has = has && strings.Contains(l, word)
			}
			if has {
				n++
			}
		}
		return n > 0, strings.Join(all, "\n")
	})
	return n
}

func TestWatchedLists(t *testing.T) {
	w := use(t)
	h := w.Hosts[0]
	w.fleetctl("start", w.file("first.service", sleeper("")))
	on := w.host("first.service")
	place := on.MachineID()[:8] + ".../" + on.IP()

	units := w.watch(h, "watch-units", "list-units", "--watch")
	files := w.watch(h, "watch-files", "list-unit-files", "-w", "-o", "json")
	machines := w.watch(h, "watch-machines", "list-machines", "-w")
	units.await("out", "first.service", place, "active running")
	files.await("out", "ADDED", "first.service")
	for _, m := range w.Hosts {
		machines.await("out", m.MachineID()[:8], m.IP())
	}

	// What systemd does on another host is told.
	w.fleetctl("stop", "first")
	units.await("out", "first.service", place, "inactive dead")
	w.fleetctl("start", "first")
	w.run(on, "systemctl kill --signal=KILL first.service")
	units.await("out", "first.service", place, "failed")

	// fleetd goes, and comes back: the watch goes on, and tells nothing twice.
	before := units.lines("out")
	w.run(h, "systemctl restart fleet")
	units.await("err", "lost the connection to fleetd")
	units.await("err", "fleetd answers again")
	w.fleetctl("start", w.file("second.service", sleeper("")))
	units.await("out", "second.service", "active running")
	for _, l := range units.lines("out")[len(before):] {
		if strings.HasPrefix(l, "first.service") {
			t.Errorf("after fleetd came back, what had not changed was told again: %s\nin\n%s", l, strings.Join(units.lines("out"), "\n"))
		}
	}
	w.fleetctl("destroy", "first", "second")
	units.await("out", "first.service", "(gone)")
	units.await("out", "second.service", "(gone)")
	files.await("out", "DELETED", "second.service")

	for _, v := range []*watching{units, files, machines} {
		w.run(h, "systemctl stop "+v.name)
		if got := w.run(h, "systemctl show -P ExecMainStatus "+v.name); got != "130" {
			t.Errorf("%s exited %s, want 130, as of ^C", v.name, got)
		}
		if text := strings.Join(v.lines("err"), "\n"); strings.Contains(text, "interrupt") || strings.Contains(text, "goroutine") {
			t.Errorf("%s ended with noise:\n%s", v.name, text)
		}
	}
}

// fleet 1.0 knows no watch: it is asked again every two seconds.
func TestFleet1_0ServerWatchedLists(t *testing.T) {
	w := useFleet1(t)
	w.fleet1Units()
	h := w.Hosts[0]
	units := w.watch(h, "watch-units", "list-units", "-w")
	machines := w.watch(h, "watch-machines", "list-machines", "-w", "-o", "json")
	for _, m := range w.Hosts {
		machines.await("out", "ADDED", m.MachineID())
	}
	if said, code := w.fleetctlAt("start a.service"); code != 0 {
		t.Fatal(said)
	}
	units.await("out", "a.service", ".../10.", "active running")
	if said, code := w.fleetctlAt("destroy a.service"); code != 0 {
		t.Fatal(said)
	}
	units.await("out", "a.service", "(gone)")
	if text := strings.Join(append(units.lines("err"), machines.lines("err")...), ""); text != "" {
		t.Errorf("a watch of fleet 1.0 says %s", text)
	}
}
