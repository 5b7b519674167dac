package main

import (
	"context"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
	"github.com/spf13/cobra"
)

// unitRow is what one machine says of a unit, as -o json shows it.
type unitRow struct {
	Unit    unit.Name `json:"unit"`
	Machine string    `json:"machine"`
	IP      string    `json:"ip"`
	Load    string    `json:"load"`
	Active  string    `json:"active"`
	Sub     string    `json:"sub"`
	Hash    unit.Hash `json:"hash"`
	Result  string    `json:"result,omitempty"`
	Error   string    `json:"error,omitempty"`
}

var unitColumns = map[string]column[unitRow]{
	"unit":    func(u unitRow, _ bool) string { return string(u.Unit) },
	"machine": func(u unitRow, full bool) string { return legend(u.Machine, u.IP, full) },
	"load":    func(u unitRow, _ bool) string { return u.Load },
	"active":  func(u unitRow, _ bool) string { return u.Active },
	"sub":     func(u unitRow, _ bool) string { return u.Sub },
	"hash":    func(u unitRow, full bool) string { return hashText(u.Hash, full) },
	"result":  func(u unitRow, _ bool) string { return u.Result },
	"error":   func(u unitRow, _ bool) string { return u.Error },
}

func (c *cli) listUnitsCommand() *cobra.Command {
	var l listing
	cmd := &cobra.Command{
		Use:               "list-units",
		Short:             "List the units that are on machines, and how they are",
		Args:              noArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if err := checkFields(l, unitColumns); err != nil {
				return err
			}
			rows, err := c.unitRows(cmd.Context())
			if err != nil {
				return err
			}
			return printList(c, l, unitColumns, rows, rows)
		},
	}
	l.addTo(cmd, "unit,machine,active,sub", columnNames(unitColumns))
	return cmd
}

func (c *cli) unitRows(ctx context.Context) ([]unitRow, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	states, err := client.States(ctx, api.StateFilter{})
	if err != nil {
		return nil, err
	}
	machines, err := c.machines(ctx)
	if err != nil {
		return nil, err
	}
	rows := make([]unitRow, 0, len(states))
	for _, s := range states {
		rows = append(rows, unitRow{
			Unit: s.Name, Machine: s.MachineID, IP: machines[s.MachineID].PrimaryIP, Load: s.SystemdLoadState,
			Active: s.SystemdActiveState, Sub: s.SystemdSubState, Hash: s.Hash, Result: s.Result, Error: s.Error,
		})
	}
	return rows, nil
}

// machines gives the cluster's machines by id.
func (c *cli) machines(ctx context.Context) (map[string]api.Machine, error) {
	client, err := c.client()
	if err != nil {
		return nil, err
	}
	list, err := client.Machines(ctx)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]api.Machine, len(list))
	for _, m := range list {
		byID[m.ID] = m
	}
	return byID, nil
}

func hashText(h unit.Hash, full bool) string {
	if full {
		return string(h)
	}
	return h.Short()
}
