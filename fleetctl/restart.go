package main

import (
	"context"
	"fmt"
	"slices"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
	"github.com/spf13/cobra"
)

func (c *cli) restartCommand() *cobra.Command {
	var opts restartOptions
	cmd := &cobra.Command{
		Use:   "restart UNIT...",
		Short: "Have systemd restart units where they are",
		Long: `Has the systemd of each machine that runs a unit restart it: a global unit's on
every machine, or on the one that --machine names. One that is loaded is started.
Waits until they run.`,
		Example: `  fleetctl restart web.service
  fleetctl restart 'web@*'
  fleetctl restart --machine 29f8a1c3 metrics`,
		ValidArgsFunction: c.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.machine == "" && cmd.Flags().Changed("machine") { // a variable that isn't set: not "on all"
				return failf("--machine is empty: give the beginning of a machine's id")
			}
			return c.restart(cmd.Context(), args, opts)
		},
	}
	opts.addAttempts(cmd)
	addMachine(c, cmd, &opts.machine)
	return cmd
}

type restartOptions struct {
	blocking
	machine string
}

func (c *cli) restart(ctx context.Context, args []string, opts restartOptions) error {
	all, err := c.subjectsOf(ctx, args)
	if err != nil || len(all) == 0 {
		return err
	}
	s, err := c.follow(ctx, namesOf(all))
	if err != nil {
		return err
	}
	defer s.close()
	where, err := c.oneEach(ctx, all, opts.machine)
	if err != nil {
		return err
	}
	var steps []*step
	for _, subj := range all {
		st := &step{subject: subj, before: s.latest[subj.name], restart: true, await: true}
		switch {
		case !st.before.Exists:
			return failf("Unit %s does not exist.", st.name)
		case st.before.DesiredState == unit.TargetInactive:
			return failf("Unable to restart unit %s in state %s", st.name, st.before.DesiredState)
		case st.before.DesiredState == unit.TargetLoaded:
			st.restart = false
			st.send = &api.Unit{Name: st.name, DesiredState: unit.TargetLaunched}
		}
		if where != nil {
			if st.only, err = where(st.name); err != nil {
				return err
			}
			if !st.restart && st.before.Global {
				return failf("Unable to restart unit %s in state %s on one machine alone. To start it on all: fleetctl start %s", st.name, st.before.DesiredState, st.name)
			}
		}
		steps = append(steps, st)
	}
	refused := c.carryOut(ctx, s, steps)
	w := &wait{
		cli: c, session: s, attempts: opts.attempts,
		judge: func(st *step, status api.UnitStatus) outcome {
			if st.only != nil {
				return st.news(aloneOn(status, *st.only, st.restarts))
			}
			if status.Restart < st.restarts {
				return outcome{waiting: "the change to be seen"}
			}
			if status.Global {
				return everywhere(status)
			}
			return st.news(launchOutcome(status))
		},
		arrived: func(st *step, o outcome) {
			if o.failed != "" {
				c.sayFailed(ctx, st.name, o)
				return
			}
			did := "restarted"
			if !st.restart {
				did = "launched"
			}
			c.printf("Unit %s %s on %s", st.name, did, o.on)
			c.sayIdle(ctx, st.name, o)
		},
		undo: giveUp,
	}
	if err := w.run(ctx, steps); err != nil {
		return err
	}
	return refused
}

// oneEach gives what finds the one machine that a unit is to be restarted on; nil
// if no machine is given.
func (c *cli) oneEach(ctx context.Context, all []subject, given string) (func(unit.Name) (*api.Machine, error), error) {
	if given == "" {
		return nil, nil
	}
	statuses, err := c.settled(ctx, namesOf(all))
	if err != nil {
		return nil, err
	}
	machines, err := c.machines(ctx)
	return func(name unit.Name) (*api.Machine, error) {
		i := slices.IndexFunc(statuses, func(s api.UnitStatus) bool { return s.Unit == name })
		places, err := locate(statuses[i], machines, given, "running")
		if err != nil {
			return nil, err
		}
		if len(places) > 1 {
			return nil, failf("Unit %s is on %d machines whose ids begin with %s: give more of the id that is meant, such as %s.",
				name, len(places), given, places[0].machine.ID)
		}
		return &places[0].machine, nil
	}, err
}

// aloneOn judges a unit that one machine is to restart; how it is on others does
// not matter.
func aloneOn(s api.UnitStatus, m api.Machine, restarts uint64) outcome {
	elsewhere := func(id string) bool { return id != m.ID }
	s.Placements = slices.DeleteFunc(slices.Clone(s.Placements), func(p api.Placement) bool { return elsewhere(p.MachineID) })
	s.States = slices.DeleteFunc(slices.Clone(s.States), func(st api.MachineState) bool { return elsewhere(st.MachineID) })
	if s.DesiredState == unit.TargetLaunched && !slices.ContainsFunc(s.Placements, func(p api.Placement) bool { return p.Target.Wanted() }) {
		return outcome{done: true, failed: "it is not to run there any more", on: legend(m.ID, m.PrimaryIP, false)}
	}
	if s.Exists && s.RestartCount(m.ID) < restarts {
		return outcome{waiting: "the change to be seen"}
	}
	return launchOutcome(s)
}

// everywhere judges a global unit: all machines that have it must be done.
func everywhere(s api.UnitStatus) outcome {
	all := outcome{done: true}
	n := 0
	for _, p := range s.Placements {
		if !p.Target.Wanted() {
			continue
		}
		n++
		one := s
		one.Placements = []api.Placement{p}
		o := launchOutcome(one)
		if o.failed != "" || !o.done && o.settle == 0 {
			return o
		}
		all.done, all.settle = all.done && o.done, max(all.settle, o.settle)
	}
	all.on = fmt.Sprintf("%d machines", n)
	return all
}
