package faults

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// Life is one run of a witness on one host, as it wrote it down.
type Life struct {
	Unit       string
	Host       string
	Invocation string // systemd's name for this run
	Boot       string // the host's boot id
	Start      Moment
	// Spans are when it was there for certain: from a line to the last that
	// followed without a gap. A host that was frozen leaves a gap.
	Spans []Span
	// Ended: it said so itself. Without, it lives, or was killed after Last.
	Ended bool
}

// Span is a time from a moment to another.
type Span struct{ From, To Moment }

// gap is how long a witness may say nothing before it counts as not running
// meanwhile: much longer than a beat, for the machine may be busy.
const gap = 3 * time.Second

// Last is when it was there last.
func (l *Life) Last() Moment { return l.Spans[len(l.Spans)-1].To }

func (l *Life) String() string {
	return fmt.Sprintf("%s on %s from %.2f to %.2f", l.Unit, l.Host, time.Duration(l.Start).Seconds(), time.Duration(l.Last()).Seconds())
}

// parseLife reads what one run wrote; nil if it didn't come to say anything.
func parseLife(text string) (*Life, error) {
	var l *Life
	for line := range strings.Lines(text) {
		if !strings.HasSuffix(line, "\n") {
			break // being written, or the last before it was killed
		}
		f := strings.Fields(line)
		if len(f) < 2 {
			return nil, fmt.Errorf("a witness wrote %q", line)
		}
		at, err := parseMoment(f[1])
		if err != nil {
			return nil, fmt.Errorf("a witness wrote %q: %w", line, err)
		}
		switch {
		case f[0] == "start" && len(f) == 3 && l == nil:
			l = &Life{Boot: f[2], Start: at, Spans: []Span{{at, at}}}
			continue
		case l == nil:
			return nil, fmt.Errorf("a witness began with %q", line)
		case f[0] == "stop":
			l.Ended = true
		}
		if last := &l.Spans[len(l.Spans)-1]; at.Sub(last.To) <= gap {
			last.To = at
		} else {
			l.Spans = append(l.Spans, Span{at, at})
		}
	}
	return l, nil
}

// Disk is a host's disk, seen from outside of it; [platform.Host] is one.
type Disk interface {
	Name() string
	// OnDisk is where a file that the host has written lies on this machine.
	OnDisk(path string) string
}

// lives reads all witnesses' lives off a disk.
func lives(d Disk) ([]*Life, error) {
	var all []*Life
	root := d.OnDisk(logDir)
	err := filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		l, err := parseLife(string(text))
		if err != nil {
			return fmt.Errorf("%s: %w", path, err)
		}
		if l != nil {
			l.Host, l.Unit, l.Invocation = d.Name(), filepath.Base(filepath.Dir(path)), filepath.Base(path)
			all = append(all, l)
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no witness has run there yet
	}
	return all, err
}
