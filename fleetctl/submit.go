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
is refused, and nothing is stored.`,
		Example:           "  fleetctl submit web@.service db.service",
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
