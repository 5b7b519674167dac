// Command planner measures the planner in process, at a million units on ten
// thousand machines, and prints a table: figure, what is wanted, ratio. Each
// case runs in a process of its own, so that its memory is its own as well.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"syscall"
	"text/tabwriter"
	"time"
)

// row is a line of the table.
type row struct {
	Figure string
	Value  float64
	Unit   string
	// Limit is what is wanted: at most that, or at least. With neither, the
	// figure is told for what it is.
	Limit   float64
	AtLeast bool
}

// cases by name, in the order of the table.
var cases = []struct {
	name string
	run  func(scale int) []row
}{
	{"all", caseAll},
	{"plain", casePlain},
	{"packed", casePacked},
	{"nowhere", caseNowhere},
	{"sweep", caseSweep},
}

func main() {
	one := flag.String("case", "", "run one case in this process: all, plain, packed, nowhere or sweep")
	scale := flag.Int("scale", 1, "divide the million units and the ten thousand machines by this")
	cpu := flag.String("cpuprofile", "", "with -case: write a CPU profile to this file")
	mem := flag.String("memprofile", "", "with -case: write what is in memory after placing everything to this file")
	asJSON := flag.Bool("json", false, "print rows as JSON")
	flag.Parse()
	if *mem != "" {
		runtime.MemProfileRate = 16 << 10
		afterPlacing = func() { writeHeap(*mem) }
	}
	if err := run(*one, *scale, *cpu, *asJSON); err != nil {
		fmt.Fprintln(os.Stderr, "planner:", err)
		os.Exit(1)
	}
}

// afterPlacing is called when a case has placed everything.
var afterPlacing = func() {}

// writeHeap writes what is in memory.
func writeHeap(to string) {
	f, err := os.Create(to)
	if err != nil {
		panic(err)
	}
	defer f.Close()
	runtime.GC()
	if err := pprof.WriteHeapProfile(f); err != nil {
		panic(err)
	}
}

func run(one string, scale int, cpu string, asJSON bool) error {
	var rows []row
	for _, c := range cases {
		if one != "" && one != c.name {
			continue
		}
		more, err := measure(c.name, c.run, one != "", scale, cpu)
		if err != nil {
			return fmt.Errorf("case %s: %w", c.name, err)
		}
		rows = append(rows, more...)
	}
	if len(rows) == 0 {
		return fmt.Errorf("no case is called %q", one)
	}
	if asJSON {
		return json.NewEncoder(os.Stdout).Encode(rows)
	}
	return table(rows)
}

// measure runs a case, here or in a process of its own.
func measure(name string, run func(int) []row, here bool, scale int, cpu string) ([]row, error) {
	if here {
		if cpu != "" {
			f, err := os.Create(cpu)
			if err != nil {
				return nil, err
			}
			if err := pprof.StartCPUProfile(f); err != nil {
				return nil, err
			}
			defer pprof.StopCPUProfile()
		}
		return run(scale), nil
	}
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	cmd := exec.Command(self, "-json", "-case", name, "-scale", strconv.Itoa(scale))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, err
	}
	var rows []row
	return rows, json.Unmarshal(out, &rows)
}

// table prints the rows, each with its ratio to what is wanted.
func table(rows []row) error {
	w := tabwriter.NewWriter(os.Stdout, 0, 0, 2, ' ', 0)
	fmt.Fprintln(w, "figure\tmeasured\twanted\tratio")
	for _, r := range rows {
		wanted, ratio := "", ""
		if r.Limit != 0 {
			wanted, ratio = "at most ", number(r.Value/r.Limit)
			if r.AtLeast {
				wanted = "at least "
			}
			wanted += number(r.Limit) + " " + r.Unit
		}
		fmt.Fprintf(w, "%s\t%s %s\t%s\t%s\n", r.Figure, number(r.Value), r.Unit, wanted, ratio)
	}
	return w.Flush()
}

func number(v float64) string {
	if v >= 100 || v == float64(int(v)) {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'g', 3, 64)
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
