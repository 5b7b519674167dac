package functional

import (
	"slices"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/platform"
)

// expectDiary wants a unit to have written these lines on a host, and no more.
func (w *world) expectDiary(h *platform.Host, unit string, want ...string) {
	w.t.Helper()
	if got := w.diaryOf(h, unit); !slices.Equal(got, want) {
		w.t.Errorf("%s started %s as %q, want %q", h.Name(), unit, got, want)
	}
}

// TestCompatReplaceInPlace: a file that is replaced is a restart, once, where
// the unit is; it moves only if it no longer fits there.
func TestCompatReplaceInPlace(t *testing.T) {
	w := use(t)
	w.openDiaries()
	t.Run("a unit stays on its machine", func(t *testing.T) {
		w := w.with(t)
		w.fleetctl("start", w.file("place.service", diary("first", "MachineMetadata=region=eu\n")))
		h := w.awaitOne("place.service")
		pid := w.mainPID(h, "place")
		w.fleetctl("start", "--replace", w.file("place.service", diary("second", "MachineMetadata=region=eu\nMachineMetadata=index<9\n")))
		w.awaitOn("place.service", h)
		if got := w.mainPID(h, "place"); got == pid {
			t.Error("it still runs the first file")
		}
		w.expectDiary(h, "place.service", "first", "second")
		if got := w.run(h, "systemctl show -P NRestarts place"); got != "0" {
			t.Errorf("systemd restarted it %s times on its own", got)
		}
		pid = w.mainPID(h, "place")
		w.fleetctl("start", "--replace", "/root/units/place.service")
		if got := w.mainPID(h, "place"); got != pid {
			t.Error("replacing it by the same file restarted it")
		}
	})
	t.Run("a unit that no longer fits moves", func(t *testing.T) {
		w := w.with(t)
		w.fleetctl("start", w.file("move.service", diary("first", "MachineMetadata=index=1\n")))
		w.awaitOn("move.service", w.Hosts[1])
		w.fleetctl("start", "--replace", w.file("move.service", diary("second", "MachineMetadata=index=2\n")))
		w.awaitOn("move.service", w.Hosts[2])
		w.expectDiary(w.Hosts[1], "move.service", "first")
		w.expectDiary(w.Hosts[2], "move.service", "second")
	})
	t.Run("a global unit restarts everywhere", func(t *testing.T) {
		w := w.with(t)
		w.fleetctl("start", w.file("global.service", diary("first", "Global=true\n")))
		w.awaitOn("global.service", w.Hosts...)
		w.fleetctl("start", "--replace", w.file("global.service", diary("second", "Global=true\n")))
		for _, h := range w.Hosts {
			w.await("the second file to run", func() (bool, string) {
				lines := w.diaryOf(h, "global.service")
				return len(lines) >= 2 && w.active(h, "global.service"), strings.Join(lines, " ")
			})
			w.expectDiary(h, "global.service", "first", "second")
		}
	})
	t.Run("a loaded unit isn't started", func(t *testing.T) {
		w := w.with(t)
		w.fleetctl("load", w.file("loaded.service", diary("first", "")))
		h := w.host("loaded.service")
		w.fleetctl("load", "--replace", w.file("loaded.service", diary("second", "")))
		w.await("systemd to have the second file", func() (bool, string) {
			text := w.run(h, "systemctl cat loaded.service")
			return strings.Contains(text, "echo second") && w.run(h, "systemctl show -P NeedDaemonReload loaded") == "no", text
		})
		w.expectDiary(h, "loaded.service")
		w.fleetctl("start", "loaded")
		w.expectDiary(h, "loaded.service", "second")
	})
	t.Run("a unit that stops slowly", func(t *testing.T) {
		w := w.with(t)
		slow := func(says string) string {
			return strings.Replace(diary(says, "MachineMetadata=index=1\n"), "[Service]\n", "[Service]\nExecStop=/bin/sleep 2\n", 1)
		}
		w.fleetctl("start", w.file("slow.service", slow("first")))
		w.awaitOn("slow.service", w.Hosts[1])
		w.fleetctl("start", "--replace", "--no-block", w.file("slow.service", slow("second")))
		w.await("the first one to be stopping", func() (bool, string) {
			state := w.run(w.Hosts[1], "systemctl show -P ActiveState slow")
			return state == "deactivating", state
		})
		// Another file while the one before is still stopping.
		w.fleetctl("start", "--replace", w.file("slow.service", slow("third")))
		w.awaitOn("slow.service", w.Hosts[1])
		lines := w.diaryOf(w.Hosts[1], "slow.service")
		if last := lines[len(lines)-1]; lines[0] != "first" || last != "third" || len(lines) > 3 {
			t.Errorf("it started as %q", lines)
		}
	})
}
