package ssh

import (
	"os"
	"os/signal"
	"sync"
	"syscall"

	"golang.org/x/crypto/ssh"
	"golang.org/x/term"
)

// asTerminal gives the stream as the user's terminal, if it is one.
func asTerminal(stream any) (*os.File, bool) {
	f, ok := stream.(*os.File)
	return f, ok && term.IsTerminal(int(f.Fd()))
}

// requestTerminal gives the session a terminal like the user's.
func requestTerminal(session *ssh.Session, in *os.File) error {
	width, height, err := term.GetSize(int(in.Fd()))
	if err != nil {
		width, height = 80, 24
	}
	kind := os.Getenv("TERM")
	if kind == "" {
		kind = "xterm"
	}
	return session.RequestPty(kind, height, width, ssh.TerminalModes{ssh.ECHO: 1})
}

// enterTerminal hands all keys of the user's terminal to the session, and
// follows the terminal's size, until restore is called.
func enterTerminal(session *ssh.Session, in *os.File) (restore func(), err error) {
	state, err := term.MakeRaw(int(in.Fd()))
	if err != nil {
		return nil, err
	}
	resized := make(chan os.Signal, 1)
	signal.Notify(resized, syscall.SIGWINCH)
	var following sync.WaitGroup
	following.Go(func() {
		for range resized {
			if width, height, err := term.GetSize(int(in.Fd())); err == nil {
				_ = session.WindowChange(height, width) // it has none any more: it is ending
			}
		}
	})
	return func() {
		signal.Stop(resized)
		close(resized)
		following.Wait()
		_ = term.Restore(int(in.Fd()), state)
	}, nil
}
