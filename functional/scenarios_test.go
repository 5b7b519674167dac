package functional

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
)

// with is the world for a subtest. What it waits for in vain must leave the
// others their time.
func (w *world) with(t testing.TB) *world {
	ctx, cancel := context.WithTimeout(w.ctx, 30*time.Second)
	t.Cleanup(cancel)
	inner := *w
	inner.t, inner.ctx = t, ctx
	return &inner
}

// diary is a unit that runs until it is stopped, and writes its starts down:
// what it says, and which of its rivals are active on the host at that moment.
// Its last section is [X-Fleet].
func diary(says, fleetOptions string, rivals ...string) string {
	script := "echo " + says
	for _, r := range rivals {
		script += " $(systemctl is-active --quiet " + r + " && echo beside " + r + ")"
	}
	return "[Service]\nExecStartPre=/bin/sh -c '" + script + " >>/root/diary/%n'\nExecStart=/bin/sleep infinity\n\n[X-Fleet]\n" + fleetOptions
}

// openDiaries makes place for what diaries write, on all hosts.
func (w *world) openDiaries() {
	w.everywhere(func(h *platform.Host) { w.run(h, "rm -rf /root/diary; mkdir /root/diary") })
}

// diaryOf is what a unit has written on a host, line by line.
func (w *world) diaryOf(h *platform.Host, unit string) []string {
	w.t.Helper()
	return strings.Fields(strings.ReplaceAll(w.run(h, "cat /root/diary/"+unit+" 2>/dev/null || true"), " ", "_"))
}

// startOn starts a unit on a host: with a demand for just that host first, and
// then replaced by the file without the demand, which must leave it there.
func (w *world) startOn(host int, name, text string) {
	w.t.Helper()
	w.fleetctl("start", w.file(name, text+fmt.Sprintf("MachineMetadata=index=%d\n", host)))
	w.fleetctl("start", "--replace", w.file(name, text))
	w.awaitOn(name, w.Hosts[host])
}

// on gives the hosts on which systemd has a unit active.
func (w *world) on(unit string) (hosts []*platform.Host) {
	w.t.Helper()
	for _, h := range w.Hosts {
		if h.State() == platform.Running && w.active(h, unit) {
			hosts = append(hosts, h)
		}
	}
	return hosts
}

func namesOf(hosts []*platform.Host) (names []string) {
	for _, h := range hosts {
		names = append(names, h.Name())
	}
	return names
}

// awaitOn waits for a unit to be active on exactly these hosts.
func (w *world) awaitOn(unit string, hosts ...*platform.Host) {
	w.t.Helper()
	w.await(fmt.Sprintf("%s to run on %v", unit, namesOf(hosts)), func() (bool, string) {
		on := w.on(unit)
		return slices.Equal(on, hosts), fmt.Sprintf("on %v\n%s", namesOf(on), w.explained(unit))
	})
}

// awaitOne waits for a unit to be active on one host, and gives it.
func (w *world) awaitOne(unit string) (at *platform.Host) {
	w.t.Helper()
	w.await(unit+" to run on one host", func() (bool, string) {
		on := w.on(unit)
		if len(on) == 1 {
			at = on[0]
		}
		return len(on) == 1, fmt.Sprintf("on %v\n%s", namesOf(on), w.explained(unit))
	})
	return at
}

// awaitNowhere waits for a unit to run nowhere, and to be explained so.
func (w *world) awaitNowhere(unit string, reasons ...string) {
	w.t.Helper()
	w.await(unit+" to be explained", func() (bool, string) {
		text, on := w.explained(unit), w.on(unit)
		missing := slices.ContainsFunc(reasons, func(r string) bool { return !strings.Contains(text, r) })
		return len(on) == 0 && !missing, fmt.Sprintf("on %v, want none, and %q\n%s", namesOf(on), reasons, text)
	})
}

// explained is what fleetctl explain says, or why it can't.
func (w *world) explained(unit string) string {
	out, err := w.Fleetctl(w.ctx, "explain", unit)
	if err != nil {
		return err.Error()
	}
	return out
}
