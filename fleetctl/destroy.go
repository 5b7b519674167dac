package main

import (
	"context"
	"fmt"

	"github.com/fleet-project/fleet/api"
	"github.com/spf13/cobra"
)

func (c *cli) destroyCommand() *cobra.Command {
	var block blocking
	cmd := &cobra.Command{
		Use:   "destroy UNIT...",
		Short: "Stop units and remove them from the cluster",
		Long: `Has each unit stopped everywhere and forgotten. Waits until it has stopped;
with --no-block it doesn't. Units that don't exist are told of, and are no failure.
The local unit file stays.`,
		Example: `  fleetctl destroy web.service
  fleetctl destroy 'web@*'`,
		ValidArgsFunction: c.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.destroy(cmd.Context(), args, block)
		},
	}
	block.addTo(cmd)
	return cmd
}

func (c *cli) destroy(ctx context.Context, args []string, block blocking) error {
	s, steps, err := c.existing(ctx, args, anyUnit)
	if err != nil || len(steps) == 0 {
		return err
	}
	defer s.close()
	for _, st := range steps {
		st.await = true
	}
	refused := c.inParallel(steps, func(st *step) (string, error) {
		if st.before.Exists {
			err := s.client.DestroyUnit(ctx, st.name)
			if err != nil && !api.IsNotFound(err) { // somebody else was quicker
				return "", fmt.Errorf("Error destroying units: %w", err) //nolint:staticcheck,revive // fleet 1.0's message
			}
		}
		if block.none {
			st.await = false
			return fmt.Sprintf("Destroyed %s", st.name), nil
		}
		return "", nil
	})
	destroying := map[*step]bool{}
	w := &wait{
		cli: c, session: s, attempts: block.attempts, goesOn: "fleet goes on without being waited for.",
		judge: func(st *step, status api.UnitStatus) outcome {
			if status.Destroying {
				destroying[st] = true
			}
			if status.Exists && destroying[st] { // and created anew
				return outcome{done: true}
			}
			return destroyOutcome(status)
		},
		arrived: func(st *step, _ outcome) { c.printf("Destroyed %s", st.name) },
	}
	if err := w.run(ctx, steps); err != nil {
		return err
	}
	return refused
}
