package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
)

const (
	// lingerTime is how long a fleet 1.0 server must say that a simple service is
	// active: systemd calls it active before the program was even executed, and a
	// program that isn't there fails a few milliseconds later. Our hosts tell only
	// of one that still runs after such a time.
	lingerTime = 30 * time.Millisecond
	// oneshotTime is how long a oneshot must be seen inactive before that counts
	// as its end, if it wasn't seen to begin: the moment before looks the same.
	oneshotTime = 300 * time.Millisecond
	// failedTime is how long a unit must be seen failed: one that is restarted may
	// look failed between its end and its new beginning.
	failedTime = 150 * time.Millisecond
	// newsTime is how long a trouble that was there before the command must be seen:
	// the machine tries again, and if that goes as before, there is no change.
	newsTime = time.Second
	// otherTime is the same for other units, which seldom end that soon.
	otherTime = 2 * time.Second
)

// outcome judges a unit's status by what a command waits for.
type outcome struct {
	done bool
	// settle: it is done if nothing changes for that long.
	settle time.Duration
	// began: systemd has begun to start it. ended: systemd says that it is down,
	// after it had begun or before.
	began, ended bool
	// idle: it has come to rest without running and without having failed, which
	// is odd for its kind.
	idle bool
	// unseen: what is wanted of the unit isn't what the command asked for.
	unseen bool
	// on is the machine that it is about, as fleetctl writes it.
	on string
	// machine and failed say where and why it failed; failed is empty if it
	// didn't.
	machine string
	failed  string
	// untouched: that machine did nothing at all. What it has under this name, a
	// log too, is its own.
	untouched bool
	// log is the end of the unit's log, if that machine sent it along.
	log string
	// waiting says what it waits for, if it isn't done.
	waiting string
}

// launchOutcome: the unit runs, or has run to its end.
func launchOutcome(s api.UnitStatus) outcome { return outcomeOn(s, unit.TargetLaunched, judgeLaunched) }

// loadOutcome: the unit is known to a machine's systemd.
func loadOutcome(s api.UnitStatus) outcome { return outcomeOn(s, unit.TargetLoaded, judgeLoaded) }

// stopOutcome: the unit is loaded, and not launched any more. One that has no
// place has nothing to be stopped.
func stopOutcome(s api.UnitStatus) outcome {
	if s.Exists && s.DesiredState == unit.TargetLaunched {
		return outcome{unseen: true, waiting: "the change to be seen"}
	}
	if len(s.Placements) == 0 && len(running(s)) == 0 && s.DesiredState == unit.TargetLoaded {
		return outcome{done: true}
	}
	o := outcomeOn(s, unit.TargetLoaded, judgeLoaded)
	o.failed = "" // it doesn't run: that is what was asked for
	return o
}

// outcomeOn judges by the placement that matches what is wanted, and by what its
// machine says.
func outcomeOn(s api.UnitStatus, target unit.Target, judge func(api.MachineState, api.UnitStatus) outcome) outcome {
	if !s.Exists {
		return outcome{done: true, failed: "it was destroyed"}
	}
	if s.DesiredState != target && !(target == unit.TargetLoaded && s.DesiredState == unit.TargetLaunched) {
		return outcome{unseen: true, waiting: "the change to be seen"}
	}
	for _, p := range s.Placements {
		if !p.Target.Wanted() || s.Explanation != nil { // explained: its machine is away
			continue
		}
		where := legend(p.MachineID, p.PrimaryIP, false)
		if p.Target != s.DesiredState || p.Hash != s.Hash || p.Restart != s.RestartCount(p.MachineID) {
			return outcome{waiting: "the engine to tell " + where}
		}
		st, said := stateOn(s, p.MachineID)
		o := outcome{waiting: where + " to take it up"}
		if said && st.Active == "deactivating" {
			o.waiting = "it to stop on " + where
		}
		if said && st.Error != "" && st.Target != p.Target {
			o = outcome{done: true, failed: st.Error, untouched: st.Target == unit.TargetInactive}
		} else if said && st.Target == p.Target && st.Hash == p.Hash && st.Restart >= p.Restart {
			o = judge(st, s)
		}
		o.on, o.machine, o.log = where, p.MachineID, st.Log
		return o
	}
	for _, st := range s.States {
		if st.Target.Wanted() {
			return outcome{waiting: "it to stop on " + legend(st.MachineID, st.PrimaryIP, false) + " first"}
		}
	}
	return outcome{waiting: "a machine that it fits on"}
}

