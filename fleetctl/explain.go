package main

import (
	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
	"github.com/spf13/cobra"
)

// explainRow is why a unit is where it is, as -o json shows it.
type explainRow struct {
	Unit     unit.Name    `json:"unit"`
	Summary  string       `json:"summary"`
	Problem  string       `json:"problem"`
	Fits     bool         `json:"fits"`
	Placed   []string     `json:"placed"`
	Machines []verdictRow `json:"machines"`
}

// verdictRow is whether a machine would take a unit.
type verdictRow struct {
	Machine  string   `json:"machine"`
	IP       string   `json:"ip"`
	Hostname string   `json:"hostname"`
	Fits     bool     `json:"fits"`
	Placed   bool     `json:"placed"`
	Reasons  []string `json:"reasons"`
}

func (c *cli) explainCommand() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use:   "explain UNIT...",
		Short: "Say why units are where they are, machine by machine",
		Long: `Says for each machine whether it would take the unit, and why not. The answer
comes from the very rules that fleet schedules by.

--output json or yaml prints an array of objects with unit, summary, problem (why
nothing can be decided), fits (true: a machine would take it), placed (an array of
the ids of the machines it is on) and machines: for each machine, its id, ip and
hostname, fits, placed, and reasons (an array; why it would not take the unit).`,
		Example: `  fleetctl explain web.service
  fleetctl explain 'web@*' -o json | jq -r '.[] | select(.fits | not).unit'`,
		ValidArgsFunction: c.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := l.check(); err != nil {
				return err
			}
			all, err := c.subjectsOf(cmd.Context(), args)
			if err != nil {
				return err
			}
			rows := []explainRow{}
			for _, subj := range all {
				client, err := c.client(cmd.Context())
				if err != nil {
					return err
				}
				x, err := client.Explain(cmd.Context(), subj.name)
				if api.IsNotFound(err) {
					return failf("Unit %s does not exist.", subj.name)
				} else if err != nil {
					return err
				}
				rows = append(rows, explainRowOf(*x))
				if l.output == "" {
					c.explained(*x, l.full)
				}
			}
			if l.output != "" {
				return c.printData(l.output, rows)
			}
			return nil
		},
	}
	cmd.Flags().BoolVarP(&l.full, "full", "l", false, "don't shorten ids")
	l.addOutput(cmd)
	return cmd
}

func explainRowOf(x api.Explanation) explainRow {
	row := explainRow{
		Unit: x.Unit, Summary: x.Summary, Problem: x.Problem, Fits: x.Fits,
		Placed: append([]string{}, x.Placed...), Machines: []verdictRow{},
	}
	for _, v := range x.Machines {
		row.Machines = append(row.Machines, verdictRow{
			Machine: v.MachineID, IP: v.PrimaryIP, Hostname: v.Hostname, Fits: v.Fits, Placed: v.Placed,
			Reasons: append([]string{}, v.Reasons...),
		})
	}
	return row
}

func (c *cli) explained(x api.Explanation, full bool) {
	c.printf("Unit %s: %s", x.Unit, x.Summary)
	for _, v := range x.Machines {
		c.printf("  %s", verdictText(v, full))
	}
}
