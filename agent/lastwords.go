package agent

import (
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/unit"
)

// The last words of units that failed: the end of such a unit's log goes with
// its state. When to read it is the core's to decide; the loop has it read, a
// few units at a time, and never waits for it.

const (
	// holdBack is how long a failure may wait to be published with its log. A
	// reading takes milliseconds.
	holdBack = time.Second
	// calmAfter is how long after the latest reading a unit's failures count as
	// the first ones again.
	calmAfter = 5 * time.Minute
	// readTogether is how many logs are read in one go.
	readTogether = 4
)

// refused is what is said of a unit that systemd didn't start, though the job
// was accepted. Its log says more.
const refused = "systemd refused to start it"

// failure identifies one. The log is read once for each.
type failure struct {
	job   uint64 // that started it
	state unit.SystemdState
	err   string
}

// words are the end of a failed unit's log.
type words struct {
	of failure // zero: it isn't failed now
	// text is of the latest run whose log was read, of those that came of job:
	// a unit that systemd starts again and again fails sooner than it is to be
	// read anew, or can be.
	text  string
	job   uint64
	due   time.Time // when to read them; zero: there is no need
	asked bool      // they are being read
	until time.Time // when to publish the failure without them; zero: now

	readings int // since all was calm
	last     time.Time
}

// reading is a log that is to be read.
type reading struct {
	name unit.Name
	job  uint64
}

// failure gives what a unit's log is to be read for, if anything.
func (h *held) failure() failure {
	switch {
	case h.acked, h.rec == nil, h.rec.Done.Target == "", h.waits():
	case h.state.Active == "failed",
		h.state.Result != "" && strings.HasPrefix(h.state.Sub, "auto-restart"),
		h.err != "" && (h.advisory || h.denied):
		return failure{job: h.begun, state: h.state.SystemdState, err: h.err}
	}
	return failure{}
}

// listen sees to it that a failure's log is read once, and not told any more
// when the failure is over.
func (c *core) listen(h *held, now time.Time) {
	if !c.following || h.op != "" || h.rec != nil && !h.seen {
		return // nothing is published of it, either
	}
	w, of := &h.words, h.failure()
	if of == w.of {
		return
	}
	w.of, w.due = of, time.Time{}
	if of == (failure{}) {
		return
	}
	if w.job != of.job {
		w.text, w.job, w.asked, w.until = "", of.job, false, time.Time{}
	}
	if c.recall(h) {
		return
	}
	w.due = now
	if now.Sub(w.last) > calmAfter {
		w.readings = 0
	}
	if w.readings > 0 { // it fails again and again
		w.due = w.last.Add(backoff(w.readings - 1))
	}
	if !w.due.After(now) && !w.asked {
		w.text, w.until = "", now.Add(holdBack)
	}
}

// read asks for the logs whose time has come.
func (c *core) read(now time.Time) {
	for h := range c.timed {
		if w := &h.words; !w.asked && !w.due.IsZero() && !now.Before(w.due) {
			w.due, w.last, w.asked = time.Time{}, now, true
			w.readings++
			c.out.logs = append(c.out.logs, reading{h.name, w.job})
		}
	}
	slices.SortFunc(c.out.logs, func(a, b reading) int { return strings.Compare(string(a.name), string(b.name)) })
}

// recall takes over what an earlier fleetd has read for the same failure.
func (c *core) recall(h *held) bool {
	if h.published == nil || h.published.Log == "" || h.begun != 0 {
		return false
	}
	text := h.words.text
	h.words.text = h.published.Log
	if *c.statement(h) == *h.published {
		return true
	}
	h.words.text = text
	return false
}

// heard takes over what was read. A log that couldn't be read is not read again.
func (c *core) heard(logs []reading, texts map[unit.Name]string) {
	for _, l := range logs {
		if c.isWanted(l) {
			w := &c.units[l.name].words
			w.text, w.asked, w.until = texts[l.name], false, time.Time{}
			c.touch(l.name)
		}
	}
}

// isWanted reports whether what a reading is for is still of interest.
func (c *core) isWanted(r reading) bool {
	h := c.units[r.name]
	return h != nil && h.words.asked && h.words.job == r.job
}

// told gives the words, while the unit is failed.
func (w *words) told() string {
	if w.of == (failure{}) {
		return ""
	}
	return w.text
}

// awaited reports whether a failure is held back for its words.
func (w *words) awaited() bool { return w.of != (failure{}) && !w.until.IsZero() }

// wake gives when something is to be done about the words though nothing
// happened.
func (w *words) wake() time.Time {
	if w.asked {
		return w.until
	}
	return earlier(w.due, w.until)
}

// trouble is why an instruction isn't carried out, with systemd's reason if that
// is in the unit's log.
func (h *held) trouble() string {
	if h.err != refused {
		return h.err
	}
	if why := saidOf(h.name, h.words.told()); why != "" {
		return refused + ": " + why
	}
	return refused + ": its log says why"
}

// saidOf gives what systemd said last of a unit by name: "systemd[1]: a.socket:
// Refusing to start". Empty if it isn't there.
func saidOf(name unit.Name, log string) string {
	said := ""
	for line := range strings.Lines(log) {
		if _, text, ok := strings.Cut(line, "]: "+string(name)+": "); ok {
			said = strings.TrimSpace(text)
		}
	}
	return said
}

// readLogs has the next few logs read.
func (a *Agent) readLogs() {
	if a.reading {
		return
	}
	var names []unit.Name
	var batch []reading
	for len(a.unread) > 0 && len(batch) < readTogether {
		next := a.unread[0]
		a.unread = a.unread[1:]
		if a.core.isWanted(next) {
			batch, names = append(batch, next), append(names, next.name)
		}
	}
	if len(batch) == 0 {
		return
	}
	a.reading = true
	a.operate(func() {
		texts, err := a.sys.Logs(a.life, names)
		if err != nil && a.life.Err() == nil {
			a.log.WithError(err).Warn("the logs of units that failed can't be had; their failures are told without")
		}
		a.post(func(time.Time) {
			a.reading = false
			a.core.heard(batch, texts)
		})
	})
}