func judgeLaunched(st api.MachineState, s api.UnitStatus) outcome {
	where := legend(st.MachineID, st.PrimaryIP, false)
	switch {
	case st.Error != "":
		return outcome{done: true, failed: st.Error}
	case st.Active == "active" && st.Sub == "running" && s.ServiceType == "simple" && s.Lag > 0:
		return outcome{began: true, settle: lingerTime, waiting: "its program to run on " + where}
	case st.Active == "active" || st.Active == "reloading" || st.Active == "refreshing":
		return outcome{done: true}
	case st.Active == "failed":
		return outcome{failed: resultOf(st), settle: failedTime, waiting: "its end or a new beginning on " + where}
	case st.Sub == "auto-restart" && st.Result != "":
		return outcome{done: true, failed: resultOf(st) + "; systemd will start it again"}
	case st.Sub == "auto-restart": // it ended well
		return outcome{began: true, settle: failedTime, waiting: "its next run on " + where}
	case st.Active == "inactive" && st.Result != "" && st.Result != "exec-condition": // which to systemd is no failure
		return outcome{failed: resultOf(st), settle: failedTime, waiting: "its end or a new beginning on " + where}
	case st.Active == "inactive":
		o := outcome{ended: true, settle: otherTime, idle: true, waiting: "systemd to start it on " + where}
		if s.ServiceType == "oneshot" {
			o.settle, o.idle = oneshotTime, false
		}
		return o
	}
	return outcome{began: true, waiting: fmt.Sprintf("its start on %s: %s (%s)", where, st.Active, st.Sub)}
}

func judgeLoaded(st api.MachineState, _ api.UnitStatus) outcome {
	switch {
	case st.Error != "":
		return outcome{done: true, failed: st.Error}
	case st.Load != "" && st.Load != "loaded" && st.Load != "masked":
		return outcome{done: true, failed: "systemd says " + st.Load}
	}
	return outcome{done: true}
}

func resultOf(st api.MachineState) string {
	if st.Result == "" {
		return "systemd says " + st.Active + " (" + st.Sub + ")"
	}
	return "result " + st.Result
}

// unloadOutcome: no machine has anything of the unit any more.
func unloadOutcome(s api.UnitStatus) outcome {
	switch {
	case !s.Exists:
		return outcome{done: true}
	case s.DesiredState.Wanted():
		return outcome{unseen: true, waiting: "the change to be seen"}
	}
	return goneFrom(s)
}

// goneFrom says which machines have yet to take the unit away.
func goneFrom(s api.UnitStatus) outcome {
	var where []string
	for _, p := range s.Placements {
		if st, said := stateOn(s, p.MachineID); !said || st.Target != unit.TargetNone || p.Target != unit.TargetNone {
			where = append(where, legend(p.MachineID, p.PrimaryIP, false))
		}
	}
	if len(where) == 0 && len(running(s)) == 0 {
		return outcome{done: true}
	}
	for _, st := range running(s) {
		if l := legend(st.MachineID, st.PrimaryIP, false); !strings.Contains(strings.Join(where, " "), l) {
			where = append(where, l)
		}
	}
	return outcome{waiting: "it to stop on " + strings.Join(where, ", ")}
}

// destroyOutcome: the unit has stopped everywhere and is forgotten.
func destroyOutcome(s api.UnitStatus) outcome {
	switch {
	case s.Exists:
		return outcome{unseen: true, waiting: "the change to be seen"}
	case s.Destroying:
		if o := goneFrom(s); !o.done {
			return o
		}
		return outcome{waiting: "the engine to forget it"}
	}
	return outcome{done: true}
}

// running gives the states that aren't mere acknowledgements that the unit was
// taken away.
func running(s api.UnitStatus) []api.MachineState {
	var out []api.MachineState
	for _, st := range s.States {
		if st.Target != unit.TargetNone {
			out = append(out, st)
		}
	}
	return out
}

func stateOn(s api.UnitStatus, machine string) (api.MachineState, bool) {
	for _, st := range s.States {
		if st.MachineID == machine {
			return st, true
		}
	}
	return api.MachineState{}, false
}
