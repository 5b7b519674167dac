// Command fleetctl measures how fast the shipped fleetctl is there: its start,
// beside that of the least program in Go, and a list of 100 units, beside a bare
// HTTP request of the same answer. All programs are processes of their own, built
// in the same way (make build), and run in turns, so that what disturbs one
// disturbs the others as well.
package main

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/fleet-project/fleet/bench/figure"
)

const (
	subject = "fleetctl"
	units   = 100
)

func main() {
	program := flag.String("fleetctl", "bin/fleetctl", "the program to measure")
	runs := flag.Int("runs", 200, "how often each is run")
	out := flag.String("out", "", "write the figures to this file, for bench/table")
	flag.Parse()
	if err := run(*program, *out, *runs); err != nil {
		fmt.Fprintln(os.Stderr, "fleetctl:", err)
		os.Exit(1)
	}
}

func run(program, out string, runs int) (err error) {
	if _, err := os.Stat(program); err != nil {
		return fmt.Errorf("there is no %s to measure: make build", program)
	}
	dir, err := os.MkdirTemp("", "bench-fleetctl")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	build := exec.Command("go", "build", "-trimpath", "-ldflags", "-s -w", "-o", dir+"/", "./bench/fleetctl/hello", "./bench/fleetctl/get")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("building the floors: %w: %s", err, bytes.TrimSpace(text))
	}
	socket := filepath.Join(dir, "fleet.sock")
	stop, err := stillCluster(units).serve(socket)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, stop()) }()
	report, err := measure(program, filepath.Join(dir, "hello"), filepath.Join(dir, "get"), socket, runs)
	if err != nil {
		return err
	}
	fmt.Print(report)
	if out == "" {
		return nil
	}
	return report.Write(out)
}

// url is what list-units asks for.
const url = "http://fleetd/fleet/v1/state"

func measure(fleetctl, hello, get, socket string, runs int) (*figure.Report, error) {
	version := command{args: []string{fleetctl, "version"}, want: "fleetctl version"}
	floor := command{args: []string{hello}, want: "hello"}
	nothing := command{args: []string{"/bin/true"}}
	list := command{args: []string{fleetctl, "--endpoint", "unix://" + socket, "list-units", "--no-legend"}, want: "running"}
	bare := command{args: []string{get, socket, url}, want: `"states"`}
	if err := inTurns(runs, &version, &floor, &nothing, &list, &bare); err != nil {
		return nil, err
	}
	here, err := inProcess(socket, runs)
	if err != nil {
		return nil, err
	}
	r := &figure.Report{}
	least := &figure.Beside{Name: "hello-world in Go", Value: floor.wall(0.5)}
	r.Add(subject,
		figure.Figure{Name: "version, a start from nothing", Value: version.wall(0.5), Unit: "ms", Beside: least, Want: figure.AtMost(15)},
		figure.Figure{Name: "version, p99", Value: version.wall(0.99), Unit: "ms", Beside: &figure.Beside{Name: least.Name, Value: floor.wall(0.99)}},
		figure.Figure{Name: "version, processor time", Value: version.cpu(), Unit: "ms", Beside: &figure.Beside{Name: least.Name, Value: floor.cpu()}},
		figure.Figure{Name: "/bin/true", Value: nothing.wall(0.5), Unit: "ms"})
	request := &figure.Beside{Name: "GET in a process of its own", Value: bare.wall(0.5)}
	r.Add(subject,
		figure.Figure{Name: fmt.Sprintf("list-units of %d units", units), Value: list.wall(0.5), Unit: "ms", Beside: request, Want: figure.AtMost(1.5 * request.Value),
			Note: "both are processes that start from nothing; without that, the GET is the last row"},
		figure.Figure{Name: "list-units, p99", Value: list.wall(0.99), Unit: "ms", Beside: &figure.Beside{Name: request.Name, Value: bare.wall(0.99)}},
		figure.Figure{Name: "list-units, processor time", Value: list.cpu(), Unit: "ms", Beside: &figure.Beside{Name: request.Name, Value: bare.cpu()}},
		figure.Figure{Name: "the same GET on an open connection", Value: figure.Millis(figure.Quantile(here, 0.5)), Unit: "ms"})
	return r, nil
}

// command is a program that is run again and again.
type command struct {
	args []string
	want string // what it must say; a program that fails quickly is no figure
	took []time.Duration
	used []time.Duration // processor time
}

func (c *command) wall(q float64) float64 { return figure.Millis(figure.Quantile(c.took, q)) }
func (c *command) cpu() float64           { return figure.Millis(figure.Quantile(c.used, 0.5)) }

// inTurns runs each command so many times, one after the other; a round before is
// for the disk's cache.
func inTurns(runs int, commands ...*command) error {
	for i := range runs + 1 {
		for _, c := range commands {
			took, used, err := c.run()
			if err != nil {
				return err
			}
			if i > 0 {
				c.took, c.used = append(c.took, took), append(c.used, used)
			}
		}
	}
	return nil
}

// run runs it once, as a shell does.
func (c *command) run() (took, used time.Duration, err error) {
	var said, wrong bytes.Buffer
	cmd := exec.Command(c.args[0], c.args[1:]...)
	cmd.Stdout, cmd.Stderr = &said, &wrong
	began := time.Now()
	err = cmd.Run()
	took = time.Since(began)
	if err != nil {
		return 0, 0, fmt.Errorf("%v: %w: %s", c.args, err, bytes.TrimSpace(wrong.Bytes()))
	}
	if !bytes.Contains(said.Bytes(), []byte(c.want)) {
		return 0, 0, fmt.Errorf("%v said %q, without %q", c.args, said.Bytes(), c.want)
	}
	return took, cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime(), nil
}
