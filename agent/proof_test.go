package agent

import (
	"testing"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// systemd calls a simple service active before its program was executed. Nobody is
// told that a program runs which isn't there.
func TestASimpleServiceIsToldOfOnceItHasRun(t *testing.T) {
	clock := newFakeClock()
	r := newRig(t)
	r.opts.Clock = clock
	r.start()
	spec := launched(r.cluster.file(sleeper))
	for _, name := range []unit.Name{"there.service", "missing.service"} {
		r.cluster.tell(place(name, spec))
		r.until("started", func(a *Agent) bool {
			h := a.core.units[name]
			return h != nil && !h.proof.IsZero()
		})
		clock.advance(coalesce)
		r.until("left with nothing to tell", func(a *Agent) bool { return len(a.pending) == 0 && !a.putting })
		r.cluster.await(t, "silent", func(s map[unit.Name]record.State) bool {
			if said, any := s[name]; any {
				t.Errorf("told of %s as soon as systemd did: %+v", name, said)
			}
			return true
		})
		if name == "missing.service" {
			r.sys.happens(name, "failed")
			break
		}
		clock.advance(proofTime)
		r.cluster.await(t, "told of", is(name, unit.TargetLaunched, "active"))
	}
	defer clock.run()() // for the words of its log
	r.cluster.await(t, "told that it failed", is("missing.service", unit.TargetLaunched, "failed"))
}

func TestAServiceThatSaysItIsReadyIsBelieved(t *testing.T) {
	clock := newFakeClock()
	r := newRig(t)
	r.opts.Clock = clock
	r.start()
	r.cluster.tell(place("a.service", launched(r.cluster.file(notifier))))
	r.until("had something to tell", func(a *Agent) bool {
		return len(a.pending) > 0 || len(a.core.units) > 0 && a.core.units["a.service"].published != nil
	})
	clock.advance(coalesce)
	r.cluster.await(t, "told of", is("a.service", unit.TargetLaunched, "active"))
}
