package main

import "github.com/spf13/cobra"

// verifyCommand stands for one that fleet 1.0 had dropped already.
func (c *cli) verifyCommand() *cobra.Command {
	return &cobra.Command{
		Use:    "verify",
		Short:  "Is gone: fleet doesn't sign units",
		Hidden: true,
		RunE: func(*cobra.Command, []string) error {
			return usagef("verify is gone: fleet doesn't sign units. To compare a unit with a file: fleetctl cat UNIT | diff - FILE")
		},
	}
}
