package planner

import (
	"fmt"
	"testing"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// A leader may lead for years, while units come and go: nothing of those that are
// gone stays.
func TestNothingIsKeptOfUnitsThatAreGone(t *testing.T) {
	// Whether any demands something matters: it has names looked for, and tidied up.
	for name, tc := range map[string]struct {
		name    string
		demands []string
	}{
		"units that demand nothing":           {"u%d.service", []string{"# %d"}},
		"instances of one template":           {"u@%d.service", []string{"# %d"}},
		"instances of templates of their own": {"u%d@1.service", []string{"# %d"}},
		"units that demand something": {"u%d.service", []string{
			"MachineMetadata=a=%d", "Conflicts=c%d*", "MachineOf=m%d.service", "Replaces=r%d.service", "Global=true\n# %d",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSim()
			for _, h := range someHosts {
				s.machine(machine.Machine{ID: id(h)})
			}
			kept := func() int {
				p := s.planner
				return len(p.jobs.jobs) + len(p.jobs.table) + len(p.files) + len(p.names.sorted) + len(p.names.recent) +
					len(p.patterns.all) + len(p.patterns.byPrefix) + len(p.classes.all) + len(p.templates) + len(p.followers) +
					len(p.openedHosts) + len(p.lostFiles) + len(p.idleFiles) + len(p.waiting) + len(p.hunters) + len(p.postponed) +
					len(p.queue) + len(p.pairs) + len(p.spoiled) + len(p.hosts) + len(p.short)
			}
			const batch, batches = 100, 40
			s.submit("stays.service", unit.TargetLaunched, "[Service]\nExecStart=/bin/true\n") // an empty planner begins anew
			next := 0
			churn := func() {
				names := make([]unit.Name, batch)
				for i := range names {
					names[i] = unit.Name(fmt.Sprintf(tc.name, next))
					demand := fmt.Sprintf(tc.demands[next%len(tc.demands)], next)
					s.submit(names[i], unit.TargetLaunched, "[Service]\nExecStart=/bin/true\n[X-Fleet]\n"+demand+"\n")
					next++
				}
				s.settle()
				for _, n := range names {
					s.edit(n, func(u *record.Unit) { u.Target = unit.TargetDestroyed })
				}
				s.settle()
				if len(s.view.Units)+len(s.view.Schedule)+len(s.view.Files) > 3 {
					t.Fatalf("of %d units, %d are left, %d placements and %d texts", next, len(s.view.Units), len(s.view.Schedule), len(s.view.Files))
				}
			}
			// What may stay is room for as many at a time, and a few names that are gone.
			const room = 8*batch + 2*maxRecent
			for range batches {
				churn()
				if n := kept(); n > room {
					t.Fatalf("after %d units had come and gone, %d entries are kept for none", next, n)
				}
			}
		})
	}
}
