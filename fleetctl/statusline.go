package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"golang.org/x/term"
)

const (
	// plainAfter is how long a command may wait before it says so where there is
	// no terminal to show a status line on.
	plainAfter = 5 * time.Second
	// shownAfter spares quick commands a flicker.
	shownAfter = 150 * time.Millisecond
)

// statusLine shows what a command waits for: on a terminal one line that comes
// and goes, elsewhere a line now and then.
type statusLine struct {
	out      io.Writer
	width    int // 0: not a terminal
	began    time.Time
	spoke    time.Time // the last plain line
	shown    string
	lastSaid string
}

func newStatusLine(out io.Writer) *statusLine {
	l := &statusLine{out: out, began: time.Now()}
	if f, ok := out.(*os.File); ok && os.Getenv("TERM") != "dumb" {
		if width, _, err := term.GetSize(int(f.Fd())); err == nil && term.IsTerminal(int(f.Fd())) {
			l.width = max(width, 20)
		}
	}
	return l
}

func (l *statusLine) show(text string) {
	elapsed := time.Since(l.began)
	if l.width > 0 {
		if elapsed < shownAfter {
			return
		}
		text = fmt.Sprintf("%s (%ds)", text, int(elapsed.Seconds()))
		if r := []rune(text); len(r) >= l.width {
			text = string(r[:l.width-1])
		}
		if text != l.shown {
			fmt.Fprintf(l.out, "\r\x1b[K%s", text)
			l.shown = text
		}
		return
	}
	if elapsed >= plainAfter && time.Since(l.spoke) >= plainAfter && text != l.lastSaid {
		fmt.Fprintln(l.out, text)
		l.spoke, l.lastSaid = time.Now(), text
	}
}

// clear takes the line away, so that something can be printed.
func (l *statusLine) clear() {
	if l.shown != "" {
		fmt.Fprint(l.out, "\r\x1b[K")
		l.shown = ""
	}
}
