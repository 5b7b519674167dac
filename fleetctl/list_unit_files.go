package main

import (
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
	"target":   targetText,
	"tmachine": targetText, // which fleet 1.0 had, too
	"global":   func(u unitFileRow, _ bool) string { return strconv.FormatBool(u.Global) },
	"desc":     func(u unitFileRow, _ bool) string { return u.Description },
}

func targetText(u unitFileRow, full bool) string {
	if u.Global {
		return "global"
	}
	return legend(u.Machine, u.IP, full)
}

func (c *cli) listUnitFilesCommand() *cobra.Command {
	t := table[unitFileRow]{
		columns: unitFileColumns, fields: "unit,hash,dstate,state,target",
		key: func(u unitFileRow) string { return string(u.Unit) },
	}
	t.rows, t.watch = source(c, unitFileRows(), (*api.Client).Units, (*api.Client).WatchUnits)
	return listCommand(c, &cobra.Command{
		Use:   "list-unit-files",
		Short: "List the units of the cluster, and what is wanted of them",
		Long: `Prints a row for each unit of the cluster, templates too, wherever it is or
isn't.

--fields chooses columns: unit; hash (of the unit file); dstate (what is wanted:
inactive, loaded or launched); state (what has been done; - for a global unit);
target (the machine it is on, or global; also as tmachine); global (true or
false); desc (its Description=). --output json or yaml prints an array (empty if
there are none) of objects with unit, hash, desiredState, currentState, machine,
ip, global and description, ids and hashes whole.

` + watchText,
		Example: `  fleetctl list-unit-files
  fleetctl list-unit-files --fields unit,dstate,state,desc
  fleetctl list-unit-files -o json | jq -r '.[] | select(.desiredState != .currentState).unit'`,
	}, t)
}

// unitFileRows gives what makes rows of units. It reads a file only once,
// however many units have it.
func unitFileRows() func(api.Unit) unitFileRow {
	type file struct {
		*unit.File
		description string
		global      bool // perhaps
	}
	var last file
	var lastHash unit.Hash
	return func(u api.Unit) unitFileRow {
		if last.File == nil || u.Hash == "" || u.Hash != lastHash { // lists are sorted: it is the last one's, or none's that was before
			f := unit.FromOptions(u.Options)
			last, lastHash = file{File: f, description: f.Description(), global: f.MayBeGlobal()}, u.Hash
		}
		row := unitFileRow{
			Unit: u.Name, Hash: u.Hash, DesiredState: u.DesiredState, CurrentState: u.CurrentState,
			Machine: u.MachineID, IP: u.PrimaryIP, Description: last.description,
		}
		if last.global {
			req, _ := last.Requirements(u.Name) // a unit that can't be read is shown as far as it goes
			row.Global = req.Global
		}
		return row
	}
}
