package main

import (
	"strings"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
)

// exitNotRunning is systemctl's exit code for units that don't run.
const exitNotRunning = 3

// statusRow is a unit on one machine, or on none, as -o json shows it.
type statusRow struct {
	Unit         unit.Name   `json:"unit"`
	DesiredState unit.Target `json:"desiredState"`
	CurrentState unit.Target `json:"currentState"`
	Global       bool        `json:"global"`
	Hash         unit.Hash   `json:"hash"` // of what is there
	Machine      string      `json:"machine"`
	IP           string      `json:"ip"`
	Hostname     string      `json:"hostname"`
	Load         string      `json:"load"`
	Active       string      `json:"active"`
	Sub          string      `json:"sub"`
	Result       string      `json:"result,omitempty"`
	Error        string      `json:"error,omitempty"`
	Log          string      `json:"log,omitempty"`         // the end of it, if it has failed
	Explanation  string      `json:"explanation,omitempty"` // why it is on no machine that is there
}

// statusData prints what the cluster knows of units, without asking machines.
func (c *cli) statusData(all []api.UnitStatus, machines map[string]api.Machine, opts statusOptions) error {
	rows := []statusRow{}
	for _, s := range all {
		if !s.Exists {
			return failf("Unit %s does not exist.", s.Unit)
		}
		rows = append(rows, statusRows(s, machines, opts.machine)...)
	}
	if err := c.printData(opts.output, rows); err != nil {
		return err
	}
	for _, row := range rows {
		if row.Active == "" || row.Active == "inactive" || row.Active == "failed" {
			return &exitError{code: exitNotRunning}
		}
	}
	return nil
}

// statusRows gives a unit's rows, those of machines whose id begins with only.
func statusRows(s api.UnitStatus, machines map[string]api.Machine, only string) []statusRow {
	unplaced := statusRow{Unit: s.Unit, DesiredState: s.DesiredState, CurrentState: s.CurrentState, Global: s.Global, Hash: s.Hash}
	if s.Explanation != nil {
		unplaced.Explanation = s.Explanation.Summary
	}
	ids := machinesOf(s)
	if len(ids) == 0 {
		return []statusRow{unplaced}
	}
	var rows []statusRow
	for _, id := range ids {
		if !strings.HasPrefix(id, only) {
			continue
		}
		row := unplaced
		row.Machine, row.IP, row.Hostname = id, machines[id].PrimaryIP, machines[id].Hostname
		for _, m := range s.States {
			if m.MachineID == id {
				row.Hash, row.Load, row.Active, row.Sub = m.Hash, m.Load, m.Active, m.Sub
				row.Result, row.Error, row.Log = m.Result, m.Error, m.Log
			}
		}
		rows = append(rows, row)
	}
	return rows
}
