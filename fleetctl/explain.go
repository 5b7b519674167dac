package main

import (
	"github.com/fleet-project/fleet/api"
	"github.com/spf13/cobra"
)

func (c *cli) explainCommand() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use:   "explain UNIT...",
		Short: "Say why units are where they are, machine by machine",
		Long: `Says for each machine whether it would take the unit, and why not. The answer
comes from the very rules that fleet schedules by.`,
		ValidArgsFunction: c.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := l.check(); err != nil {
				return err
			}
			all, err := c.subjectsOf(cmd.Context(), args)
			if err != nil {
				return err
			}
			found := []api.Explanation{}
			for _, subj := range all {
				client, err := c.client()
				if err != nil {
					return err
				}
				x, err := client.Explain(cmd.Context(), subj.name)
				if api.IsNotFound(err) {
					return failf("Unit %s does not exist.", subj.name)
				} else if err != nil {
					return err
				}
				found = append(found, *x)
				if l.output == "" {
					c.explained(*x, l.full)
				}
			}
			if l.output != "" {
				return c.printData(l.output, found)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&l.full, "full", "l", false, "don't shorten ids")
	l.addOutput(cmd)
	return cmd
}

func (c *cli) explained(x api.Explanation, full bool) {
	c.printf("Unit %s: %s", x.Unit, x.Summary)
	for _, v := range x.Machines {
		c.printf("  %s", verdictText(v, full))
	}
}
