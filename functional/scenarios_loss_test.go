package functional

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/platform"
)

// scenario is what a unit's options promise, with three hosts, with the second
// of them lost, and with that one back.
type scenario struct {
	name              string
	whole, lost, back func(w *world)
}

// TestCompatXFleetScenarios plays all scenarios side by side, so that one loss
// does for all. Units whose names begin with "one-" run on one host at most:
// who has no reason to move must keep its process throughout.
func TestCompatXFleetScenarios(t *testing.T) {
	w := use(t)
	w.openDiaries()
	scenarios := []scenario{
		instancesScenario(w), metadataScenario(w), machineIDScenario(w), conflictsScenario(w),
		globalScenario(w), globalConflictScenario(w), replacesScenario(w), machineOfScenario(w), restartScenario(w),
	}
	play := func(phase string, of func(scenario) func(*world)) {
		for _, s := range scenarios {
			t.Run(s.name+"/"+phase, func(t *testing.T) { of(s)(w.with(t)) })
		}
	}
	play("on three hosts", func(s scenario) func(*world) { return s.whole })
	was := w.where("one-")

	gone := w.Hosts[1]
	t.Cleanup(func() {
		if gone.State() != platform.Off {
			return
		}
		if err := gone.Start(context.Background()); err != nil {
			t.Error(err)
		}
	})
	if err := gone.Kill(); err != nil {
		t.Fatal(err)
	}
	if err := w.AwaitMachines(w.ctx, 2); err != nil {
		t.Fatal(err)
	}
	play("after the loss of one", func(s scenario) func(*world) { return s.lost })
	is := w.where("one-")
	for unit, r := range was {
		// What one-new replaces moves on when that one comes after it.
		if r.host != gone.Name() && is[unit] != r && unit != "one-old.service" {
			t.Errorf("%s was %v, is %v: it had no reason to move", unit, r, is[unit])
		}
	}

	if err := gone.Start(w.ctx); err != nil {
		t.Fatal(err)
	}
	if err := w.AwaitMachines(w.ctx, 3); err != nil {
		t.Fatal(err)
	}
	play("with it back", func(s scenario) func(*world) { return s.back })
	now := w.where("one-")
	for unit, r := range is {
		if now[unit] != r {
			t.Errorf("%s was %v, is %v: nothing moves because a host comes back", unit, r, now[unit])
		}
	}
	for _, h := range w.Hosts {
		if got := w.run(h, "grep -r beside /root/diary || true"); got != "" {
			t.Errorf("%s started units beside their rivals:\n%s", h.Name(), got)
		}
	}
}

// instancesScenario: Conflicts of a template with itself means one a host.
func instancesScenario(w *world) scenario {
	without := "" // the instance that lost its host
	spread := func(w *world, want int) {
		hosts := map[string]string{}
		for unit, r := range w.where("one-app@") {
			if other, taken := hosts[r.host]; taken {
				w.t.Errorf("%s and %s share %s", unit, other, r.host)
			}
			hosts[r.host] = unit
		}
		if len(hosts) != want {
			w.t.Errorf("running: %v, want %d", hosts, want)
		}
	}
	return scenario{"instances", func(w *world) {
		for unit, r := range w.startMany("one-app", 3, "Conflicts=%p@*\n") {
			if r.host == w.Hosts[1].Name() {
				without = unit
			}
		}
		spread(w, 3)
	}, func(w *world) {
		w.awaitNowhere(without, "Conflicts=one-app@*")
		spread(w, 2)
	}, func(w *world) {
		w.awaitOn(without, w.Hosts[1])
		spread(w, 3)
	}}
}

func metadataScenario(w *world) scenario {
	return scenario{"MachineMetadata", func(w *world) {
		w.startOn(1, "one-eu.service", sleeper("MachineMetadata=region=eu\n"))
		w.startOn(1, "one-high.service", sleeper("MachineMetadata=index>=1\nMachineMetadata=ram!=none\n"))
		w.fleetctl("start", w.file("one-only.service", sleeper("MachineMetadata=\"index=1\" \"region=eu\"\n")))
		w.awaitOn("one-only.service", w.Hosts[1])
	}, func(w *world) {
		w.awaitOn("one-eu.service", w.Hosts[0])
		w.awaitOn("one-high.service", w.Hosts[2])
		w.awaitNowhere("one-only.service", "MachineMetadata=index=1", "region=us")
	}, func(w *world) {
		w.awaitOn("one-only.service", w.Hosts[1])
		w.awaitOn("one-eu.service", w.Hosts[0])
		w.awaitOn("one-high.service", w.Hosts[2])
	}}
}

func machineIDScenario(w *world) scenario {
	id := w.Hosts[1].MachineID()
	options := map[string]string{
		"one-whole.service": "MachineID=" + id, "one-short.service": "MachineID=" + id[:8],
		"one-legacy.service": "X-ConditionMachineID=" + id, "one-boot.service": "X-ConditionMachineBootID=" + id,
	}
	return scenario{"MachineID", func(w *world) {
		for name, o := range options {
			w.fleetctl("start", w.file(name, sleeper(o+"\n")))
			w.awaitOn(name, w.Hosts[1])
		}
	}, func(w *world) {
		for name, o := range options {
			w.awaitNowhere(name, strings.TrimPrefix(o, "X-Condition")+": another machine")
		}
	}, func(w *world) {
		for name := range options {
			w.awaitOn(name, w.Hosts[1])
		}
	}}
}

