package main

import (
	"github.com/fleet-project/fleet/unit"
	"github.com/spf13/cobra"
)

func (c *cli) submitCommand() *cobra.Command {
	opts := ensureOptions{verb: "submit", target: unit.TargetInactive}
	cmd := &cobra.Command{
		Use:   "submit UNIT...",
		Short: "Store units in the cluster",
		Long: `Stores unit files in the cluster, without scheduling them. A file with a mistake
is refused with its line, and nothing is stored. What is in the cluster already
stays as it is; a local file that differs is warned of. With --replace it takes
the unit's place, if that is inactive.`,
		Example: `  fleetctl submit web@.service db.service
  fleetctl submit --replace units/web@.service`,
		ValidArgsFunction: c.completeFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.ensure(cmd.Context(), args, opts, blocking{none: true})
		},
	}
	addReplace(cmd, &opts.replace)
	return cmd
}

func addReplace(cmd *cobra.Command, replace *bool) {
	cmd.Flags().BoolVar(replace, "replace", false, "replace the unit in the cluster by the local file")
}
