package main

import (
	"github.com/fleet-project/fleet/api"
	"github.com/spf13/cobra"
)

// machineRow is a machine as -o json shows it.
type machineRow struct {
	Machine  string            `json:"machine"`
	IP       string            `json:"ip"`
	Metadata map[string]string `json:"metadata"`
	Hostname string            `json:"hostname"`
	Version  string            `json:"version"`
	Cordoned bool              `json:"cordoned"`
	Leaving  bool              `json:"leaving"`
}

var machineColumns = map[string]column[machineRow]{
	"machine": func(m machineRow, full bool) string { return legend(m.Machine, "", full) },
	"ip":      func(m machineRow, _ bool) string { return m.IP },
	"metadata": func(m machineRow, _ bool) string {
		return pairs(m.Metadata)
	},
	"hostname": func(m machineRow, _ bool) string { return m.Hostname },
	"version":  func(m machineRow, _ bool) string { return m.Version },
	"state": func(m machineRow, _ bool) string {
		switch {
		case m.Leaving:
			return "leaving"
		case m.Cordoned:
			return "cordoned"
		}
		return "ready"
	},
}

func (c *cli) listMachinesCommand() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use:               "list-machines",
		Short:             "List the cluster's machines",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFields(l, machineColumns); err != nil {
				return err
			}
			client, err := c.client()
			if err != nil {
				return err
			}
			machines, err := client.Machines(cmd.Context())
			if err != nil {
				return err
			}
			rows := make([]machineRow, 0, len(machines))
			for _, m := range machines {
				rows = append(rows, rowOf(m))
			}
			return printList(c, l, machineColumns, rows, rows)
		},
	}
	l.addTo(cmd, "machine,ip,metadata", columnNames(machineColumns))
	return cmd
}

func rowOf(m api.Machine) machineRow {
	if m.Metadata == nil {
		m.Metadata = map[string]string{}
	}
	return machineRow{
		Machine: m.ID, IP: m.PrimaryIP, Metadata: m.Metadata, Hostname: m.Hostname,
		Version: m.Version, Cordoned: m.Cordoned, Leaving: m.Leaving,
	}
}

// noArgs refuses arguments as wrong usage.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return usagef("%s takes no arguments, but was given %q", cmd.CommandPath(), args[0])
	}
	return nil
}