func conflictsScenario(w *world) scenario {
	return scenario{"Conflicts", func(w *world) {
		w.startOn(2, "one-right.service", diary("right", "X-Conflicts=one-left*\n", "one-left.service", "one-shy.service"))
		w.startOn(1, "one-left.service", diary("left", "MachineMetadata=index>0\n", "one-right.service"))
		w.startOn(1, "one-shy.service", diary("shy", "Conflicts=one-right.*\n", "one-right.service"))
	}, func(w *world) {
		w.awaitNowhere("one-left.service", "one-right.service, which runs here, has Conflicts=one-left*")
		w.awaitOn("one-shy.service", w.Hosts[0])
	}, func(w *world) {
		w.awaitOn("one-left.service", w.Hosts[1])
		w.awaitOn("one-shy.service", w.Hosts[0])
		w.awaitOn("one-right.service", w.Hosts[2])
	}}
}

func globalScenario(w *world) scenario {
	return scenario{"Global", func(w *world) {
		w.fleetctl("start", w.file("all.service", diary("all", "Global=true\n")), w.file("all-eu.service", sleeper("Global=yes\nMachineMetadata=region=eu\n")))
		w.awaitOn("all.service", w.Hosts...)
		w.awaitOn("all-eu.service", w.Hosts[0], w.Hosts[1])
	}, func(w *world) {
		w.awaitOn("all.service", w.Hosts[0], w.Hosts[2])
		w.awaitOn("all-eu.service", w.Hosts[0])
	}, func(w *world) {
		w.awaitOn("all.service", w.Hosts...)
		w.awaitOn("all-eu.service", w.Hosts[0], w.Hosts[1])
		for i, want := range []int{1, 2, 1} {
			if got := w.diaryOf(w.Hosts[i], "all.service"); len(got) != want {
				w.t.Errorf("%s started all.service %d times, want %d", w.Hosts[i].Name(), len(got), want)
			}
		}
	}}
}

// globalConflictScenario: a global unit and one that conflicts with it never
// both run on a host.
func globalConflictScenario(w *world) scenario {
	guard := diary("guard", "Global=true\nConflicts=one-solo.*\n", "one-solo.service")
	return scenario{"Global and Conflicts", func(w *world) {
		w.startOn(1, "one-solo.service", diary("solo", "", "all-guard.service"))
		w.fleetctl("start", w.file("all-guard.service", guard))
		w.awaitOn("all-guard.service", w.Hosts[0], w.Hosts[2])
	}, func(w *world) {
		w.awaitNowhere("one-solo.service", "all-guard.service, which runs here, has Conflicts=one-solo.*")
		w.awaitOn("all-guard.service", w.Hosts[0], w.Hosts[2])
	}, func(w *world) {
		w.await("one of them to run on the host that is back", func() (bool, string) {
			solo, guards := len(w.on("one-solo.service")), len(w.on("all-guard.service"))
			return solo+guards == 3 && solo <= 1, fmt.Sprint(solo, guards)
		})
	}}
}

func replacesScenario(w *world) scenario {
	apart := func(w *world) {
		if a, b := w.awaitOne("one-old.service"), w.awaitOne("one-new.service"); a == b {
			w.t.Errorf("both run on %s", a.Name())
		}
	}
	return scenario{"Replaces", func(w *world) {
		w.startOn(1, "one-old.service", diary("old", "", "one-new.service"))
		w.fleetctl("start", w.file("one-new.service", diary("new", "Replaces=one-old.*\n", "one-old.service")))
		w.awaitOn("one-new.service", w.Hosts[1])
		apart(w)
	}, apart, apart}
}

func machineOfScenario(w *world) scenario {
	var at *platform.Host
	together := func(w *world) {
		at = w.awaitOne("one-base.service")
		for _, unit := range []string{"one-mid.service", "one-top.service"} {
			w.awaitOn(unit, at)
		}
	}
	return scenario{"MachineOf", func(w *world) {
		w.startOn(1, "one-base.service", sleeper(""))
		w.fleetctl("start",
			w.file("one-mid.service", sleeper("X-ConditionMachineOf=one-base.service\n")),
			w.file("one-top.service", sleeper("MachineOf=one-mid.service one-base.service\n")))
		together(w)
		if at != w.Hosts[1] {
			w.t.Errorf("they run on %s", at.Name())
		}
	}, together, func(w *world) {
		was := at
		if together(w); at != was {
			w.t.Errorf("they went from %s to %s", was.Name(), at.Name())
		}
	}}
}

func restartScenario(w *world) scenario {
	const unit = "one-restarted.service"
	restart := func(w *world, h *platform.Host) {
		was, lines := w.mainPID(h, unit), len(w.diaryOf(h, unit))
		w.fleetctl("restart", unit)
		if is := w.mainPID(h, unit); is == was || is == "0" {
			w.t.Errorf("main PID was %s, is %s", was, is)
		}
		if got := w.diaryOf(h, unit); len(got) != lines+1 {
			w.t.Errorf("it started %d times for one restart: %s", len(got)-lines, strings.Join(got, " "))
		}
	}
	return scenario{"restart", func(w *world) {
		w.startOn(1, unit, diary("run", "MachineMetadata=region=eu\n"))
		restart(w, w.Hosts[1])
	}, func(w *world) {
		w.awaitOn(unit, w.Hosts[0])
		restart(w, w.Hosts[0])
	}, func(w *world) { w.awaitOn(unit, w.Hosts[0]) }}
}
