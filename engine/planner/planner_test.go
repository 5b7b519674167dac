package planner

import (
	"fmt"
	"testing"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
)

func TestLostMachineIsSpread(t *testing.T) {
	s := newSim()
	for _, n := range []string{"a", "b", "c"} {
		s.machine(machine.Machine{ID: id(n)})
	}
	for i := range 9 {
		s.submit(unit.Name(fmt.Sprintf("web@%d.service", i)), unit.TargetLaunched, "[Service]\nExecStart=/bin/true\n")
	}
	s.settle()
	s.lose(id("a"), true)
	s.settle()
	load := map[machine.ID]int{}
	for i := range 9 {
		on := s.placed(unit.Name(fmt.Sprintf("web@%d.service", i)), false)
		if len(on) != 1 {
			t.Fatalf("unit %d is placed on %v", i, on)
		}
		load[on[0]]++
	}
	if load[id("b")] < 4 || load[id("c")] < 4 {
		t.Errorf("not spread over the machines left: %v", load)
	}
}
