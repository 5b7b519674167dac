package functional

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/fleet-project/fleet/functional/platform"
)

// A daemon-reload costs systemd seconds when it has many units. New units need
// none, and changed ones share theirs: systemd's own log says how many there were.
func TestReloadsAreForChangedUnitsAndShared(t *testing.T) {
	w := use(t)
	before := map[string]int{}
	for _, h := range w.Hosts {
		before[h.Name()] = w.reloads(h)
	}
	const n = 60
	units := w.startMany("reloaded", n, "")
	on := map[string]int{} // units by host
	for _, r := range units {
		on[r.host]++
	}
	for _, h := range w.Hosts {
		if more := w.reloads(h) - before[h.Name()]; more != 0 {
			t.Errorf("%s: %d reloads for %d new units", h.Name(), more, on[h.Name()])
		}
	}

	w.file("reloaded@.service", "# changed\n"+sleeper(""))
	line := "cd /root/units && exec fleetctl start --replace"
	for i := 1; i <= n; i++ {
		line += fmt.Sprintf(" reloaded@%d.service", i)
	}
	w.run(w.Any(), line)
	for _, h := range w.Hosts {
		if more := w.reloads(h) - before[h.Name()]; more < 1 || more > on[h.Name()]/4 {
			t.Errorf("%s: %d reloads for %d changed units", h.Name(), more, on[h.Name()])
		}
	}
}

// reloads is how many daemon-reloads a host's systemd has logged since it booted.
func (w *world) reloads(h *platform.Host) int {
	w.t.Helper()
	out := w.run(h, "journalctl --sync; journalctl --boot --output=cat _PID=1 | grep -c '^Reloading\\.' || true")
	n, err := strconv.Atoi(out)
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}
