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
	t := table[machineRow]{
		columns: machineColumns, fields: "machine,ip,metadata",
		key: func(m machineRow) string { return m.Machine },
	}
	t.rows, t.watch = source(c, machineRowOf, (*api.Client).Machines, (*api.Client).WatchMachines)
	return listCommand(c, &cobra.Command{
		Use:   "list-machines",
		Short: "List the cluster's machines",
		Long: `Prints a row for each machine that is in the cluster now. One that has not been
heard of for the agents' time to live is gone.

--fields chooses columns: machine (its id); ip; metadata (k=v,k=v); hostname;
version (of its fleetd); state (ready, cordoned: it takes no more units, or
leaving: it hands its units over). --output json or yaml prints an array (empty if
there are none) of objects with machine, ip, metadata (an object), hostname,
version, cordoned and leaving (true or false), ids whole.

` + watchText,
		Example: `  fleetctl list-machines
  fleetctl list-machines --full --fields machine,hostname,state
  fleetctl list-machines -o json | jq -r '.[] | select(.metadata.region == "eu").ip'`,
	}, t)
}

func machineRowOf(m api.Machine) machineRow {
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
