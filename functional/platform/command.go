package platform

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
)

// CommandError is a command that ran and failed, with what it had to say.
type CommandError struct {
	Argv   []string
	Host   string // empty: it ran on this machine
	Code   int    // exit code; -1: killed, or not started at all
	Stdout string
	Stderr string
	Err    error
}

func (e *CommandError) Error() string {
	var b strings.Builder
	if e.Host != "" {
		fmt.Fprintf(&b, "%s: ", e.Host)
	}
	fmt.Fprintf(&b, "%s: %v", abbreviate(strings.Join(e.Argv, " "), 200), e.Err)
	said := strings.TrimSpace(e.Stderr)
	if said == "" {
		// Many tools complain on their standard output.
		said = strings.TrimSpace(e.Stdout)
	}
	if said != "" {
		fmt.Fprintf(&b, ": %s", tail(said, 2000))
	}
	return b.String()
}

func (e *CommandError) Unwrap() error { return e.Err }

// command is a command on this machine, also where a root shell's PATH lacks
// sbin (su without -).
func command(ctx context.Context, argv ...string) *exec.Cmd {
	name := argv[0]
	if path, err := lookTool(name); err == nil {
		name = path
	}
	return exec.CommandContext(ctx, name, argv[1:]...)
}

// run runs a command on this machine and returns its standard output.
func run(ctx context.Context, argv ...string) (string, error) {
	return output(command(ctx, argv...), "", argv, nil)
}

// output runs cmd, which does what argv says, and wraps its failure.
func output(cmd *exec.Cmd, host string, argv []string, stdin io.Reader) (string, error) {
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &stdout, &stderr
	err := cmd.Run()
	if err == nil {
		return stdout.String(), nil
	}
	code := -1
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		code = exit.ExitCode()
	}
	return stdout.String(), &CommandError{
		Argv: argv, Host: host, Code: code, Stdout: stdout.String(), Stderr: stderr.String(), Err: err,
	}
}

// tail is the end of s, at most n bytes of it, from the start of a line.
func tail(s string, n int) string {
	if len(s) <= n {
		return s
	}
	s = s[len(s)-n:]
	if i := strings.IndexByte(s, '\n'); i >= 0 {
		s = s[i+1:]
	}
	return "… " + s
}

func abbreviate(s string, n int) string {
	s = strings.ReplaceAll(s, "\n", "; ")
	if len(s) <= n {
		return s
	}
	return s[:n] + "…"
}
