package functional

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// screen is a terminal with fleetctl at it, and somebody who types.
type screen struct {
	w   *world
	pty *os.File
	cmd *exec.Cmd

	reading sync.WaitGroup
	mu      sync.Mutex // guards shown
	shown   bytes.Buffer
}

// terminal runs fleetctl at a terminal of 80 by 24.
func (l *laptop) terminal(args ...string) *screen {
	l.w.t.Helper()
	pty, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		l.w.t.Fatal(err)
	}
	t := &screen{w: l.w, pty: pty, cmd: l.command(l.w.ctx, args...)}
	number, err := unix.IoctlGetInt(int(pty.Fd()), unix.TIOCGPTN)
	if err == nil {
		err = unix.IoctlSetPointerInt(int(pty.Fd()), unix.TIOCSPTLCK, 0)
	}
	if err != nil {
		l.w.t.Fatal(err)
	}
	tty, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", number), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		l.w.t.Fatal(err)
	}
	defer tty.Close()
	t.resize(80, 24)
	t.cmd.Stdin, t.cmd.Stdout, t.cmd.Stderr = tty, tty, tty
	t.cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := t.cmd.Start(); err != nil {
		l.w.t.Fatal(err)
	}
	t.reading.Go(func() {
		for b := make([]byte, 4096); ; {
			n, err := pty.Read(b)
			t.mu.Lock()
			t.shown.Write(b[:n])
			t.mu.Unlock()
			if err != nil { // nobody is at the terminal any more
				return
			}
		}
	})
	return t
}

func (t *screen) resize(width, height uint16) {
	t.w.t.Helper()
	if err := unix.IoctlSetWinsize(int(t.pty.Fd()), unix.TIOCSWINSZ, &unix.Winsize{Col: width, Row: height}); err != nil {
		t.w.t.Fatal(err)
	}
}

// enter types a line.
func (t *screen) enter(line string) {
	t.w.t.Helper()
	if _, err := t.pty.WriteString(line + "\r"); err != nil {
		t.w.t.Fatal(err)
	}
}

// await waits until the terminal shows the words.
func (t *screen) await(words string) {
	t.w.t.Helper()
	t.w.await(words+" on the terminal", func() (bool, string) {
		t.mu.Lock()
		defer t.mu.Unlock()
		return strings.Contains(t.shown.String(), words), t.shown.String()
	})
}

// end waits until fleetctl has ended, and gives its exit code.
func (t *screen) end() int {
	_ = t.cmd.Wait() // the code says it
	t.reading.Wait()
	t.pty.Close()
	return t.cmd.ProcessState.ExitCode()
}

func TestSSHTerminal(t *testing.T) {
	w := use(t)
	l := w.laptop("root")
	h := w.Hosts[1]
	l.remember(l.line(w.Hosts[0])) // and not h's
	at := l.terminal("ssh", h.MachineID())
	at.await("(yes/no)?")
	at.await("SHA256:")
	at.enter("yes")
	// What the shell echoes of a line is not what the line prints.
	at.enter("echo the size is $(stty size)")
	at.await("the size is 24 80")
	at.resize(132, 43)
	w.await("the size to follow", func() (bool, string) {
		at.enter("echo now it is $(stty size)")
		at.mu.Lock()
		defer at.mu.Unlock()
		return strings.Contains(at.shown.String(), "now it is 43 132"), at.shown.String()
	})
	at.enter("trap 'echo got $((40+2))' INT; sleep infinity & wait")
	at.await("wait\r\n")
	if _, err := at.pty.Write([]byte{3}); err != nil { // Ctrl-C is the shell's over there
		t.Fatal(err)
	}
	at.await("got 42")
	at.enter("kill %1; exit 6")
	if code := at.end(); code != 6 {
		t.Errorf("exit code %d, want the shell's, 6", code)
	}
	if known, err := os.ReadFile(l.known); err != nil || !strings.HasSuffix(string(known), l.line(h)) {
		t.Errorf("%v: the known hosts are %s", err, known)
	}

	// A command gets a terminal, too; a declined host none.
	at = l.terminal("ssh", h.MachineID(), "tty; exit 4")
	at.await("/dev/pts/")
	if code := at.end(); code != 4 {
		t.Errorf("exit code %d, want 4", code)
	}
	l.remember(l.line(w.Hosts[0]))
	at = l.terminal("ssh", h.MachineID())
	at.await("(yes/no)?")
	at.enter("no")
	at.await("the host is unknown")
	if code := at.end(); code != 1 {
		t.Errorf("exit code %d, want 1", code)
	}
	at = l.terminal("ssh", h.MachineID())
	at.await("(yes/no)?")
	if _, err := at.pty.Write([]byte{3}); err != nil {
		t.Fatal(err)
	}
	if code := at.end(); code != 130 {
		t.Errorf("interrupted, it ended with exit code %d", code)
	}
}
