package engine

import (
	"fmt"
	"time"
)

// maxThinking is beyond what any plan takes, however large the cluster.
const maxThinking = time.Minute

// Report is what an engine is doing, for a person who wonders.
type Report struct {
	Leads     *time.Time `json:"leadsSince,omitempty"`
	Trouble   string     `json:"trouble,omitempty"` // why the leader changes nothing
	SafetyNet string     `json:"safetyNetInterval"`
}

// Report tells it at once.
func (e *Engine) Report() Report {
	e.mu.Lock()
	defer e.mu.Unlock()
	r := Report{SafetyNet: e.safetyNet.String()}
	if !e.leads.IsZero() {
		leads := e.leads
		r.Leads = &leads
	}
	if e.trouble != nil {
		r.Trouble = e.trouble.Error()
	}
	return r
}

// Alive is an error if the planner doesn't come to an end, which nothing but
// the end of this process would mend. That etcd is away is no error.
func (e *Engine) Alive() error {
	e.mu.Lock()
	defer e.mu.Unlock()
	if took := time.Since(e.planning); !e.planning.IsZero() && took > maxThinking {
		return fmt.Errorf("the planner has been thinking for %s", took.Round(time.Second))
	}
	return nil
}

// thinking notes since when the planner is at work; zero: it isn't.
func (e *Engine) thinking(since time.Time) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.planning = since
}
