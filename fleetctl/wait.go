package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
)

// attemptTime is what one of --block-attempts stands for.
const attemptTime = 2 * time.Second

// wait is one command's waiting for its units.
type wait struct {
	cli     *cli
	session *session
	// judge says how far a unit is.
	judge func(st *step, s api.UnitStatus) outcome
	// arrived is told when a unit is done, well or not.
	arrived func(st *step, o outcome)
	// undo tells how to give a unit up, for who has waited enough; nil when
	// the command takes units away.
	undo func(name unit.Name) string
	// attempts bounds it; 0 doesn't.
	attempts int

	// goesOn says that what was asked for will happen though nobody waits.
	goesOn string

	pending  []*step
	company  bool                    // it waits, or waited, for several
	settling map[unit.Name]time.Time // since when nothing changed
	began    map[unit.Name]bool      // systemd was seen to start it
	unseen   map[unit.Name]time.Time // since when the change asked for isn't seen
	stranded map[unit.Name]time.Time // since when it has no place, for a reason
	told     map[unit.Name]string    // the explanation that was printed
	line     *statusLine
}

// run waits until all are done. Its error says that not all got there.
func (w *wait) run(ctx context.Context, steps []*step) error {
	for _, st := range steps {
		if st.await {
			w.pending = append(w.pending, st)
		}
	}
	w.company = len(w.pending) > 1
	w.settling, w.began, w.told = map[unit.Name]time.Time{}, map[unit.Name]bool{}, map[unit.Name]string{}
	w.unseen, w.stranded = map[unit.Name]time.Time{}, map[unit.Name]time.Time{}
	w.line = newStatusLine(w.cli.stderr)
	defer w.line.clear()
	if w.attempts > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, time.Duration(w.attempts)*attemptTime, errGaveUp)
		defer cancel()
	}
	ok := true
	wake := time.NewTimer(0)
	defer wake.Stop()
	for {
		well, again := w.look(ctx)
		ok = ok && well
		if len(w.pending) == 0 {
			break
		}
		wake.Reset(min(again, w.explain()))
		select {
		case <-ctx.Done():
			return w.gaveUp(ctx)
		case err := <-w.session.ended:
			if ctx.Err() != nil {
				return w.gaveUp(ctx)
			}
			return fmt.Errorf("waiting for units: %w", err)
		case e := <-w.session.events:
			w.session.note(e)
			w.tell(e)
		case <-wake.C:
		}
	}
	if !ok {
		return failed
	}
	return nil
}

var errGaveUp = errors.New("waited long enough")

// lineTime is how often the status line is brought up to date.
const lineTime = 200 * time.Millisecond

// look judges the units that are pending. It returns whether those that are done
// are well, and when to look again though nothing happens.
func (w *wait) look(ctx context.Context) (ok bool, again time.Duration) {
	ok, again = true, lineTime
	left := w.pending[:0]
	for _, st := range w.pending {
		o := w.judge(st, w.session.latest[st.name])
		if o.settle > 0 {
			rest := w.settles(st.name, o)
			o.done = rest <= 0
			again = min(again, max(rest, time.Millisecond))
		}
		w.began[st.name] = w.began[st.name] || o.began
		if o.unseen && w.overruled(ctx, st.name) {
			ok = false
			continue
		}
		if !o.done {
			left = append(left, st)
			continue
		}
		w.line.clear()
		w.arrived(st, o)
		ok = ok && o.failed == ""
	}
	w.pending = left
	if len(left) > 0 {
		w.line.show(w.waitingFor())
	}
	return ok, again
}

// askAfter is how long a change may go unseen before fleetd is asked about it.
const askAfter = time.Second

// overruled finds out, and says, whether somebody else has changed what is wanted
// of a unit since: then what the command asked for will never be seen.
func (w *wait) overruled(ctx context.Context, name unit.Name) bool {
	since, known := w.unseen[name]
	if !known || time.Since(since) < askAfter {
		if !known {
			w.unseen[name] = time.Now()
		}
		return false
	}
	delete(w.unseen, name)
	heard := w.session.latest[name]
	now := "destroyed"
	switch u, err := w.session.client.Unit(ctx, name); {
	case api.IsNotFound(err) && !heard.Exists:
	case err != nil || u.DesiredState != heard.DesiredState:
		return false // what was heard is old
	default:
		now = string(u.DesiredState)
	}
	w.line.clear()
	w.cli.errorf("Unit %s was changed by somebody else meanwhile: it is %s now.", name, now)
	return true
}

// settles gives how much longer a unit must stay as it is to be done.
func (w *wait) settles(name unit.Name, o outcome) time.Duration {
	if o.ended && w.began[name] {
		return 0
	}
	since, known := w.settling[name]
	if !known {
		since = time.Now()
		w.settling[name] = since
	}
	settle := o.settle
	if !o.began { // what a fleet 1.0 server says may be from before
		settle += w.session.latest[name].Lag
	}
	return settle - time.Since(since)
}

// tell says what an event brings that a person should know now.
func (w *wait) tell(e api.Event) {
	switch {
	case e.Trouble != "":
		w.line.clear()
		w.cli.errorf("%s", e.Trouble)
	case e.Recovered:
		w.line.clear()
		w.cli.errorf("fleetd answers again")
	case e.Status == nil:
		return
	}
	if e.Status == nil {
		return
	}
	delete(w.settling, e.Status.Unit)
}

// companyTime is for how long nothing is said of a unit without a place that isn't
// its command's only one: it may follow one of the others, as sidekicks do, and then
// has a place in a moment, though that one is there already.
const companyTime = 500 * time.Millisecond

// explain says why units have no place, once for each reason, and returns when to
// look again. Who takes units away does not want to know.
func (w *wait) explain() (again time.Duration) {
	again = lineTime
	for _, st := range w.pending {
		x := w.session.latest[st.name].Explanation
		if x == nil || w.undo == nil {
			delete(w.stranded, st.name)
			continue
		}
		since, known := w.stranded[st.name]
		if !known {
			since = time.Now()
			w.stranded[st.name] = since
		}
		if rest := companyTime - time.Since(since); w.company && rest > 0 {
			again = min(again, rest)
			continue
		}
		text := refusalText(*x)
		if w.told[st.name] == text {
			continue
		}
		w.told[st.name] = text
		w.line.clear()
		w.cli.errorf("%s", text)
		w.cli.errorf("Still waiting: it is placed as soon as a machine takes it. %s", w.undo(st.name))
	}
	return again
}

// waitingFor says in one line what it waits for.
func (w *wait) waitingFor() string {
	first := w.pending[0]
	o := w.judge(first, w.session.latest[first.name])
	text := fmt.Sprintf("waiting for %s: %s", first.name, o.waiting)
	if n := len(w.pending) - 1; n > 0 {
		text = fmt.Sprintf("waiting for %s and %d more: %s", first.name, n, o.waiting)
	}
	return text
}

// gaveUp says what it waited for in vain, and what becomes of it.
func (w *wait) gaveUp(ctx context.Context) error {
	w.line.clear()
	for _, st := range w.pending {
		s := w.session.latest[st.name]
		w.cli.errorf("Gave up waiting for unit %s: still waiting for %s.", st.name, w.judge(st, s).waiting)
		if w.undo != nil {
			w.cli.errorf("It stays wanted (%s). %s", s.DesiredState, w.undo(st.name))
		} else if w.goesOn != "" {
			w.cli.errorf("%s", w.goesOn)
		}
	}
	if errors.Is(context.Cause(ctx), errGaveUp) {
		return failed
	}
	return &exitError{code: exitInterrupted}
}
