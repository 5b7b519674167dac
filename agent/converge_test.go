package agent

import (
	"fmt"
	"maps"
	"os"
	"slices"
	"testing"
	"time"

	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	"pgregory.net/rapid"
)

func TestConverges(t *testing.T) {
	dir := t.TempDir()
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		n++
		own := fmt.Sprintf("%s/%d/units", dir, n)
		defer func() { _ = os.RemoveAll(own) }()
		s := newSim(t, own)
		names := []unit.Name{"a.service", "b.service", "c.service"}
		hashes := slices.Sorted(maps.Keys(s.texts))
		vanished := map[unit.Name]bool{}
		name := rapid.SampledFrom(names)
		set := func(target unit.Target) func(*rapid.T) {
			return func(t *rapid.T) {
				n := name.Draw(t, "unit")
				spec := record.Spec{Target: target}
				if target.Wanted() {
					spec.File = rapid.SampledFrom(hashes).Draw(t, "file")
					spec.Restart = s.schedule[n].Restart
					if rapid.Bool().Draw(t, "restart") {
						spec.Restart++
					}
				}
				s.schedule[n] = spec
				delete(vanished, n)
				s.tell(place(n, spec))
				s.settle()
			}
		}
		t.Repeat(map[string]func(*rapid.T){
			"launch":   set(unit.TargetLaunched),
			"load":     set(unit.TargetLoaded),
			"withdraw": set(unit.TargetNone),
			"vanish": func(t *rapid.T) {
				n := name.Draw(t, "unit")
				runs := s.sys.get(n).active == "active" && s.schedule[n].Target != unit.TargetNone && len(s.sys.get(n).jobs) == 0
				delete(s.schedule, n)
				vanished[n] = true
				s.tell(vanish(n))
				s.settle()
				if u := s.sys.get(n); runs && (u.active != "active" || len(u.jobs) > 0) && s.reach == reachable {
					t.Fatalf("%s was stopped because its key vanished", n)
				}
			},
			"reset":      func(*rapid.T) { s.deliver(); s.settle() },
			"jobs":       func(*rapid.T) { s.jobsEnd() },
			"engine":     func(*rapid.T) { s.engine(); s.settle() },
			"time":       func(*rapid.T) { s.now = s.now.Add(5 * time.Second); s.settle() },
			"fails":      func(t *rapid.T) { s.sys.happens(name.Draw(t, "unit"), "failed"); s.settle() },
			"exits":      func(t *rapid.T) { s.sys.happens(name.Draw(t, "unit"), "inactive"); s.settle() },
			"failing":    func(*rapid.T) { s.failing = true },
			"working":    func(*rapid.T) { s.failing = false },
			"kill":       func(*rapid.T) { s.crashed(); s.boot(); s.settle() },
			"kill soon":  func(t *rapid.T) { s.crashAt = rapid.IntRange(0, 12).Draw(t, "calls") },
			"lose files": func(t *rapid.T) { s.lost[rapid.SampledFrom(hashes).Draw(t, "file")] = true },
			"find files": func(*rapid.T) { clear(s.lost) },
			"lose cluster": func(*rapid.T) {
				s.cluster = nil
				s.tell(record.ClusterChange{})
				s.settle()
			},
			"other cluster": func(*rapid.T) {
				s.cluster = &record.Cluster{ID: "other"}
				s.tell(record.ClusterChange{New: s.cluster})
				s.settle()
			},
			"find cluster": func(*rapid.T) { s.cluster = &record.Cluster{ID: "c"}; s.deliver(); s.settle() },
			"reach":        func(t *rapid.T) { s.reach = reach(rapid.IntRange(0, 2).Draw(t, "reach")); s.settle() },
		})
		s.calm()
		s.converged(vanished)
		// A unit that fails meanwhile is systemd's business.
		s.sys.happens(names[0], "failed")
		s.sys.happens(names[1], "inactive")
		s.settle()
		s.quiet = true
		s.sys.log()
		s.crashed()
		s.boot()
		s.settle()
		if log := s.sys.log(); len(log) > 0 {
			t.Fatalf("a new agent did %v", log)
		}
	})
}

// crashed forgets what only the agent's memory held.
func (s *sim) crashed() {
	s.failing, s.crashAt = false, -1
	s.sys.Take()
}
