package agent

import (
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// until waits for something of the loop's own.
func (r *rig) until(what string, holds func(a *Agent) bool) {
	r.t.Helper()
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		answer := make(chan bool, 1)
		r.agent.post(func(time.Time) { answer <- holds(r.agent) })
		if <-answer {
			return
		}
	}
	r.t.Fatal("never " + what)
}

// However the units come in, systemd is asked to take them in batches: each may
// cost a reload.
func TestInstallsGatherWhileOneIsUnderWay(t *testing.T) {
	r := newRig(t).start()
	entered, release := make(chan struct{}), make(chan struct{})
	once := sync.OnceFunc(func() { close(entered); <-release })
	r.sys.mu.Lock()
	r.sys.fault = func(call string, after bool) error {
		if call == "write 1" && !after {
			once()
		}
		return nil
	}
	r.sys.mu.Unlock()
	spec := launched(r.cluster.file(sleeper))
	r.cluster.tell(place("first.service", spec))
	<-entered
	const more = 50
	for i := range more {
		r.cluster.tell(place(unit.Name(fmt.Sprintf("u%d.service", i)), spec))
	}
	r.until("decided on the others", func(a *Agent) bool { return len(a.installs) == more })
	close(release)
	r.cluster.await(t, "all launched", func(s map[unit.Name]record.State) bool { return len(s) == more+1 })
	r.idle()
	log := r.sys.log()
	writes := slices.DeleteFunc(log, func(s string) bool { return s[:5] != "write" })
	if want := []string{"write 1", fmt.Sprintf("write %d", more)}; !slices.Equal(writes, want) {
		t.Errorf("files were written by %v, not %v", writes, want)
	}
}

// A few changes are told at once, many as often as pace allows.
func TestStatesArePaced(t *testing.T) {
	clock := newFakeClock()
	r := newRig(t)
	r.opts.Clock = clock
	r.start()
	waiting := func(a *Agent) bool { return len(a.pending) > 0 && !a.putting }
	told := func(a *Agent) bool { return len(a.pending) == 0 && !a.putting }
	r.cluster.tell(place("a.service", launched(r.cluster.file(notifier))))
	r.until("started", waiting)
	clock.advance(time.Minute) // as if nothing had happened for long
	r.until("told", told)
	clock.advance(time.Minute)

	active := []string{"deactivating", "active"}
	change := func(i int) {
		r.sys.mu.Lock()
		r.sys.become("a.service", active[i%2])
		r.sys.mu.Unlock()
		r.until("seen", waiting)
		clock.advance(coalesce)
	}
	for i := range atOnce {
		change(i)
		r.until("told at once", told)
	}
	for i := range 3 {
		change(atOnce + i)
		puts := 0
		r.until("looked at again", func(a *Agent) bool { puts = len(a.pending); return true })
		if puts != 1 {
			t.Fatalf("change %d was told at once", atOnce+i)
		}
		clock.advance(pace)
		r.until("told in its turn", told)
	}
}

// Troubles are told at once, however many there are, and make nobody wait who
// comes after them.
func TestTroublesHoldNothingUp(t *testing.T) {
	clock := newFakeClock()
	r := newRig(t)
	r.opts.Clock = clock
	r.start()
	waiting := func(a *Agent) bool { return len(a.pending) > 0 && !a.putting }
	told := func(a *Agent) bool { return len(a.pending) == 0 && !a.putting }
	r.cluster.tell(place("a.service", launched(r.cluster.file(notifier))))
	r.until("started", waiting)
	clock.advance(time.Minute)
	r.until("told", told)

	change := func(active string) {
		r.sys.mu.Lock()
		r.sys.become("a.service", active)
		r.sys.mu.Unlock()
		r.until("seen "+active, func(a *Agent) bool {
			s := a.pending["a.service"]
			return s != nil && s.Active == active && !a.putting
		})
	}
	for range 100 {
		change("failed")
		clock.advance(coalesce)
		r.until("told of the trouble", told)
		change("active")
	}
	clock.advance(pace)
	r.until("told of what came after", told)
}
