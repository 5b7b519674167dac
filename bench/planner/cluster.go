package main

import (
	"fmt"
	"math"
	"os"
	"runtime"
	"runtime/pprof"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/fleet-project/fleet/bench/load"
	"github.com/fleet-project/fleet/engine/planner"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// cluster is a planner that leads a cluster, with what the caller must know of
// it to go on.
type cluster struct {
	shape   load.Shape
	planner *planner.Planner
	now     time.Time
	placed  map[machine.ID]map[unit.Name]struct{}
	cost    cost // of the first plan
	plan    int  // its decisions
}

// cost is what a plan took. On a machine that others use as well, the processor
// time tells more.
type cost struct{ wall, cpu time.Duration }

func newPlanner() *planner.Planner { return planner.New(planner.Config{Grace: 30 * time.Second}) }

// lead has a new planner place everything.
func (b *bench) lead(shape load.Shape) *cluster {
	c := &cluster{shape: shape, planner: newPlanner(), now: time.Unix(1e9, 0), placed: map[machine.ID]map[unit.Name]struct{}{}}
	var plan planner.Plan
	plan, c.cost = b.profiled(c, shape.Snapshot())
	c.plan = len(plan.Decisions)
	c.echo(plan.Decisions)
	if b.mem != "" {
		writeProfile(b.mem, func(f *os.File) error {
			runtime.GC()
			return pprof.WriteHeapProfile(f)
		})
	}
	return c
}

// profiled plans a first time, and profiles that.
func (b *bench) profiled(c *cluster, snapshot []record.Change) (plan planner.Plan, took cost) {
	runtime.GC()
	step := func() {
		before, began := processor(), time.Now()
		plan = c.planner.Step(c.now, snapshot)
		took = cost{wall: time.Since(began), cpu: processor() - before}
	}
	if b.cpu == "" {
		step()
		return plan, took
	}
	writeProfile(b.cpu, func(f *os.File) error {
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		step()
		pprof.StopCPUProfile()
		return nil
	})
	return plan, took
}

// writeProfile has a file written.
func writeProfile(to string, write func(*os.File) error) {
	f, err := os.Create(to)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	if err := write(f); err != nil {
		panic(err)
	}
}

// step plans, and has what was decided come back.
func (c *cluster) step(changes ...record.Change) (planner.Plan, time.Duration) {
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
		if plan := c.planner.Step(c.now, c.answers(some)); len(plan.Decisions) > 0 {
			panic(fmt.Sprintf("the echo of decisions made %d decisions: %v", len(plan.Decisions), plan.Decisions[0]))
		}
	}
}

// answers gives what follows from decisions: that they are written, and carried
// out.
func (c *cluster) answers(decisions []planner.Decision) []record.Change {
	changes := make([]record.Change, 0, 2*len(decisions))
	for _, d := range decisions {
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
	return changes
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
	return c.step(changes...)
}

// join brings a machine in.
func (c *cluster) join(i int) (planner.Plan, time.Duration) {
	m := c.shape.Machine(i)
	return c.step(record.MachineChange{ID: m.ID, New: &m})
}

// balance gives the fewest and the most units on a machine of the shape's.
func (c *cluster) balance() (least, most int) {
	least = math.MaxInt
	for i := range c.shape.Machines {
		n := len(c.placed[load.MachineID(i)])
		least, most = min(least, n), max(most, n)
	}
	return least, most
}

// processor is the processor time that this process had.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// resident is the most memory that this process ever had, in MiB.
func resident() float64 {
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(status)) {
		if kib, ok := strings.CutPrefix(line, "VmHWM:"); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(kib), " kB"))
			if err != nil {
				panic(err)
			}
			return float64(n) / 1024
		}
	}
	panic("/proc/self/status has no VmHWM")
}
