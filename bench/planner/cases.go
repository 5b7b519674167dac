package main

import (
	"fmt"
	"runtime"
	"slices"
	"time"

	"github.com/fleet-project/fleet/bench/figure"
	"github.com/fleet-project/fleet/bench/load"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// million is the load that the figures are wanted for.
func (b *bench) million() load.Shape {
	return load.Shape{Templates: 1000 / b.scale, Instances: 1000, Globals: 10, Machines: 10000 / b.scale}
}

func reportOf(figures ...figure.Figure) *figure.Report {
	var r figure.Report
	r.Add(subject, figures...)
	return &r
}

func seconds(name string, d time.Duration, want *figure.Want) figure.Figure {
	return figure.Figure{Name: name, Value: d.Seconds(), Unit: "s", Want: want}
}

func millis(name string, d time.Duration, want *figure.Want) figure.Figure {
	return figure.Figure{Name: name, Value: figure.Millis(d), Unit: "ms", Want: want}
}

func micros(name string, d time.Duration, want *figure.Want) figure.Figure {
	return figure.Figure{Name: name, Value: figure.Micros(d), Unit: "µs", Want: want}
}

// all places a million units, then changes little things.
func (b *bench) all() *figure.Report {
	shape := b.million()
	c := b.lead(shape)
	place := seconds(ordinary, c.cost.wall, figure.AtMost(10))
	place.Note = fmt.Sprintf("%v, %d global units beside them", shape, shape.Globals)
	least, most := c.balance()
	spread := figure.Figure{Name: "units on a machine, most less fewest", Value: float64(most - least),
		Note: "some units can't go everywhere, and what follows another has no choice at all"}
	figures := []figure.Figure{
		place,
		seconds(ordinary+inCPU, c.cost.cpu, nil),
		{Name: "decisions a second", Value: float64(c.plan) / c.cost.wall.Seconds(), Unit: "/s", Want: figure.AtLeast(100000)},
		{Name: "units placed nowhere", Value: float64(shape.Decisions() - c.plan), Want: figure.AtMost(0)},
		{Name: "peak memory, resident", Value: resident(), Unit: "MiB", Want: figure.AtMost(2048)},
		spread,
	}
	return reportOf(slices.Concat(figures, c.measureNothing(""), c.measureAdded(""), c.measureJoined(), c.measureLost(""))...)
}

// measureNothing measures an event that changes nothing: a state that only
// systemd's account differs in.
func (c *cluster) measureNothing(with string) []figure.Figure {
	id := load.MachineID(c.shape.Machines / 2)
	var key record.Key
	var state record.State
	for name := range c.placed[id] {
		var t, n int
		if _, err := fmt.Sscanf(string(name), "app%d@%d", &t, &n); err == nil {
			key, state.File = record.Key{Machine: id, Unit: name}, unit.HashOf(c.shape.Text(t))
			break
		}
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
	return []figure.Figure{
		micros(with+"an event that changes nothing", took/rounds, nil),
		{Name: with + "what it allocates", Value: float64(after.TotalAlloc-before.TotalAlloc) / rounds, Unit: "bytes", Want: figure.AtMost(1024)},
	}
}

// added adds one more unit, of every template in turn.
func (c *cluster) added(i int) time.Duration {
	template, instance := i%c.shape.Templates, c.shape.Instances+i/c.shape.Templates
	plan, t := c.step(c.shape.Instance(template, instance))
	// The instance that it follows, if any, was added just before. Only with -scale
	// is there no machine left for one that conflicts with its like.
	if len(plan.Decisions) != 1 && instance < c.shape.Machines {
		panic(fmt.Sprintf("%s made %d decisions", load.Name(template, instance), len(plan.Decisions)))
	}
	return t
}

func (c *cluster) measureAdded(with string) []figure.Figure {
	const rounds = 2000
	var took []time.Duration
	for i := range rounds {
		took = append(took, c.added(i))
	}
	return []figure.Figure{
		micros(with+"one unit added, p50", figure.Quantile(took, 0.5), figure.AtMost(50)),
		micros(with+"one unit added, p99", figure.Quantile(took, 0.99), figure.AtMost(1000)),
	}
}

// measureJoined measures how long a machine takes to join, which gets all global
// units, and the first units after that.
func (c *cluster) measureJoined() []figure.Figure {
	const rounds, after = 50, 20
	var took, units []time.Duration
	for i := range rounds {
		plan, t := c.join(c.shape.Machines + i)
		if len(plan.Decisions) < c.shape.Globals {
			panic(fmt.Sprintf("a machine that joined made %d decisions", len(plan.Decisions)))
		}
		took = append(took, t)
		for n := range after {
			units = append(units, c.added(2000+i*after+n))
		}
	}
	return []figure.Figure{
		millis("a machine joins, p50", figure.Quantile(took, 0.5), figure.AtMost(1)),
		millis("a machine joins, slowest of 50", slices.Max(took), nil),
		micros("one unit added after that, p50", figure.Quantile(units, 0.5), figure.AtMost(50)),
		micros("one unit added after that, p99", figure.Quantile(units, 0.99), figure.AtMost(1000)),
	}
}

// measureLost measures the loss of one machine, and of one in a hundred.
func (c *cluster) measureLost(with string) []figure.Figure {
	const rounds = 20
	var took []time.Duration
	for i := range rounds {
		id := load.MachineID(i * c.shape.Machines / (rounds + 1))
		held := len(c.placed[id])
		plan, t := c.lose(id)
		// All come back elsewhere but the global ones, and each is taken away where it was.
		if len(plan.Decisions) < held {
			panic(fmt.Sprintf("of %d units of a machine that was lost, %d decisions were made", held, len(plan.Decisions)))
		}
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
	percent := millis(with+"1% of the machines lost, p50", figure.Quantile(many, 0.5), figure.AtMost(150))
	percent.Note = fmt.Sprintf("%d decisions; with their echo it is %s ms of processor time", decisions, figure.Number(figure.Millis(figure.Quantile(cpu, 0.5))))
	return []figure.Figure{
		millis(with+"one machine lost, p50", figure.Quantile(took, 0.5), figure.AtMost(5)),
		millis(with+"one machine lost, slowest of 20", slices.Max(took), figure.AtMost(5)),
		percent,
	}
}
