package main

import (
	"context"
	"fmt"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
	"github.com/spf13/cobra"
)

func (c *cli) stopCommand() *cobra.Command {
	var block blocking
	cmd := &cobra.Command{
		Use:   "stop UNIT...",
		Short: "Stop units; they stay loaded where they are",
		Long: `Has systemd stop each unit. It stays on its machine, loaded, and 'start' starts it
there. Waits until it has stopped. Units that don't exist are told of, and are no
failure.`,
		Example: `  fleetctl stop web.service
  fleetctl stop 'web@*'                     # all that the cluster has`,
		ValidArgsFunction: c.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.lower(cmd.Context(), args, lowering{
				verb: "stop", did: "stopped", target: unit.TargetLoaded, judge: stopOutcome,
				say: func(name unit.Name, o outcome) string {
					if o.on == "" {
						return fmt.Sprintf("Unit %s inactive", name)
					}
					return fmt.Sprintf("Unit %s loaded on %s", name, o.on)
				},
			}, block)
		},
	}
	block.addTo(cmd)
	return cmd
}

// lowering is what stop and unload differ in.
type lowering struct {
	verb, did string
	target    unit.Target
	judge     func(api.UnitStatus) outcome
	say       func(name unit.Name, o outcome) string
}

// lower brings units of the registry down to a state.
func (c *cli) lower(ctx context.Context, args []string, l lowering, block blocking) error {
	s, steps, err := c.existing(ctx, args, loadable)
	if err != nil || len(steps) == 0 {
		return err
	}
	defer s.close()
	for _, st := range steps {
		was := st.before.DesiredState
		switch {
		case l.target == unit.TargetLoaded && was == unit.TargetInactive:
			return failf("Unable to stop unit %s in state inactive", st.name)
		case was != l.target:
			st.send = &api.Unit{Name: st.name, DesiredState: l.target}
			st.await = true
		default:
			st.await = !st.before.Global && !l.judge(st.before).done
		}
	}
	refused := c.carryOut(ctx, s, steps)
	var did []unit.Name
	for _, st := range steps {
		switch {
		case !st.await:
			continue
		case st.before.Global:
			c.printf("Triggered global unit %s %s", st.name, l.verb)
			st.await = false
		case block.none:
			c.printf("Triggered unit %s %s", st.name, l.verb)
			st.await = false
		default:
			did = append(did, st.name)
		}
	}
	w := &wait{
		cli: c, session: s, attempts: block.attempts, goesOn: "fleet goes on without being waited for.",
		judge:   func(_ *step, status api.UnitStatus) outcome { return l.judge(status) },
		arrived: func(st *step, o outcome) { c.printf("%s", l.say(st.name, o)) },
	}
	if err := w.run(ctx, steps); err != nil {
		return err
	}
	if len(did) > 0 && refused == nil {
		c.errorf("Successfully %s units %v.", l.did, did)
	}
	return refused
}

// existing follows the units of the registry that the arguments name. No steps
// means that there are none, which has been said.
func (c *cli) existing(ctx context.Context, args []string, fits func(unit.Name) bool) (*session, []*step, error) {
	all, err := c.allSubjectsOf(ctx, args, fits)
	if err != nil || len(all) == 0 {
		return nil, nil, err
	}
	s, err := c.follow(ctx, namesOf(all))
	if err != nil {
		return nil, nil, err
	}
	var steps []*step
	var missing []unit.Name
	for _, subj := range all {
		if st := s.latest[subj.name]; st.Exists || st.Destroying {
			steps = append(steps, &step{subject: subj, before: st})
		} else {
			missing = append(missing, subj.name)
		}
	}
	switch {
	case len(steps) == 0:
		c.errorf("Units not found in registry")
		s.close()
	case len(missing) > 0:
		c.errorf("Units not found in registry: %v", missing)
	}
	return s, steps, nil
}
