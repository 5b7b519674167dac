package main

import (
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/fleet-project/fleet/bench/figure"
	"github.com/fleet-project/fleet/bench/load"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// plain places as much without constraints.
func (b *bench) plain() *figure.Report {
	shape := b.million()
	shape.Kind = load.Plain
	c := b.lead(shape)
	least, most := c.balance()
	return reportOf(
		seconds("without constraints: place all", c.cost.wall, figure.AtMost(10)),
		seconds("without constraints: place all"+inCPU, c.cost.cpu, nil),
		figure.Figure{Name: "without constraints: units on a machine, most less fewest", Value: float64(most - least), Want: figure.AtMost(1)},
	)
}

// packed places units that all want a machine for themselves among their like,
// and there are exactly so many machines.
func (b *bench) packed() *figure.Report {
	shape := load.Shape{Templates: 100, Instances: 10000 / b.scale, Machines: 10000 / b.scale, Kind: load.Apart}
	c := b.lead(shape)
	if c.plan != shape.Units() {
		panic(fmt.Sprintf("%d decisions for %d units", c.plan, shape.Units()))
	}
	place := seconds(packed, c.cost.wall, nil)
	place.Note = fmt.Sprintf("%d templates that each have, and keep, one instance on every machine", shape.Templates)
	_, t := c.lose(load.MachineID(1))
	return reportOf(place, seconds(packed+inCPU, c.cost.cpu, nil), millis("fully packed: one machine lost", t, figure.AtMost(10)))
}

// nowhere has units besides that fit nowhere, of three kinds.
func (b *bench) nowhere() *figure.Report {
	shape := b.million()
	var more []record.Change
	n := 10000 / b.scale
	for i := range n {
		rule := []string{"MachineMetadata=key00=none", "Conflicts=everywhere*", "MachineOf=nobody.service"}[i%3]
		more = append(more, load.Added(unit.Name(fmt.Sprintf("nowhere%d@%d.service", i%30, i)), "[X-Fleet]\n"+rule+"\n")...)
	}
	c := b.lead(shape)
	before := processor()
	plan, took := c.step(more...) // later: the Conflicts of some would keep the global units away
	cpu := processor() - before
	place := seconds(unplaced, c.cost.wall+took, nil)
	place.Note = fmt.Sprintf("%d of them, %s ms for these alone", n, figure.Number(figure.Millis(took)))
	const with = "with units that fit nowhere: "
	return reportOf(slices.Concat([]figure.Figure{
		place,
		seconds(unplaced+inCPU, c.cost.cpu+cpu, nil),
		{Name: with + "placed by mistake", Value: float64(len(plan.Decisions)), Want: figure.AtMost(0)},
	}, c.measureNothing(with), c.measureAdded(with), c.measureLost(with))...)
}

// takeover has a leader take over from another: it reads in what is placed and
// runs, and moves nothing.
func (b *bench) takeover() *figure.Report {
	shape := b.million()
	snapshot := shape.Snapshot()
	before := &cluster{placed: map[machine.ID]map[unit.Name]struct{}{}}
	snapshot = append(snapshot, before.answers(newPlanner().Step(time.Unix(1e9, 0), snapshot).Decisions)...)
	c := &cluster{planner: newPlanner(), now: time.Unix(1e9, 0)}
	plan, cost := b.profiled(c, snapshot)
	return reportOf(
		seconds("a leader takes over what runs already", cost.wall, nil),
		seconds("a leader takes over what runs already"+inCPU, cost.cpu, nil),
		figure.Figure{Name: "decisions of that", Value: float64(len(plan.Decisions)), Want: figure.AtMost(0)},
	)
}

// sweep places clusters of growing size, and fits an exponent.
func (b *bench) sweep() *figure.Report {
	r := &figure.Report{}
	cpu := figure.Series{Subject: subject, Name: "place all" + inCPU, XLabel: "units", YLabel: "s"}
	wall := figure.Series{Subject: subject, Name: "place all", XLabel: "units", YLabel: "s"}
	for _, shape := range []load.Shape{
		{Templates: 100, Instances: 10, Globals: 10, Machines: 100},
		{Templates: 100, Instances: 100, Globals: 10, Machines: 1000},
		{Templates: 100, Instances: 1000, Globals: 10, Machines: 10000},
		{Templates: 1000, Instances: 1000, Globals: 10, Machines: 10000},
	} {
		if shape.Units() > 1000000/b.scale {
			break
		}
		best := b.best(shape)
		f := millis(fmt.Sprintf("place %v%s", shape, inCPU), best.cpu, nil)
		f.Note = fmt.Sprintf("%s µs a decision", figure.Number(figure.Micros(best.cpu)/float64(shape.Decisions())))
		r.Add(subject, f)
		x := float64(shape.Units())
		cpu.Points = append(cpu.Points, figure.Point{X: x, Y: best.cpu.Seconds()})
		wall.Points = append(wall.Points, figure.Point{X: x, Y: best.wall.Seconds()})
	}
	r.Series = []figure.Series{cpu, wall}
	r.Add(subject,
		figure.Figure{Name: "exponent of processor time over units", Value: cpu.Exponent(), Want: figure.AtMost(1.1)},
		figure.Figure{Name: "exponent of time over units", Value: wall.Exponent(), Want: figure.AtMost(1.1)})
	return r
}

// equal places the sizes that bench/swarmkit has SwarmKit place, and like it without
// global units: those come with a machine in a swarm. SwarmKit has its rules but
// for MachineOf.
func (b *bench) equal() *figure.Report {
	cpu := figure.Series{Subject: subject, Name: "place all, no global units" + inCPU, XLabel: "units", YLabel: "s"}
	for _, shape := range []load.Shape{
		{Templates: 100, Instances: 10, Machines: 100},
		{Templates: 100, Instances: 100, Machines: 1000},
		{Templates: 100, Instances: 1000, Machines: 10000},
	} {
		cpu.Points = append(cpu.Points, figure.Point{X: float64(shape.Units()), Y: b.best(shape).cpu.Seconds()})
	}
	return &figure.Report{Series: []figure.Series{cpu}}
}

// best is what a size costs at least, of a few runs.
func (b *bench) best(shape load.Shape) cost {
	best := cost{wall: math.MaxInt64, cpu: math.MaxInt64}
	for range max(3, min(20, 200000/shape.Units())) {
		c := b.lead(shape)
		best = cost{wall: min(best.wall, c.cost.wall), cpu: min(best.cpu, c.cost.cpu)}
	}
	return best
}
