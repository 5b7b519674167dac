package main

import (
	"fmt"

	"github.com/fleet-project/fleet/unit"
	"github.com/spf13/cobra"
)

func (c *cli) unloadCommand() *cobra.Command {
	var block blocking
	cmd := &cobra.Command{
		Use:   "unload UNIT...",
		Short: "Stop units and take them off their machines",
		Long: `Has each unit stopped and taken off its machine. It stays in the cluster,
inactive. Waits until that is done. Units that don't exist are told of, and are no
failure.`,
		Example: `  fleetctl unload web.service
  fleetctl unload --no-block 'web@*'`,
		ValidArgsFunction: c.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.lower(cmd.Context(), args, lowering{
				verb: "unload", did: "unloaded", target: unit.TargetInactive, judge: unloadOutcome,
				say: func(name unit.Name, _ outcome) string { return fmt.Sprintf("Unit %s inactive", name) },
			}, block)
		},
	}
	block.addTo(cmd)
	return cmd
}
