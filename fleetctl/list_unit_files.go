package main

import (
	"context"
	"strconv"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
	"github.com/spf13/cobra"
)

// unitFileRow is a unit of the cluster, as -o json shows it.
type unitFileRow struct {
	Unit         unit.Name   `json:"unit"`
	Hash         unit.Hash   `json:"hash"`
	DesiredState unit.Target `json:"desiredState"`
	CurrentState unit.Target `json:"currentState"`
	Machine      string      `json:"machine"`
	IP           string      `json:"ip"`
	Global       bool        `json:"global"`
	Description  string      `json:"description"`
}

var unitFileColumns = map[string]column[unitFileRow]{
	"unit":   func(u unitFileRow, _ bool) string { return string(u.Unit) },
	"hash":   func(u unitFileRow, full bool) string { return hashText(u.Hash, full) },
	"dstate": func(u unitFileRow, _ bool) string { return string(u.DesiredState) },
	"state": func(u unitFileRow, _ bool) string {
		if u.Global {
			return ""
		}
		return string(u.CurrentState)
	},
	"target": func(u unitFileRow, full bool) string {
		if u.Global {
			return "global"
		}
		return legend(u.Machine, u.IP, full)
	},
	"tmachine": func(u unitFileRow, full bool) string { return legend(u.Machine, u.IP, full) },
	"global":   func(u unitFileRow, _ bool) string { return strconv.FormatBool(u.Global) },
	"desc":     func(u unitFileRow, _ bool) string { return u.Description },
}

func (c *cli) listUnitFilesCommand() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use:               "list-unit-files",
		Short:             "List the units of the cluster, and what is wanted of them",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFields(l, unitFileColumns); err != nil {
				return err
			}
			rows, err := c.unitFileRows(cmd.Context())
			if err != nil {
				return err
			}
			return printList(c, l, unitFileColumns, rows, rows)
		},
	}
	l.addTo(cmd, "unit,hash,dstate,state,target", columnNames(unitFileColumns))
	return cmd
}

func (c *cli) unitFileRows(ctx context.Context) ([]unitFileRow, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	units, err := client.Units(ctx)
	if err != nil {
		return nil, err
	}
	machines, err := c.machines(ctx)
	if err != nil {
		return nil, err
	}
	rows := make([]unitFileRow, 0, len(units))
	for _, u := range units {
		rows = append(rows, unitFileRowOf(u, machines))
	}
	return rows, nil
}

func unitFileRowOf(u api.Unit, machines map[string]api.Machine) unitFileRow {
	f := unit.FromOptions(u.Options)
	req, _ := f.Requirements(u.Name) // a unit that can't be read is shown as far as it goes
	row := unitFileRow{
		Unit: u.Name, Hash: u.Hash, DesiredState: u.DesiredState, CurrentState: u.CurrentState,
		Machine: u.MachineID, IP: machines[u.MachineID].PrimaryIP, Global: req.Global, Description: f.Description(),
	}
	if row.Hash == "" { // a fleet 1.0 server
		row.Hash = f.Hash()
	}
	return row
}
