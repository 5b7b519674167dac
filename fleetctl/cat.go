package main

import (
	"github.com/fleet-project/fleet/api"
	"github.com/spf13/cobra"
)

func (c *cli) catCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "cat UNIT...",
		Short: "Print units as they are stored",
		Long: `Prints the text of units' files as the cluster has it, byte for byte, comments and
all.`,
		Example: `  fleetctl cat web.service
  fleetctl cat web.service | diff - web.service`,
		ValidArgsFunction: c.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return failf("One unit file must be provided")
			}
			all, err := c.allSubjectsOf(cmd.Context(), args, anyUnit)
			if err != nil {
				return err
			}
			for _, subj := range all {
				client, err := c.client(cmd.Context())
				if err != nil {
					return err
				}
				u, err := client.Unit(cmd.Context(), subj.name)
				if api.IsNotFound(err) {
					return failf("Unit %s not found", subj.name)
				} else if err != nil {
					return err
				}
				if _, err := c.stdout.Write(textOf(u)); err != nil {
					return err
				}
			}
			return nil
		},
	}
}
