package simulation

import (
	"fmt"
	"time"
)

// Outcome is what became of one seed.
type Outcome struct {
	Seed    uint64
	Steps   uint64
	Passed  time.Duration // in the world
	Counts  map[string]int
	Broken  error // the promise that was broken; nil if all were kept
	History []string
}

const (
	// foundation is the time for hosts to boot and units to start.
	foundation = 20 * time.Second
	// convergence is how long everything may take to come right once all faults
	// are over: the agents' pauses between attempts grow up to a minute.
	convergence = 4 * time.Minute
	// stragglers is how long what was under way when faults ended may take.
	stragglers = lateAtMost + 20*time.Second
	// idleness is how long nothing may be written then: longer than the safety
	// net's interval.
	idleness = 3 * time.Minute
)

// Run lets the world of a seed be, and judges it.
func Run(seed uint64, tracing bool) Outcome { return play(seed, drawPlan(seed), tracing) }

// play lets a world be as a plan has it, and judges it.
func play(seed uint64, p plan, tracing bool) (out Outcome) {
	w := newWorld(seed, p, tracing)
	defer w.end()
	w.judge.begin()
	w.watchOver()
	for _, n := range w.hosts {
		n.boot()
	}
	w.settle()
	w.run(epoch.Add(foundation))
	w.operators()
	w.troubles()
	end := epoch.Add(foundation + w.plan.chaos)
	w.run(end)
	w.calm()
	for _, n := range w.hosts { // what stands still has yet to send what it was about to
		for _, goesOn := range []time.Time{n.asleep, n.process.frozen} {
			if goesOn.After(end) {
				end = goesOn
			}
		}
	}
	last := end.Add(convergence)
	for end = end.Add(stragglers); ; end = end.Add(10 * time.Second) {
		w.run(end)
		if !end.Before(last) || w.judge.wrong != nil || w.judge.rests() {
			break
		}
	}
	if w.judge.wrong == nil {
		w.judge.rest()
	}
	if w.judge.wrong == nil && !w.judge.flaps() {
		w.judge.idle(func() { w.run(end.Add(idleness)) })
	}
	out = Outcome{Seed: seed, Steps: w.steps, Passed: w.now.Sub(epoch), Counts: w.counts}
	if w.judge.wrong != nil {
		out.Broken = w.judge.wrong
	}
	if w.trace != nil {
		lines := w.trace.lines
		if v := w.judge.wrong; v != nil && v.unit != "" {
			lines = w.trace.of(v.unit, len(lines))
		}
		for _, l := range lines {
			out.History = append(out.History, l.String())
		}
	}
	return out
}

// Replay is the command that runs a seed again.
func Replay(seed uint64) string { return fmt.Sprintf("make sim SEED=%d TRACE=1", seed) }

// end ends all processes.
func (w *world) end() {
	for _, n := range w.hosts {
		if n.process != nil {
			n.process.Kill()
		}
	}
	for _, p := range w.users {
		p.Kill()
	}
}
