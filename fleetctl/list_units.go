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
	Result  string    `json:"result"`
	Error   string    `json:"error"`
	Log     string    `json:"log"`
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
	t := table[unitRow]{
		columns: unitColumns, fields: "unit,machine,active,sub",
		key: func(u unitRow) string { return string(u.Unit) + "/" + u.Machine },
	}
	t.rows, t.watch = source(c, unitRowOf,
		func(client *api.Client, ctx context.Context) ([]api.UnitState, error) {
			return client.States(ctx, api.StateFilter{})
		},
		func(client *api.Client, ctx context.Context, fn func(api.ListEvent[api.UnitState]) error) error {
			return client.WatchStates(ctx, api.StateFilter{}, fn)
		})
	return listCommand(c, &cobra.Command{
		Use:   "list-units",
		Short: "List the units that are on machines, and how they are",
		Long: `Prints a row for each unit on each machine: LOAD, ACTIVE and SUB are that
machine's systemd's words. A unit that is on no machine has no row; see
list-unit-files for those.

--fields chooses columns: unit; machine (where it is); load, active and sub;
hash (of the unit file); result (how its service ended, unless well); error (why
the machine could not do what it was told). --output json or yaml prints an
array (empty if there are none) of objects with unit, machine, ip, load, active,
sub, hash, result, error and log (of a unit that has failed, the last lines), ids
and hashes whole.

` + watchText,
		Example: `  fleetctl list-units
  fleetctl list-units --full --no-legend --fields unit,hash,sub
  fleetctl list-units --watch
  fleetctl list-units -o json | jq -r '.[] | select(.active == "failed") | .unit, .log'`,
	}, t)
}

func unitRowOf(s api.UnitState) unitRow {
	return unitRow{
		Unit: s.Name, Machine: s.MachineID, IP: s.PrimaryIP, Load: s.SystemdLoadState,
		Active: s.SystemdActiveState, Sub: s.SystemdSubState, Hash: s.Hash, Result: s.Result, Error: s.Error, Log: s.Log,
	}
}

func hashText(h unit.Hash, full bool) string {
	if full {
		return string(h)
	}
	return h.Short()
}
