package platform

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// step shows something that takes a while: on a terminal one line with the
// elapsed time counting, elsewhere a line at the start and one at the end.
type step struct {
	out      io.Writer
	label    string
	began    time.Time
	terminal bool
	stop     chan struct{}
	wg       sync.WaitGroup
}

func startStep(out io.Writer, label string) *step {
	s := &step{out: out, label: label, began: time.Now(), terminal: isTerminal(out), stop: make(chan struct{})}
	if !s.terminal {
		fmt.Fprintf(out, "%s …\n", label)
		return s
	}
	s.wg.Go(func() {
		ticker := time.NewTicker(time.Second)
		defer ticker.Stop()
		for {
			fmt.Fprintf(out, "\r\033[K%s … %s", label, elapsed(s.began))
			select {
			case <-ticker.C:
			case <-s.stop:
				return
			}
		}
	})
	return s
}

// done ends the step.
func (s *step) done(err error) {
	close(s.stop)
	s.wg.Wait()
	result := "done"
	if err != nil {
		result = "failed"
	}
	start := ""
	if s.terminal {
		start = "\r\033[K"
	}
	fmt.Fprintf(s.out, "%s%s: %s after %s\n", start, s.label, result, elapsed(s.began))
}

func elapsed(since time.Time) string {
	d := time.Since(since)
	if d < 10*time.Second {
		return fmt.Sprintf("%.1f s", d.Seconds())
	}
	return fmt.Sprintf("%.0f s", d.Seconds())
}

func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

// lineWriter hands whole lines to a function such as testing.T's Logf.
type lineWriter struct {
	mu   sync.Mutex
	line strings.Builder
	emit func(line string)
}

func (w *lineWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range p {
		if c != '\n' {
			w.line.WriteByte(c)
			continue
		}
		w.emit(w.line.String())
		w.line.Reset()
	}
	return len(p), nil
}
