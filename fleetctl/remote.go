package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/fleetctl/ssh"
	"github.com/fleet-project/fleet/unit"
	"golang.org/x/term"
)

// logTime bounds fetching the last log lines of a unit that failed: they are a
// courtesy.
const logTime = 3 * time.Second

// onHost says how to run something on a machine.
type onHost struct {
	machine api.Machine
	sshPort int
	forward bool // the SSH agent
	sudo    bool
	// courtesy: nobody asked for it, so the user isn't asked anything either.
	courtesy bool
}

// isLocal reports whether a machine is this host.
func (c *cli) isLocal(machine string) bool {
	text, err := os.ReadFile(c.machineIDFile)
	return err == nil && machine != "" && strings.TrimSpace(string(text)) == machine
}

// runOn runs a command on a machine, here or by SSH, and gives its exit code.
func (c *cli) runOn(ctx context.Context, h onHost, argv []string, io ssh.Streams) (int, error) {
	if h.sudo {
		argv = append([]string{"sudo"}, argv...)
	}
	if c.isLocal(h.machine.ID) {
		return c.runHere(ctx, argv, io)
	}
	client, err := c.sshTo(ctx, h)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	return client.Run(ctx, ssh.Quote(argv), io)
}

func (c *cli) runHere(ctx context.Context, argv []string, io ssh.Streams) (int, error) {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	// A command that shows something ends by itself at an interrupt; give it
	// the time to.
	cmd.Cancel = func() error { return cmd.Process.Signal(os.Interrupt) }
	cmd.WaitDelay = time.Second
	cmd.Stdin, cmd.Stdout, cmd.Stderr = io.Stdin, io.Stdout, io.Stderr
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case err == nil:
		return 0, nil
	case errors.As(err, &exit) && exit.Exited():
		return exit.ExitCode(), nil
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	}
	return 0, fmt.Errorf("%s: %w", argv[0], err)
}

// sshTo connects to a machine, through the tunnel if there is one.
func (c *cli) sshTo(ctx context.Context, h onHost) (*ssh.Client, error) {
	if h.machine.PrimaryIP == "" {
		return nil, failf("Machine %s has no address to reach it at", h.machine.ID)
	}
	cfg := c.sshConfig()
	cfg.ForwardAgent = h.forward
	if h.courtesy {
		cfg.Confirm, cfg.Warn = nil, nil
	}
	if c.flags.tunnel != "" {
		var err error
		if cfg.Through, err = c.openTunnel(ctx); err != nil {
			return nil, err
		}
	}
	return ssh.Dial(ctx, ssh.WithPort(h.machine.PrimaryIP, fmt.Sprint(h.sshPort)), cfg)
}

func (c *cli) sshConfig() ssh.Config {
	cfg := ssh.Config{
		User: c.flags.sshUser, Timeout: seconds(c.flags.sshTimeout),
		KnownHosts: c.flags.knownHosts, Strict: c.flags.strictHostKeys,
		Warn: func(text string) { c.errorf("%s", text) },
	}
	if c.terminal() {
		cfg.Confirm = c.confirmHost
	}
	return cfg
}

// confirmHost asks whether an unknown host's key is right.
func (c *cli) confirmHost(ctx context.Context, host, key string) bool {
	return c.ask(ctx, fmt.Sprintf("The host %s is unknown. Its key is %s.\nIs that right, and to be remembered (yes/no)? ", host, key))
}

// terminal reports whether there is somebody to ask.
func (c *cli) terminal() bool {
	in, ok := c.stdin.(*os.File)
	return ok && term.IsTerminal(int(in.Fd())) && !c.completing
}

// ask asks a question, and reports whether the answer was yes.
func (c *cli) ask(ctx context.Context, question string) bool {
	c.asking.Lock() // journal --follow connects to several at once
	defer c.asking.Unlock()
	if ctx.Err() != nil {
		return false
	}
	fmt.Fprint(c.stderr, question)
	answers := make(chan string, 1)
	go func() { // ends with the process at the latest: a read of standard input can't be interrupted
		answer, _ := bufio.NewReader(c.stdin).ReadString('\n')
		answers <- answer
	}()
	select {
	case <-ctx.Done():
		c.errorf("")
		return false
	case answer := <-answers:
		return strings.TrimSpace(strings.ToLower(answer)) == "yes"
	}
}

// systemctl and journalctl begin the commands that ask a machine's systemd.
func systemctl(m api.Machine) []string {
	if m.Manager != nil && len(m.Manager.Systemctl) > 0 {
		return m.Manager.Systemctl
	}
	return []string{"systemctl"}
}

func journalctl(m api.Machine) []string {
	if m.Manager != nil && len(m.Manager.Journalctl) > 0 {
		return m.Manager.Journalctl
	}
	return []string{"journalctl"}
}

// with appends to a copy.
func with(prefix []string, more ...string) []string {
	return append(append([]string(nil), prefix...), more...)
}

// lastLogLines gives the end of a unit's log, or "" if that can't be had soon.
func (c *cli) lastLogLines(ctx context.Context, name unit.Name, machine string) string {
	ctx, cancel := context.WithTimeout(ctx, logTime)
	defer cancel()
	machines, err := c.machines(ctx)
	if err != nil {
		return ""
	}
	m, known := machines[machine]
	if !known || !c.isLocal(machine) && os.Getenv("SSH_AUTH_SOCK") == "" {
		return ""
	}
	quiet := ssh.Streams{Stdout: io.Discard, Stderr: io.Discard}
	if c.isLocal(machine) && os.Geteuid() == 0 {
		// The unit's last words may be on their way still.
		_, _ = c.runHere(ctx, with(journalctl(m), "--sync"), quiet)
	}
	var out bytes.Buffer
	argv := with(journalctl(m), "--unit", string(name), "--no-pager", "--quiet", "-n", "10", "--output", "short")
	code, err := c.runOn(ctx, onHost{machine: m, sshPort: 22, courtesy: true}, argv, ssh.Streams{Stdout: &out, Stderr: io.Discard})
	if err != nil || code != 0 {
		return ""
	}
	return out.String()
}
