package main

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"os/exec"
	"strings"
	"time"
)

// stage prints what happens: each step with the time it took, each command
// with its true output.
type stage struct {
	out   io.Writer
	began time.Time
}

func newStage(out io.Writer) *stage { return &stage{out: out, began: time.Now()} }

func (s *stage) say(format string, args ...any) { fmt.Fprintf(s.out, format+"\n", args...) }

// step announces work and says how long it took.
func (s *stage) step(what string, work func() error) error {
	s.say("\n== %s", what)
	began := time.Now()
	if err := work(); err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	s.say("   (%s)", round(time.Since(began)))
	return nil
}

// show prints a command as one would type it, runs it, and prints what it
// says.
func (s *stage) show(prompt string, cmd *exec.Cmd, typed ...string) (string, error) {
	s.say("%s %s", prompt, shell(typed))
	began := time.Now()
	var out bytes.Buffer
	cmd.Stdout = io.MultiWriter(&out, s.out)
	cmd.Stderr = cmd.Stdout
	if err := cmd.Run(); err != nil {
		return out.String(), fmt.Errorf("%s: %w", strings.Join(typed, " "), err)
	}
	s.say("   (%s)", round(time.Since(began)))
	return out.String(), nil
}

// shell is a command as a shell takes it.
func shell(argv []string) string {
	words := make([]string, len(argv))
	for i, word := range argv {
		if words[i] = word; strings.ContainsAny(word, " \\?&*$\"") {
			words[i] = "'" + word + "'"
		}
	}
	return strings.Join(words, " ")
}

// echo sends a line to port 50000 of an address and wants it back. A
// connection that is refused is tried again until ctx ends: docker starts the
// container a moment after systemd calls the unit active.
func (s *stage) echo(ctx context.Context, ip, line string) error {
	addr := net.JoinHostPort(ip, "50000")
	began := time.Now()
	for {
		got, err := ask(ctx, addr, line)
		if err == nil {
			s.say("$ echo %q | nc %s 50000\n%s", line, ip, got)
			s.say("   (answered after %s)", round(time.Since(began)))
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("no echo from %s: %w", addr, err)
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func ask(ctx context.Context, addr, line string) (string, error) {
	ctx, cancel := within(ctx, 2*time.Second)
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", addr)
	if err != nil {
		return "", err
	}
	defer conn.Close()
	if deadline, ok := ctx.Deadline(); ok {
		_ = conn.SetDeadline(deadline) // a real connection takes deadlines
	}
	if _, err := fmt.Fprintln(conn, line); err != nil {
		return "", err
	}
	got, err := bufio.NewReader(conn).ReadString('\n')
	if err != nil {
		return "", err
	}
	if got = strings.TrimSuffix(got, "\n"); got != line {
		return "", fmt.Errorf("sent %q, got %q", line, got)
	}
	return got, nil
}

func round(d time.Duration) time.Duration {
	if d < time.Second {
		return d.Round(time.Millisecond)
	}
	return d.Round(10 * time.Millisecond)
}
