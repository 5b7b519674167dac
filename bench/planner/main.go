// Command planner measures the planner in process, at a million units on ten
// thousand machines: beside what was promised, and beside itself where it has it
// harder. Each case runs in a process of its own, so that its memory is its own as
// well.
package main

import (
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"

	"github.com/fleet-project/fleet/bench/figure"
)

const subject = "planner"

// cases by name, in the order of the table.
var cases = []struct {
	name string
	run  func(*bench) *figure.Report
}{
	{"all", (*bench).all},
	{"plain", (*bench).plain},
	{"packed", (*bench).packed},
	{"nowhere", (*bench).nowhere},
	{"takeover", (*bench).takeover},
	{"sweep", (*bench).sweep},
	{"equal", (*bench).equal},
}

// bench is how to measure.
type bench struct {
	scale    int    // divides the million units and the ten thousand machines
	cpu, mem string // files to profile to
}

func main() {
	var b bench
	one := flag.String("case", "", "run one case in this process: all, plain, packed, nowhere, takeover, sweep or equal")
	out := flag.String("out", "", "write the figures to this file as JSON")
	flag.IntVar(&b.scale, "scale", 1, "divide the million units and the ten thousand machines by this")
	flag.StringVar(&b.cpu, "cpuprofile", "", "with -case: write a CPU profile of placing everything to this file")
	flag.StringVar(&b.mem, "memprofile", "", "with -case: write what is in memory after that to this file")
	flag.Parse()
	if err := b.run(*one, *out); err != nil {
		fmt.Fprintln(os.Stderr, "planner:", err)
		os.Exit(1)
	}
}

func (b *bench) run(one, out string) error {
	report, err := b.measure(one)
	if err != nil {
		return err
	}
	compare(report)
	fmt.Print(report)
	if out != "" {
		return report.Write(out)
	}
	return nil
}

// measure runs one case here, or all in processes of their own.
func (b *bench) measure(one string) (*figure.Report, error) {
	if one != "" {
		for _, c := range cases {
			if c.name == one {
				return c.run(b), nil
			}
		}
		return nil, fmt.Errorf("no case is called %q", one)
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "bench-planner")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	var paths []string
	for _, c := range cases {
		path := filepath.Join(dir, c.name)
		cmd := exec.Command(self, "-case", c.name, "-scale", strconv.Itoa(b.scale), "-out", path)
		cmd.Stderr = os.Stderr
		if err := cmd.Run(); err != nil {
			return nil, fmt.Errorf("case %s: %w", c.name, err)
		}
		paths = append(paths, path)
	}
	return figure.Read(paths...)
}

// Names of figures that are compared.
const (
	ordinary   = "place all"
	inCPU      = ", processor time"
	packed     = "fully packed: place all"
	unplaced   = "with units that fit nowhere: place all"
	twiceThat  = 2
	besideName = "ordinary"
)

// compare holds what is harder beside the ordinary, of the same run.
func compare(report *figure.Report) {
	values := map[string]float64{}
	for _, f := range report.Figures {
		values[f.Name] = f.Value
	}
	for i := range report.Figures {
		f := &report.Figures[i]
		for _, harder := range []string{packed, unplaced} {
			for _, kind := range []string{"", inCPU} {
				if with, ok := values[ordinary+kind]; ok && f.Name == harder+kind {
					f.Beside = &figure.Beside{Name: besideName, Value: with}
					f.Want = figure.AtMost(twiceThat * with)
				}
			}
		}
	}
}
