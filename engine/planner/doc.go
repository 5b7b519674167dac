// Package planner decides which machine runs which unit.
//
// It is pure: no clock, no I/O, no goroutine, no logging. The cluster's changes
// go in, decisions come out, the caller writes them. The same inputs give the
// same decisions in every process, whatever the order in which a snapshot is
// told.
//
//	p := planner.New(planner.Config{Grace: agentTTL})
//	plan := p.Step(now, view.Changes()) // a snapshot, then what a watch brings
//	... write plan.Decisions, fenced ...
//	plan = p.Step(now, changes)         // at the latest at plan.Wake
//
// The planner takes its decisions for committed, and their echo in the changes
// for old news. If a commit fails, throw the planner away and start over from a
// snapshot. Its cost follows what changed, not what exists.
//
// # The model
//
// A job is a unit, a host is a machine, present or not, and a seat is one unit
// on one machine: what the machine is told (the schedule key) and what it says
// (the state key). To other units a seat is held, leaving or away. Changes
// mark what they concern; a Step first makes all its changes known and then
// looks at what is marked until nothing is. A unit that fits nowhere is looked
// at again when a machine opens for it, and only at that machine.
//
// # What it promises
//
// One place: a unit that isn't global is told to run on one live machine. It
// moves in steps: Withdraw, the machine's acknowledgement, Forget, and only
// then Place. While an acknowledgement is due from a live machine the unit is
// started nowhere, not even there: a withdrawal that is on its way can't be
// told from one that was carried out. From a machine that is gone no
// acknowledgement can come; its instruction stays for when it is back.
//
// Sticky: a unit leaves a live machine only if it may not stay there. A
// cordoned machine keeps what it has.
//
// Lost machines: what a lost machine held is placed elsewhere in the same Step,
// spread by load. If there is nowhere to go nothing is changed: should the
// machine come back first, the unit just goes on. Machines that are absent when
// a leader takes over, or when the first machine shows up after all were gone,
// get Config.Grace to come back before their units move. Units with
// Isolation=stop move no later and no sooner: their agents have stopped them by
// the time the lease runs out.
//
// Missing is not empty: a key that vanished without our doing is written anew,
// and nothing is stopped for it. What runs without having been told is adopted,
// or withdrawn if its unit is placed elsewhere. Without the cluster's key
// nothing at all is decided.
//
// # Who fits where
//
// Each option of [X-Fleet] is a filter, and every filter can say why it refuses
// (Explain). Units with the same MachineMetadata share a class: the machines that
// meet it, by load. Conflicts and Replaces are patterns that count, machine by
// machine, who names them and whom they match, so nobody is compared with
// everybody. The best machine has the fewest units, then the fewest instances of
// the same template, then comes next on a ring of hashes.
//
// Machines have a position, their place on that ring, and a set of them is bits:
// those of one load, those with so many instances of a template, those where a
// pattern keeps others away. A search combines such sets and looks at the machines
// that are left, in the order of preference: nearly always at one.
//
// Where two units that are placed turn out to be in conflict, the one whose file
// says so leaves. A unit with Replaces claims a machine and waits until those it
// replaces have left; they can't come back while it is there. If it goes elsewhere
// in the same Step after all, they stay where they are. Units that would make each
// other move in a circle, by Replaces and MachineOf, only keep off each other's
// machines. Units tied by MachineOf are a group: the first to be placed goes where
// all of them fit, if there is such a machine.
package planner
