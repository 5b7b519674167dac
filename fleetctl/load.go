package main

import (
	"github.com/fleet-project/fleet/unit"
	"github.com/spf13/cobra"
)

func (c *cli) loadCommand() *cobra.Command {
	opts := ensureOptions{verb: "load", target: unit.TargetLoaded}
	var block blocking
	cmd := &cobra.Command{
		Use:   "load UNIT...",
		Short: "Schedule units, without starting them",
		Long: `Has each unit placed on a machine and made known to its systemd, first storing
it in the cluster if need be. Waits until that is done. A unit that runs already
stays as it is. With --replace the local file takes the unit's place, if that is
inactive or loaded.

A global unit is on every machine that it fits: fleetctl does not wait for it.`,
		Example: `  fleetctl load web@1 web@2
  fleetctl load --replace web.service`,
		ValidArgsFunction: c.completeFilesAndUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.ensure(cmd.Context(), args, opts, block)
		},
	}
	addReplace(cmd, &opts.replace)
	block.addTo(cmd)
	return cmd
}
