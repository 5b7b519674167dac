package main

import (
	"context"
	"fmt"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
	"github.com/spf13/cobra"
)

func (c *cli) restartCommand() *cobra.Command {
	var block blocking
	cmd := &cobra.Command{
		Use:   "restart UNIT...",
		Short: "Have systemd restart units where they are",
		Long: `Has the systemd of each machine that runs a unit restart it: a global unit's on
every machine. One that is loaded is started. Waits until they run.`,
		Example: `  fleetctl restart web.service
  fleetctl restart 'web@*'`,
		ValidArgsFunction: c.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.restart(cmd.Context(), args, block)
		},
	}
	block.addAttempts(cmd)
	return cmd
}

func (c *cli) restart(ctx context.Context, args []string, block blocking) error {
	all, err := c.subjectsOf(ctx, args)
	if err != nil || len(all) == 0 {
		return err
	}
	s, err := c.follow(ctx, namesOf(all))
	if err != nil {
		return err
	}
	defer s.close()
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
		steps = append(steps, st)
	}
	refused := c.carryOut(ctx, s, steps)
	w := &wait{
		cli: c, session: s, attempts: block.attempts,
		judge: func(st *step, status api.UnitStatus) outcome {
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
