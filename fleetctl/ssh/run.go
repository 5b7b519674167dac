package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/term"
)

// Streams are a command's standard streams.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Run runs a command on the host and gives its exit code. When ctx ends, the
// command is told to as well.
func (c *Client) Run(ctx context.Context, command string, io Streams) (int, error) {
	session, err := c.session(io)
	if err != nil {
		return 0, err
	}
	defer session.Close()
	if err := session.Start(command); err != nil {
		return 0, fmt.Errorf("ssh to %s: %w", c.addr, err)
	}
	return c.wait(ctx, session)
}

// Shell gives the user a shell on the host.
func (c *Client) Shell(ctx context.Context, io Streams) (int, error) {
	session, err := c.session(io)
	if err != nil {
		return 0, err
	}
	defer session.Close()
	if in, ok := io.Stdin.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		restore, err := makeTerminal(session, in)
		if err != nil {
			return 0, fmt.Errorf("ssh to %s: %w", c.addr, err)
		}
		defer restore()
	}
	if err := session.Shell(); err != nil {
		return 0, fmt.Errorf("ssh to %s: %w", c.addr, err)
	}
	return c.wait(ctx, session)
}

func (c *Client) session(io Streams) (*ssh.Session, error) {
	session, err := c.ssh.NewSession()
	if err != nil {
		return nil, fmt.Errorf("ssh to %s: %w", c.addr, err)
	}
	session.Stdin, session.Stdout, session.Stderr = io.Stdin, io.Stdout, io.Stderr
	if c.config.ForwardAgent {
		if err := agent.RequestAgentForwarding(session); err != nil {
			session.Close()
			return nil, fmt.Errorf("ssh to %s: forwarding the agent: %w", c.addr, err)
		}
	}
	return session, nil
}

// wait waits for a session's end.
func (c *Client) wait(ctx context.Context, session *ssh.Session) (int, error) {
	stop := context.AfterFunc(ctx, func() {
		_ = session.Signal(ssh.SIGINT) // a host that doesn't take it is cut off
		session.Close()
	})
	defer stop()
	err := session.Wait()
	var exit *ssh.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		return exit.ExitStatus(), nil
	}
	return 0, fmt.Errorf("ssh to %s: %w", c.addr, err)
}

// makeTerminal gives the session a terminal like the user's.
func makeTerminal(session *ssh.Session, in *os.File) (restore func(), err error) {
	fd := int(in.Fd())
	width, height, err := term.GetSize(fd)
	if err != nil {
		width, height = 80, 24
	}
	kind := os.Getenv("TERM")
	if kind == "" {
		kind = "xterm"
	}
	if err := session.RequestPty(kind, height, width, ssh.TerminalModes{ssh.ECHO: 1}); err != nil {
		return nil, err
	}
	state, err := term.MakeRaw(fd)
	if err != nil {
		return nil, err
	}
	return func() { _ = term.Restore(fd, state) }, nil
}

// Quote writes arguments so that a host's shell takes them as they are.
func Quote(args []string) string {
	out := make([]string, len(args))
	for i, a := range args {
		if out[i] = a; a == "" || strings.Trim(a, plain) != "" {
			out[i] = "'" + strings.ReplaceAll(a, "'", `'\''`) + "'"
		}
	}
	return strings.Join(out, " ")
}

// plain are the characters that mean nothing to a shell.
const plain = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789%+,-./:=@_"
