package agent

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/unit"
)

// Report is what an agent knows, for a person who wonders.
type Report struct {
	Health       string         `json:"health"` // why it doesn't follow its schedule; empty: it does
	Reach        string         `json:"reach"`  // of etcd, for units that say Isolation=stop
	Operations   int            `json:"operations"`
	Unpublished  int            `json:"unpublishedStates"`
	TextsFetched int            `json:"textsBeingFetched"`
	Units        []ReportedUnit `json:"units"`
}

// ReportedUnit is one unit on this host, by name.
type ReportedUnit struct {
	Name    unit.Name   `json:"name"`
	Target  unit.Target `json:"target,omitempty"` // as instructed; empty: no instruction
	Done    unit.Target `json:"done,omitempty"`   // as carried out
	File    unit.Hash   `json:"file,omitempty"`   // on disk
	Load    string      `json:"load,omitempty"`
	Active  string      `json:"active,omitempty"`
	Sub     string      `json:"sub,omitempty"`
	Doing   string      `json:"doing,omitempty"`   // the operation under way
	Error   string      `json:"error,omitempty"`   // why the instruction isn't carried out
	RetryAt *time.Time  `json:"retryAt,omitempty"` // when it is tried again
}

// Report asks the agent's loop, which answers within microseconds if it is
// alive.
func (a *Agent) Report(ctx context.Context) (Report, error) {
	answer := make(chan Report, 1)
	if err := a.ask(ctx, func() { answer <- a.reportNow() }); err != nil {
		return Report{}, err
	}
	return <-answer, nil
}

// Alive returns when the agent's loop has made a turn, or with ctx.
func (a *Agent) Alive(ctx context.Context) error { return a.ask(ctx, func() {}) }

// ask has the loop run f, and waits until it has.
func (a *Agent) ask(ctx context.Context, f func()) error {
	done := make(chan struct{})
	select {
	case a.events <- func(time.Time) { f(); close(done) }:
	case <-a.stopped:
		return errNotRunning
	case <-ctx.Done():
		return fmt.Errorf("the agent's loop doesn't answer: %w", ctx.Err())
	}
	select {
	case <-done:
		return nil
	case <-a.stopped:
		return errNotRunning
	case <-ctx.Done():
		return fmt.Errorf("the agent's loop doesn't answer: %w", ctx.Err())
	}
}

func (a *Agent) reportNow() Report {
	r := Report{
		Reach:      [...]string{reachable: "ok", cutOff: "cut off", nearlyDead: "nearly dead"}[a.core.reach],
		Operations: a.active, Unpublished: len(a.pending), TextsFetched: len(a.core.texts), Units: []ReportedUnit{},
	}
	if err := a.core.suspended(); err != nil {
		r.Health = err.Error()
	}
	for _, h := range a.core.units {
		u := ReportedUnit{
			Name: h.name, Load: h.state.Load, Active: h.state.Active, Sub: h.state.Sub, Doing: string(h.op), Error: h.err,
		}
		if h.want != nil {
			u.Target = h.want.Target
		}
		if h.rec != nil {
			u.Done, u.File = h.rec.Done.Target, h.rec.Disk
		}
		if retry := h.retry; !retry.IsZero() { // a copy: the report outlives the loop's turn
			u.RetryAt = &retry
		}
		r.Units = append(r.Units, u)
	}
	slices.SortFunc(r.Units, func(a, b ReportedUnit) int { return strings.Compare(string(a.Name), string(b.Name)) })
	return r
}
