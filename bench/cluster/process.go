package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"runtime/pprof"
	"strconv"
	"strings"
	"time"
)

// process is a part of the cluster that runs in a process of its own, so that
// its memory and its processor time are its own as well. It does what is written
// to its standard input, line by line, and ends with it.
type process struct {
	name  string
	cmd   *exec.Cmd
	in    io.WriteCloser
	lines *bufio.Scanner
}

// ready is what a process says when it is there.
const ready = "ready"

// begin starts a process without waiting until it is ready.
func begin(name string, program string, args ...string) (*process, error) {
	p := &process{name: name, cmd: exec.Command(program, args...)}
	p.cmd.Stderr = complaining{}
	var err error
	if p.in, err = p.cmd.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := p.cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	p.lines = bufio.NewScanner(out)
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	return p, nil
}

// complaining passes on what a process says on standard error, but for what etcd
// says of itself whatever its log level is.
type complaining struct{}

// Write is io.Writer's.
func (complaining) Write(text []byte) (int, error) {
	for line := range bytes.Lines(text) {
		if !bytes.Contains(line, []byte(`"level":"info"`)) {
			os.Stderr.Write(line)
		}
	}
	return len(text), nil
}

// awaitReady waits until the process says that it is there.
func (p *process) awaitReady() error {
	if !p.lines.Scan() || p.lines.Text() != ready {
		return fmt.Errorf("%s: ended, or said %q, before it was ready", p.name, p.lines.Text())
	}
	return nil
}

// ask has the process do something, and takes its answer.
func (p *process) ask(what string, into any) error {
	if _, err := fmt.Fprintln(p.in, what); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	if !p.lines.Scan() {
		return fmt.Errorf("%s ended when it was asked for %q", p.name, what)
	}
	return json.Unmarshal(p.lines.Bytes(), into)
}

// order has the process do something that has no answer but an error.
func (p *process) order(what string) error {
	var complaint string
	if err := p.ask(what, &complaint); err != nil {
		return err
	}
	if complaint != "" {
		return fmt.Errorf("%s: %s: %s", p.name, what, complaint)
	}
	return nil
}

// end lets the process end in order.
func (p *process) end() error {
	p.in.Close()
	late := time.AfterFunc(20*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer late.Stop()
	if err := p.cmd.Wait(); err != nil {
		return fmt.Errorf("%s: %w", p.name, err)
	}
	return nil
}

// kill ends the process at once, as a power cut would.
func (p *process) kill() {
	_ = p.cmd.Process.Kill()
	_ = p.cmd.Wait() // it was killed
}

// resident is the process's memory in MiB, now and the most there was.
func (p *process) resident() (now, most float64) {
	status := p.proc("status")
	return kibField(status, "VmRSS:"), kibField(status, "VmHWM:")
}

func (p *process) proc(file string) string {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file))
	if err != nil {
		return "" // it has ended
	}
	return string(text)
}

func kibField(status, name string) float64 {
	for line := range strings.Lines(status) {
		if kib, ok := strings.CutPrefix(line, name); ok {
			n, err := strconv.Atoi(strings.TrimSuffix(strings.TrimSpace(kib), " kB"))
			if err == nil {
				return float64(n) / 1024
			}
		}
	}
	return 0
}

// tick is the kernel's unit of processor time towards programs.
const tick = 10 * time.Millisecond

// processor is the processor time that the process had so far.
func (p *process) processor() time.Duration {
	_, stat, _ := strings.Cut(p.proc("stat"), ") ") // behind the program's name
	fields := strings.Fields(stat)
	if len(fields) < 13 {
		return 0
	}
	user, err1 := strconv.Atoi(fields[11])
	system, err2 := strconv.Atoi(fields[12])
	if errors.Join(err1, err2) != nil {
		return 0
	}
	return time.Duration(user+system) * tick
}

// obey is what a process of ours does: it says that it is ready, answers each
// line of its standard input, and ends with it.
func obey(ctx context.Context, commands map[string]func() any) error {
	fmt.Println(ready)
	asked := make(chan string)
	go func() { // ends with the process: a read of a pipe can't be interrupted
		defer close(asked)
		for lines := bufio.NewScanner(os.Stdin); lines.Scan(); {
			asked <- lines.Text()
		}
	}()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case line, open := <-asked:
			if !open {
				return errEnd
			}
			answer, err := json.Marshal(answerTo(line, commands))
			if err != nil {
				return err
			}
			fmt.Println(string(answer))
		}
	}
}

// errEnd ends a process in order.
var errEnd = errors.New("there is nothing more to do")

// ended turns the end of a process in order into no error.
func ended(err error) error {
	if errors.Is(err, errEnd) {
		return nil
	}
	return err
}

// answerTo answers a line: a command's name, or "cpu FILE" and "heap FILE" for
// profiles.
func answerTo(line string, commands map[string]func() any) any {
	name, file, _ := strings.Cut(line, " ")
	if do := commands[name]; do != nil {
		return do()
	}
	switch name {
	case "cpu":
		f, err := os.Create(file)
		if err == nil {
			err = pprof.StartCPUProfile(f)
		}
		return said(err)
	case "stop":
		pprof.StopCPUProfile()
		return ""
	case "heap":
		f, err := os.Create(file)
		if err != nil {
			return said(err)
		}
		defer f.Close()
		runtime.GC()
		return said(pprof.WriteHeapProfile(f))
	}
	return "unknown: " + line
}

func said(err error) string {
	if err != nil {
		return err.Error()
	}
	return ""
}
