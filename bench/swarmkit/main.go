// Command swarmkit measures the scheduler of Docker's swarm mode beside fleet's
// planner: the nearest equal load, in process, with SwarmKit's own store in
// memory and no Raft, as the planner is measured without etcd. It is a module
// of its own, so that fleet doesn't depend on SwarmKit.
//
// The loads differ in what one of both doesn't have: a unit that conflicts with
// its like is a service of at most one replica a node; MachineOf has no equal;
// a global service's tasks come with their nodes, so there are none.
package main

import (
	"flag"
	"fmt"
	"os"
	"time"
)

// sizes are those of the planner's sweep; the last is left to those who have the time.
var sizes = []size{
	{services: 100, replicas: 10, nodes: 100},
	{services: 100, replicas: 100, nodes: 1000},
	{services: 100, replicas: 1000, nodes: 10000},
	{services: 1000, replicas: 1000, nodes: 10000},
}

func main() {
	out := flag.String("out", "", "write the report to this file")
	fleet := flag.String("fleet", "", "the report of bench/planner in the same run, to set beside")
	most := flag.Duration("most", 90*time.Second, "leave a size out that would take longer than this, at the pace of the one before")
	flag.Parse()
	if err := run(*out, *fleet, *most); err != nil {
		fmt.Fprintln(os.Stderr, "swarmkit:", err)
		os.Exit(1)
	}
}

func run(out, fleet string, most time.Duration) error {
	planner, err := readSweep(fleet)
	if err != nil {
		return err
	}
	var r report
	decided := series{Subject: "planner", Name: "SwarmKit places all, processor time", XLabel: "units", YLabel: "s"}
	written := decided
	written.Name = "SwarmKit places all and writes to its store, processor time"
	var pace time.Duration // of a task
	for _, s := range sizes {
		if expect := pace * time.Duration(s.tasks()); expect > most {
			left := fmt.Sprintf("%s left out: about %s at this pace", s, expect.Round(10*time.Second))
			fmt.Println(left)
			r.Figures[len(r.Figures)-1].Note = left
			break
		}
		t, err := best(s)
		if err != nil {
			return err
		}
		fmt.Printf("%s: decided in %s (%s of processor time), written in %s (%s)\n", s, round(t.decided.wall), round(t.decided.cpu), round(t.all.wall), round(t.all.cpu))
		pace = t.all.wall / time.Duration(s.tasks())
		n := float64(s.tasks())
		decided.Points = append(decided.Points, point{n, t.decided.cpu.Seconds()})
		written.Points = append(written.Points, point{n, t.all.cpu.Seconds()})
		r.compare(s, t, planner)
	}
	r.Series = []series{decided, written}
	return r.write(out)
}

// best is the least of some runs, of small sizes more than of large ones.
func best(s size) (took, error) {
	var least took
	for i := range max(1, min(20, 20000/s.tasks())) {
		t, err := schedule(s)
		if err != nil {
			return t, err
		}
		if i == 0 || t.all.cpu < least.all.cpu {
			least = t
		}
	}
	return least, nil
}

func round(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
