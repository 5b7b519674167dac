package source

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Wait is how long coreos-cloudinit waits for a source.
const Wait = 5 * time.Minute

// NoneError says that there is no config in any of the places.
type NoneError struct {
	Sources []Source
	Why     []error // for each source
}

func (e *NoneError) Error() string {
	var all []string
	for i, s := range e.Sources {
		all = append(all, fmt.Sprintf("%s: %v", s.Name, e.Why[i]))
	}
	if len(all) == 1 {
		return all[0]
	}
	return "no source has a config:\n  " + strings.Join(all, "\n  ")
}

// First reads the first source that is there. Those on this host are looked at
// once, in order; if none is there, all are looked for at the same time, again
// and again, until one is there or wait has passed (0: no second look). Of those
// that turn up at the same moment, the one listed first is taken. A source that
// is there and cannot be read is an error: another one is no substitute for it.
func (h *Host) First(ctx context.Context, wait time.Duration, sources ...Source) (Found, error) {
	none := &NoneError{Sources: sources, Why: make([]error, len(sources))}
	for i, s := range sources {
		if !s.local {
			continue
		}
		if none.Why[i] = s.available(ctx); none.Why[i] == nil {
			return h.read(ctx, s)
		}
	}
	i, err := h.race(ctx, wait, none)
	switch {
	case err != nil:
		return Found{}, err
	case i < 0:
		return Found{}, none
	}
	return h.read(ctx, sources[i])
}

// maxHostname is the kernel's limit; clouds' full names may be longer.
const maxHostname = 64

// answer is the end of one source's race.
type answer struct {
	source int
	err    error
}

// race looks for all sources until one is there, and gives its index, or -1
// with the reasons noted.
func (h *Host) race(ctx context.Context, wait time.Duration, none *NoneError) (int, error) {
	racing, stop := context.WithCancel(ctx)
	if wait > 0 {
		var enough context.CancelFunc
		racing, enough = context.WithTimeout(racing, wait)
		defer enough()
	}
	var all sync.WaitGroup
	defer all.Wait()
	defer stop()
	answers := make(chan answer, len(none.Sources))
	for i, s := range none.Sources {
		all.Go(func() { answers <- answer{i, h.await(racing, wait, s, none.Why[i])} })
	}
	best := collect(answers, none.Why)
	if best < 0 {
		return -1, ctx.Err()
	}
	return best, nil
}

// collect takes the answer of each source until one is there, and gives the
// first listed of all that are by then, or -1. It notes why others aren't.
func collect(answers <-chan answer, why []error) int {
	for range why {
		a := <-answers
		if why[a.source] = a.err; a.err != nil {
			continue
		}
		best := a.source
		for len(answers) > 0 {
			if a := <-answers; a.err == nil {
				best = min(best, a.source)
			}
		}
		return best
	}
	return -1
}

// await looks for a source until it is there. why is the outcome of the first
// look, if there was one.
func (h *Host) await(ctx context.Context, wait time.Duration, s Source, why error) error {
	pause, most := cmp.Or(h.poll[0], 100*time.Millisecond), cmp.Or(h.poll[1], 30*time.Second)
	if why == nil {
		why = s.available(ctx)
	}
	told := ""
	for why != nil && !errors.Is(why, ErrNever) && wait > 0 {
		if text := why.Error(); text != told && ctx.Err() == nil {
			h.log("waiting for %s: %s", s.Name, text)
			told = text
		}
		if !h.sleep(ctx, pause) {
			return fmt.Errorf("%w (looked for it for %s)", why, wait)
		}
		pause = min(2*pause, most)
		if now := s.available(ctx); now == nil || ctx.Err() == nil {
			why = now // one that was cut off says less than the one before
		}
	}
	return why
}

// sleep pauses, and says whether the time was had.
func (h *Host) sleep(ctx context.Context, d time.Duration) bool {
	if h.onWait != nil {
		h.onWait()
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// read reads a source that is there, and checks what it has.
func (h *Host) read(ctx context.Context, s Source) (Found, error) {
	found, err := s.read(ctx)
	if err != nil {
		return Found{}, fmt.Errorf("%s: %w", s.Name, err)
	}
	found.From = s.Name
	if name := &found.Metadata.Hostname; len(*name) > maxHostname {
		short, _, _ := strings.Cut(*name, ".")
		found.Notes = append(found.Notes, fmt.Sprintf("the host's name %s is longer than the %d characters that Linux takes: it is %s here", *name, maxHostname, short))
		*name = short
	}
	if err := h.Checksum.Verify(found.UserData); err != nil {
		return Found{}, fmt.Errorf("%s: %w", s.Name, err)
	}
	return found, nil
}
