package planner

import (
	"fmt"
	"testing"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// sizes of the clusters that fleet 1.0's scheduler and others were measured
// with (see shared/FACTS.md).
var sizes = []struct{ units, machines int }{{1000, 100}, {10000, 1000}, {100000, 10000}}

// bigView is a cluster with everything to be placed: units of every tenth in a
// template, spread over two regions.
func bigView(units, machines int, text func(i int) string) *record.View {
	v := record.NewView()
	v.Cluster = &record.Cluster{ID: "bench"}
	for i := range machines {
		id := machine.ID(fmt.Sprintf("%08x%024d", i, i))
		v.Machines[id] = machine.Machine{ID: id, Metadata: map[string]string{
			"region": []string{"eu", "us"}[i%2], "host": fmt.Sprint(i),
		}}
	}
	for i := range units {
		file := []byte(text(i))
		h := unit.HashOf(file)
		v.Files[h] = file
		v.Units[unit.Name(fmt.Sprintf("app%d@%d.service", i/10, i%10))] = record.Unit{File: h, Target: unit.TargetLaunched}
	}
	return v
}

func plain(int) string { return "[Service]\nExecStart=/bin/true\n" }

func region(i int) string {
	if i%2 == 0 {
		return plain(i)
	}
	return plain(i) + "[X-Fleet]\nMachineMetadata=region=eu\n"
}

func apart(i int) string { return plain(i) + "[X-Fleet]\nConflicts=%p@*.service\n" }

func BenchmarkPlaceAll(b *testing.B) {
	for _, kind := range []struct {
		name string
		text func(int) string
	}{{"plain", plain}, {"metadata", region}, {"conflicts", apart}} {
		for _, size := range sizes {
			b.Run(fmt.Sprintf("%s/%d on %d", kind.name, size.units, size.machines), func(b *testing.B) {
				v := bigView(size.units, size.machines, kind.text)
				changes := v.Changes()
				b.ResetTimer()
				for range b.N {
					plan := New(Config{}).Step(time.Unix(0, 0), changes)
					if len(plan.Decisions) != size.units {
						b.Fatalf("%d decisions for %d units", len(plan.Decisions), size.units)
					}
				}
				b.ReportMetric(float64(size.units*b.N)/b.Elapsed().Seconds(), "placements/s")
			})
		}
	}
}

// full gives a planner that leads a cluster where all is placed.
func full(b *testing.B, units, machines int) *Planner {
	v := bigView(units, machines, plain)
	p := New(Config{})
	plan := p.Step(time.Unix(0, 0), v.Changes())
	var echo []record.Change
	for _, d := range plan.Decisions {
		place := d.(Place)
		echo = append(echo, record.PlacementChange{Key: place.Key, New: &place.Spec},
			record.StateChange{Key: place.Key, New: &record.State{Spec: place.Spec}})
	}
	if plan := p.Step(time.Unix(1, 0), echo); len(plan.Decisions) > 0 {
		b.Fatalf("an echo made %d decisions", len(plan.Decisions))
	}
	return p
}

// BenchmarkStartOne is the cost of one start, and of its echo, on a cluster
// that is full.
func BenchmarkStartOne(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("%d on %d", size.units, size.machines), func(b *testing.B) {
			p := full(b, size.units, size.machines)
			h := unit.HashOf([]byte(plain(0)))
			b.ResetTimer()
			for i := range b.N {
				name := unit.Name(fmt.Sprintf("new%d.service", i))
				plan := p.Step(time.Unix(2, 0), []record.Change{
					record.FileChange{Hash: h, Text: []byte(plain(0))},
					record.UnitChange{Name: name, New: &record.Unit{File: h, Target: unit.TargetLaunched}},
				})
				place := plan.Decisions[0].(Place)
				p.Step(time.Unix(2, 0), []record.Change{record.PlacementChange{Key: place.Key, New: &place.Spec}})
			}
		})
	}
}

// BenchmarkIdle is the cost of a state that says nothing new.
func BenchmarkIdle(b *testing.B) {
	p := full(b, 10000, 1000)
	var s *seat
	for _, j := range p.jobs.jobs {
		s = j.seats[0]
	}
	st := record.State{Spec: *s.says}
	b.ResetTimer()
	for range b.N {
		if plan := p.Step(time.Unix(2, 0), []record.Change{record.StateChange{Key: s.key(), New: &st}}); len(plan.Decisions) > 0 {
			b.Fatal("a state that says nothing new made a decision")
		}
	}
}

// BenchmarkLoseOne is the cost of moving what a lost machine had.
func BenchmarkLoseOne(b *testing.B) {
	for _, size := range sizes {
		b.Run(fmt.Sprintf("%d on %d", size.units, size.machines), func(b *testing.B) {
			for range b.N {
				b.StopTimer()
				p := full(b, size.units, size.machines)
				b.StartTimer()
				id := machine.ID(fmt.Sprintf("%08x%024d", 7, 7))
				plan := p.Step(time.Unix(2, 0), []record.Change{record.MachineChange{ID: id}})
				if len(plan.Decisions) != 2*size.units/size.machines {
					b.Fatalf("%d decisions", len(plan.Decisions))
				}
			}
		})
	}
}
