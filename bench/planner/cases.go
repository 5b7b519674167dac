package main

import (
	"fmt"
	"math"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/bench/load"
	"github.com/fleet-project/fleet/engine/planner"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// million is the load that the figures are wanted for.
func million(scale int) load.Shape {
	return load.Shape{Templates: 1000 / scale, Instances: 1000, Globals: 10, Machines: 10000 / scale}
}

// cluster is a planner that leads a cluster, with what the caller must know of
// it to go on.
type cluster struct {
	shape   load.Shape
	planner *planner.Planner
	now     time.Time
	placed  map[machine.ID]map[unit.Name]struct{}
	took    time.Duration // to place everything
	cpu     time.Duration // of that, processor time; on a machine that others use as well, it tells more
	plan    int           // decisions of that
}

// lead has a new planner place everything.
func lead(shape load.Shape) *cluster {
	c := &cluster{shape: shape, planner: planner.New(planner.Config{Grace: 30 * time.Second}),
		now: time.Unix(1e9, 0), placed: map[machine.ID]map[unit.Name]struct{}{}}
	changes := shape.Snapshot()
	runtime.GC()
	before := processor()
	began := time.Now()
	plan := c.planner.Step(c.now, changes)
	c.took, c.cpu, c.plan = time.Since(began), processor()-before, len(plan.Decisions)
	c.echo(plan.Decisions)
	afterPlacing()
	return c
}

// step plans, and has what was decided come back.
func (c *cluster) step(changes []record.Change) (planner.Plan, time.Duration) {
	began := time.Now()
	plan := c.planner.Step(c.now, changes)
	took := time.Since(began)
	c.echo(plan.Decisions)
	return plan, took
}

// echoes is how many decisions come back at a time.
const echoes = 1000

// echo tells the planner what it decided, and that the agents did it.
func (c *cluster) echo(decisions []planner.Decision) {
	for some := range slices.Chunk(decisions, echoes) {
		changes := make([]record.Change, 0, 2*len(some))
		for _, d := range some {
			switch d := d.(type) {
			case planner.Place:
				on := c.placed[d.Machine]
				if on == nil {
					on = map[unit.Name]struct{}{}
					c.placed[d.Machine] = on
				}
				on[d.Unit] = struct{}{}
				changes = append(changes, record.PlacementChange{Key: d.Key, New: &d.Spec},
					record.StateChange{Key: d.Key, New: &record.State{Spec: d.Spec, SystemdState: unit.SystemdState{Active: "active"}}})
			case planner.Withdraw:
				delete(c.placed[d.Machine], d.Unit)
				changes = append(changes, record.PlacementChange{Key: d.Key, New: &record.Spec{Target: unit.TargetNone}})
			default:
				panic(fmt.Sprintf("unexpected: %v", d))
			}
		}
		if plan := c.planner.Step(c.now, changes); len(plan.Decisions) > 0 {
			panic(fmt.Sprintf("the echo of decisions made %d decisions: %v", len(plan.Decisions), plan.Decisions[0]))
		}
	}
}

// lose takes machines away, as a lease's end does: with all that they said.
func (c *cluster) lose(ids ...machine.ID) (planner.Plan, time.Duration) {
	var changes []record.Change
	for _, id := range ids {
		for name := range c.placed[id] {
			changes = append(changes, record.StateChange{Key: record.Key{Machine: id, Unit: name}})
		}
		changes = append(changes, record.MachineChange{ID: id})
	}
	return c.step(changes)
}

// balance gives the fewest and the most units on a machine.
func (c *cluster) balance() (least, most int) {
	least = math.MaxInt
	for _, on := range c.placed {
		least, most = min(least, len(on)), max(most, len(on))
	}
	return least, most
}

// caseAll places a million units, then changes little things.
func caseAll(scale int) []row {
	shape := million(scale)
	c := lead(shape)
	rows := []row{
		{Figure: "place " + shape.String(), Value: c.took.Seconds(), Unit: "s", Limit: 10},
		{Figure: "the same in processor time", Value: c.cpu.Seconds(), Unit: "s", Limit: 10},
		{Figure: "decisions a second", Value: float64(c.plan) / c.took.Seconds(), Unit: "/s", Limit: 100000, AtLeast: true},
		{Figure: "decisions missing", Value: float64(shape.Decisions() - c.plan), Unit: "", Limit: 0},
		{Figure: "peak memory, resident", Value: resident(), Unit: "MiB", Limit: 2048},
	}
	least, most := c.balance()
	rows = append(rows, row{Figure: "units on a machine, most less fewest, with constraints", Value: float64(most - least)})
	rows = append(rows, c.measureNothing()...)
	rows = append(rows, c.measureAdded()...)
	return append(rows, c.measureLost()...)
}

// measureNothing measures an event that changes nothing.
func (c *cluster) measureNothing() []row {
	id := load.MachineID(c.shape.Machines / 2)
	var key record.Key
	var state record.State
	for name := range c.placed[id] {
		key = record.Key{Machine: id, Unit: name}
		if _, told := name.Template(); told {
			break
		}
	}
	var t, n int
	if _, err := fmt.Sscanf(string(key.Unit), "app%d@%d", &t, &n); err == nil {
		state.File = unit.HashOf(c.shape.Text(t))
	}
	state.Target = unit.TargetLaunched
	const rounds = 1000
	changes := make([][]record.Change, rounds)
	for i := range changes {
		s := state
		s.Sub = fmt.Sprint("running", i)
		changes[i] = []record.Change{record.StateChange{Key: key, New: &s}}
	}
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	began := time.Now()
	for _, ch := range changes {
		c.planner.Step(c.now, ch)
	}
	took := time.Since(began)
	runtime.ReadMemStats(&after)
	return []row{
		{Figure: "an event that changes nothing", Value: micro(took / rounds), Unit: "µs"},
		{Figure: "what it allocates", Value: float64(after.TotalAlloc-before.TotalAlloc) / rounds, Unit: "bytes"},
	}
}

// measureAdded measures how long one more unit takes, of every template in turn.
func (c *cluster) measureAdded() []row {
	const rounds = 2000
	var took []time.Duration
	for i := range rounds {
		plan, t := c.step([]record.Change{c.shape.Instance(i%c.shape.Templates, c.shape.Instances+i/c.shape.Templates)})
		// What follows an instance that isn't there fits nowhere.
		if len(plan.Decisions) > 1 {
			panic(fmt.Sprintf("one unit made %d decisions", len(plan.Decisions)))
		}
		took = append(took, t)
	}
	return []row{
		{Figure: "one unit added, median", Value: micro(quantile(took, 0.5)), Unit: "µs", Limit: 50},
		{Figure: "one unit added, p99", Value: micro(quantile(took, 0.99)), Unit: "µs", Limit: 1000},
	}
}

// measureLost measures the loss of one machine, and of one in a hundred.
func (c *cluster) measureLost() []row {
	const rounds = 20
	var took []time.Duration
	for i := range rounds {
		_, t := c.lose(load.MachineID(i * c.shape.Machines / (rounds + 1)))
		took = append(took, t)
	}
	var many, cpu []time.Duration
	decisions := 0
	for round := range 9 {
		var ids []machine.ID
		for i := range c.shape.Machines / 100 {
			ids = append(ids, load.MachineID(i*100+10*round+5))
		}
		before := processor()
		plan, t := c.lose(ids...)
		many, cpu, decisions = append(many, t), append(cpu, processor()-before), len(plan.Decisions)
	}
	return []row{
		{Figure: "one machine lost, median", Value: milli(quantile(took, 0.5)), Unit: "ms", Limit: 5},
		{Figure: "one machine lost, worst of 20", Value: milli(slices.Max(took)), Unit: "ms", Limit: 5},
		{Figure: "1% of the machines lost, median of 9", Value: milli(quantile(many, 0.5)), Unit: "ms", Limit: 150},
		{Figure: "the same in processor time, echo included", Value: milli(quantile(cpu, 0.5)), Unit: "ms"},
		{Figure: "decisions of that", Value: float64(decisions)},
	}
}

// casePlain places as much without constraints.
func casePlain(scale int) []row {
	shape := million(scale)
	shape.Kind = load.Plain
	c := lead(shape)
	least, most := c.balance()
	return []row{
		{Figure: "place " + shape.String() + " without constraints", Value: c.took.Seconds(), Unit: "s", Limit: 10},
		{Figure: "the same in processor time", Value: c.cpu.Seconds(), Unit: "s", Limit: 10},
		{Figure: "units on a machine, most less fewest", Value: float64(most - least), Limit: 1},
	}
}

// casePacked places units that all want a machine for themselves among their
// like, and there are exactly so many machines.
func casePacked(scale int) []row {
	shape := load.Shape{Templates: 100, Instances: 10000 / scale, Machines: 10000 / scale, Kind: load.Apart}
	c := lead(shape)
	rows := []row{{Figure: "fully packed: each template on every machine", Value: c.took.Seconds(), Unit: "s", Limit: 20},
		{Figure: "the same in processor time", Value: c.cpu.Seconds(), Unit: "s", Limit: 20}}
	if c.plan != shape.Units() {
		panic(fmt.Sprintf("%d decisions for %d units", c.plan, shape.Units()))
	}
	_, t := c.lose(load.MachineID(1))
	return append(rows, row{Figure: "fully packed: one machine lost", Value: milli(t), Unit: "ms", Limit: 10})
}

// caseNowhere has units besides that fit nowhere, of three kinds.
func caseNowhere(scale int) []row {
	shape := million(scale)
	var more []record.Change
	for i, n := 0, 10000/scale; i < n; i++ {
		rule := []string{"MachineMetadata=key00=none", "Conflicts=everywhere*", "MachineOf=nobody.service"}[i%3]
		more = append(more, load.Added(unit.Name(fmt.Sprintf("nowhere%d@%d.service", i%30, i)), "[X-Fleet]\n"+rule+"\n")...)
	}
	c := lead(shape)
	plan, took := c.step(more) // later: the Conflicts of some would keep the global units away
	rows := []row{
		{Figure: "place all, then 10,000 units that fit nowhere", Value: (c.took + took).Seconds(), Unit: "s", Limit: 20},
		{Figure: "the latter alone", Value: milli(took), Unit: "ms"},
		{Figure: "placed by mistake", Value: float64(len(plan.Decisions))},
	}
	return append(rows, prefixed("10,000 fit nowhere: ", slices.Concat(c.measureNothing(), c.measureAdded(), c.measureLost()))...)
}

// caseSweep places clusters of growing size, and fits an exponent.
func caseSweep(scale int) []row {
	var rows []row
	var x, y []float64
	for _, shape := range []load.Shape{
		{Templates: 100, Instances: 10, Globals: 10, Machines: 100},
		{Templates: 100, Instances: 100, Globals: 10, Machines: 1000},
		{Templates: 100, Instances: 1000, Globals: 10, Machines: 10000},
		{Templates: 1000, Instances: 1000, Globals: 10, Machines: 10000},
	} {
		if shape.Units() > 1000000/scale {
			break
		}
		best := time.Duration(math.MaxInt64)
		plan := 0
		for range max(1, min(20, 100000/shape.Units())) {
			c := lead(shape)
			best, plan = min(best, c.cpu), c.plan
		}
		rows = append(rows, row{Figure: "place " + shape.String() + ", processor time", Value: best.Seconds(), Unit: "s"},
			row{Figure: "a decision", Value: micro(best) / float64(plan), Unit: "µs"})
		x, y = append(x, math.Log(float64(plan))), append(y, math.Log(best.Seconds()))
	}
	return append(rows, row{Figure: "exponent of time over decisions", Value: slope(x, y), Limit: 1.1})
}

// slope of the line that fits the points best.
func slope(x, y []float64) float64 {
	var sx, sy, sxx, sxy float64
	for i := range x {
		sx, sy, sxx, sxy = sx+x[i], sy+y[i], sxx+x[i]*x[i], sxy+x[i]*y[i]
	}
	n := float64(len(x))
	return (n*sxy - sx*sy) / (n*sxx - sx*sx)
}

func quantile(took []time.Duration, q float64) time.Duration {
	took = slices.Sorted(slices.Values(took))
	return took[int(q*float64(len(took)-1))]
}

func micro(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e3 }

func milli(d time.Duration) float64 { return float64(d.Nanoseconds()) / 1e6 }

func prefixed(with string, rows []row) []row {
	for i := range rows {
		rows[i].Figure = with + strings.TrimSpace(rows[i].Figure)
	}
	return rows
}
