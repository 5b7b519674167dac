// Package history checks what an API has answered to many clients at once: whether
// each unit behaved as if all requests of it had been carried out one after the
// other, each at a moment between its being sent and its being answered
// (linearizability, by porcupine). A request whose answer was lost may have been
// carried out at any later moment, or never.
package history

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/anishathalye/porcupine"
)

// Verb is what a client asks for.
type Verb string

// What clients ask for.
const (
	Put    Verb = "put"    // text and desired state
	Submit Verb = "submit" // text alone: a unit that has it already stays as it is
	Aim    Verb = "aim"    // desired state alone
	Delete Verb = "delete"
	Get    Verb = "get"
)

// Request is what a client asked for, of one unit.
type Request struct {
	Unit, Host string
	Verb       Verb
	Text       string // its name among the texts, not itself
	Target     string
}

// Answer is what it was told.
type Answer struct {
	// Lost: nothing that could be relied on.
	Lost bool
	// Absent: there is no such unit.
	Absent bool
	// Text and Target are what Get says.
	Text, Target string
}

// unit is one unit as it should be: absent, or with text and target.
type unit struct{ text, target string }

const inactive = "inactive"

// step carries a request out, if the answer fits.
func step(state, input, output any) (bool, any) {
	u, in, out := state.(unit), input.(Request), output.(Answer)
	absent := u == unit{}
	switch in.Verb {
	case Get:
		return out.Absent == absent && (absent || u == unit{out.Text, out.Target}), u
	case Put:
		return !out.Absent, unit{in.Text, in.Target}
	case Submit:
		if u.text == in.Text {
			return !out.Absent, u
		}
		return !out.Absent, unit{in.Text, inactive}
	}
	if !out.Lost && out.Absent != absent {
		return false, u
	}
	switch {
	case absent:
		return true, u
	case in.Verb == Delete:
		return true, unit{}
	}
	return true, unit{u.text, in.Target}
}

var model = porcupine.Model{
	Init: func() any { return unit{} },
	Step: step,
	DescribeOperation: func(input, output any) string {
		in, out := input.(Request), output.(Answer)
		asked := fmt.Sprintf("%s: %s %s %s %s", in.Host, in.Verb, in.Unit, in.Text, in.Target)
		switch {
		case out.Lost:
			return asked + " → ?"
		case out.Absent:
			return asked + " → absent"
		}
		return asked + fmt.Sprintf(" → %s %s", out.Text, out.Target)
	},
	DescribeState: func(state any) string { return fmt.Sprintf("%+v", state.(unit)) },
}

// History is what clients have asked and were told. It is safe for concurrent use.
type History struct {
	mu    sync.Mutex
	began time.Time
	ops   []porcupine.Operation
	lost  int
}

// New begins a history.
func New() *History { return &History{began: time.Now()} }

// Ask has one client do a request, and notes when it did and what came of it. A
// Get whose answer is lost says nothing, and isn't noted.
func (h *History) Ask(client int, r Request, do func() Answer) Answer {
	sent := time.Since(h.began)
	out := do()
	answered := time.Since(h.began)
	h.mu.Lock()
	defer h.mu.Unlock()
	if out.Lost {
		h.lost++
		if r.Verb == Get {
			return out
		}
		answered = 1 << 62 // it may still happen
	}
	h.ops = append(h.ops, porcupine.Operation{ClientId: client, Input: r, Call: int64(sent), Output: out, Return: int64(answered)})
	return out
}

// Counts are how many requests were made, and of how many the answers were lost.
func (h *History) Counts() (asked, lost int) {
	h.mu.Lock()
	defer h.mu.Unlock()
	return len(h.ops), h.lost
}

// Check says why the history of a unit can't be that of requests carried out one
// after the other. Then it leaves a page that shows it in dir.
func (h *History) Check(dir string, patience time.Duration) error {
	h.mu.Lock()
	defer h.mu.Unlock()
	of := map[string][]porcupine.Operation{}
	for _, op := range h.ops {
		name := op.Input.(Request).Unit
		of[name] = append(of[name], op)
	}
	var failed []error
	for _, name := range slices.Sorted(maps.Keys(of)) {
		result, info := porcupine.CheckOperationsVerbose(model, of[name], patience)
		if result == porcupine.Ok {
			continue
		}
		what := "is not linearizable"
		if result == porcupine.Unknown {
			what = fmt.Sprintf("could not be decided on within %s", patience)
		}
		path := filepath.Join(dir, "history-"+name+".html")
		err := os.MkdirAll(dir, 0o755)
		if err == nil {
			err = porcupine.VisualizePath(model, info, path)
		}
		if err != nil {
			path = err.Error()
		}
		failed = append(failed, fmt.Errorf("the history of %s %s: see %s", name, what, path))
	}
	return errors.Join(failed...)
}
