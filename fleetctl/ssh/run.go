package ssh

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Streams are a command's standard streams.
type Streams struct {
	Stdin          io.Reader
	Stdout, Stderr io.Writer
}

// Run runs a command on the host and gives its exit code. Where both ends of it
// are a terminal, it gets one there, too. When ctx ends, the command is told to
// end as well.
func (c *Client) Run(ctx context.Context, command string, io Streams) (int, error) {
	in, interactive := asTerminal(io.Stdin)
	if _, ok := asTerminal(io.Stdout); !ok {
		interactive = false
	}
	return c.run(ctx, io, in, interactive, func(s *ssh.Session) error { return s.Start(command) })
}

// Shell gives the user a shell on the host.
func (c *Client) Shell(ctx context.Context, io Streams) (int, error) {
	in, interactive := asTerminal(io.Stdin)
	return c.run(ctx, io, in, interactive, (*ssh.Session).Shell)
}

func (c *Client) run(ctx context.Context, io Streams, in *os.File, interactive bool, begin func(*ssh.Session) error) (int, error) {
	session, err := c.session(ctx, func(s *ssh.Session) error {
		s.Stdin, s.Stdout, s.Stderr = io.Stdin, io.Stdout, io.Stderr
		if c.config.ForwardAgent {
			if err := agent.RequestAgentForwarding(s); err != nil {
				return fmt.Errorf("forwarding the agent: %w", err)
			}
		}
		if interactive {
			return requestTerminal(s, in)
		}
		return nil
	}, begin)
	if err != nil {
		return 0, err
	}
	defer session.Close()
	if interactive {
		restore, err := enterTerminal(session, in)
		if err != nil {
			return 0, c.failure(err)
		}
		defer restore()
	}
	return c.wait(ctx, session)
}

// session opens a session and does what begins it.
func (c *Client) session(ctx context.Context, steps ...func(*ssh.Session) error) (*ssh.Session, error) {
	var session *ssh.Session
	err := c.within(ctx, func() (err error) {
		if session, err = c.ssh.NewSession(); err != nil {
			return err
		}
		for _, step := range steps {
			if err := step(session); err != nil {
				session.Close()
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, c.why(err)
	}
	return session, nil
}

// interruptTime is how long an interrupted command may take to end.
const interruptTime = time.Second

// wait waits for a session's end.
func (c *Client) wait(ctx context.Context, session *ssh.Session) (int, error) {
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		giveUp := time.AfterFunc(interruptTime, func() { c.cut(context.Cause(ctx)) })
		defer giveUp.Stop()
		_ = session.Signal(ssh.SIGINT) // a host that doesn't take it closes the command's streams
		session.Close()
		<-ended
	})
	err := session.Wait()
	close(ended)
	stop()
	var exit *ssh.ExitError
	switch {
	case ctx.Err() != nil:
		return 0, context.Cause(ctx)
	case err == nil:
		return 0, nil
	case errors.As(err, &exit):
		return exit.ExitStatus(), nil
	}
	return 0, c.why(err)
}

// why is the error of something that went over the connection: if that has
// ended, the reason for it.
func (c *Client) why(err error) error {
	var missing *ssh.ExitMissingError
	if errors.As(err, &missing) || errors.Is(err, io.EOF) {
		err = errLost
		// The connection's end is seen by the session first.
		select {
		case <-c.life.Done():
		case <-time.After(interruptTime):
		}
	}
	if ended := c.Ended(); ended != nil {
		return ended
	}
	return c.failure(err)
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
