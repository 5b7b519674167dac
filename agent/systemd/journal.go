package systemd

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/fleet-project/fleet/unit"
)

// What is kept of a log: its end, small enough for a cluster's state.
const (
	logLines = 10
	logBytes = 2 << 10
	// lineBytes bounds a line, so that a long one doesn't take the place of
	// all others.
	lineBytes = 512

	// readTime bounds the reading of one log.
	readTime = 2 * time.Second
	// syncTime bounds the wait for what was written a moment ago. Without the
	// right to ask for it, blindTime must do.
	syncTime  = time.Second
	blindTime = 50 * time.Millisecond
)

// Logs gives, for each unit, the last lines of the log since it was last to be
// started. A unit without any is missing. There are no more than ten lines of 2 KiB together, in clean
// UTF-8, without a line break after the last. The error says why some couldn't
// be read.
func (c *Client) Logs(ctx context.Context, names []unit.Name) (map[unit.Name]string, error) {
	if len(names) == 0 {
		return nil, nil
	}
	which := map[unit.Name][]string{}
	var errs []error
	for _, name := range names { // at once: the next run may be about to begin
		args, err := c.logOf(ctx, name)
		if err != nil {
			errs = append(errs, err)
			continue
		}
		which[name] = args
	}
	c.syncJournal(ctx)
	out := map[unit.Name]string{}
	for name, args := range which {
		text, err := c.readLog(ctx, name, args)
		if err != nil {
			errs = append(errs, err)
		} else if text != "" {
			out[name] = text
		}
	}
	return out, errors.Join(errs...)
}

// syncJournal waits until the journal has what units have written so far: a
// program's last words take another way than systemd's, and may come after them.
func (c *Client) syncJournal(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, syncTime)
	defer cancel()
	if err := command(ctx, c.opts.SyncJournal, nil).Run(); err != nil {
		select {
		case <-ctx.Done():
		case <-time.After(blindTime):
		}
	}
}

func (c *Client) readLog(ctx context.Context, name unit.Name, which []string) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, readTime)
	defer cancel()
	var out tail
	var complaint bytes.Buffer
	argv := append(append([]string(nil), c.opts.Journalctl...), "--no-pager", "--quiet", "--output=short", "--lines="+strconv.Itoa(logLines))
	cmd := command(ctx, append(argv, which...), &out)
	cmd.Stderr = &complaint
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			err = context.Cause(ctx)
		}
		return "", fmt.Errorf("reading the log of %s: %s: %w %s", name, argv[0], err, lastLines(complaint.Bytes()))
	}
	return lastLines(out.bytes()), nil
}

// logOf gives journalctl's arguments for a unit's latest run: from when systemd
// last checked the unit's conditions; all of it if it never got that far. The
// run's invocation id would not do: a program's last lines lack it if it was gone
// before journald looked.
func (c *Client) logOf(ctx context.Context, name unit.Name) ([]string, error) {
	which := []string{"--unit=" + string(name)}
	var began uint64 // microseconds
	if err := c.property(ctx, name, unitIface, "ConditionTimestamp", &began); err != nil && !notLoaded(err) {
		return nil, err
	}
	if began > 0 {
		which = append(which, fmt.Sprintf("--since=@%d.%06d", began/1e6, began%1e6))
	}
	return which, nil
}

// command makes one whose output reads the same on all hosts.
func command(ctx context.Context, argv []string, out *tail) *exec.Cmd {
	cmd := exec.CommandContext(ctx, argv[0], argv[1:]...)
	cmd.Env = append(os.Environ(), "LC_ALL=C.UTF-8")
	cmd.WaitDelay = time.Second
	if out != nil {
		cmd.Stdout = out
	}
	return cmd
}

// tail keeps the end of what is written to it: an entry of a journal may be
// huge.
type tail struct {
	text []byte
	cut  bool
}

const tailBytes = 64 << 10

func (t *tail) Write(p []byte) (int, error) {
	t.text = append(t.text, p...)
	if over := len(t.text) - tailBytes; over > 0 {
		t.text, t.cut = append(t.text[:0], t.text[over:]...), true
	}
	return len(p), nil
}

// bytes gives what was kept, from the beginning of a line.
func (t *tail) bytes() []byte {
	if !t.cut {
		return t.text
	}
	_, rest, _ := bytes.Cut(t.text, []byte("\n"))
	return rest
}

// lastLines gives the end of a text: whole lines, as many as may be kept.
func lastLines(text []byte) string {
	lines := strings.Split(clean(text), "\n")
	first, size := len(lines), 0
	for first > 0 && len(lines)-first < logLines {
		line := &lines[first-1]
		*line = shorten(*line)
		if size += len(*line) + 1; size-1 > logBytes {
			break
		}
		first--
	}
	return strings.Join(lines[first:], "\n")
}

// clean gives a text without what a terminal would act upon.
func clean(text []byte) string {
	valid := strings.ToValidUTF8(string(text), "\uFFFD")
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n':
			return r
		case r == '\t':
			return ' '
		case unicode.IsControl(r):
			return '\uFFFD'
		}
		return r
	}, strings.TrimRight(valid, "\n"))
}

// shorten cuts a line that is too long between two characters.
func shorten(line string) string {
	const mark = "…"
	if len(line) <= lineBytes {
		return line
	}
	end := lineBytes - len(mark)
	for !utf8.RuneStart(line[end]) {
		end--
	}
	return line[:end] + mark
}
