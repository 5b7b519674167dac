package main

import (
	"fmt"
	"strings"

	"github.com/fleet-project/fleet/api"
)

// maxVerdicts is how many machines' refusals are printed unasked.
const maxVerdicts = 20

// refusalText says why a unit has no place, machine by machine.
func refusalText(x api.Explanation) string {
	lines := []string{fmt.Sprintf("Unit %s: %s", x.Unit, x.Summary)}
	for i, v := range x.Machines {
		if i == maxVerdicts {
			lines = append(lines, fmt.Sprintf("  ... and %d more machines: fleetctl explain %s", len(x.Machines)-i, x.Unit))
			break
		}
		lines = append(lines, "  "+verdictText(v, false))
	}
	return strings.Join(lines, "\n")
}

func verdictText(v api.Verdict, full bool) string {
	where := legend(v.MachineID, v.PrimaryIP, full)
	if v.Hostname != "" {
		where += " (" + v.Hostname + ")"
	}
	switch {
	case v.Placed && v.Fits:
		return where + ": placed here"
	case v.Placed:
		return where + ": placed here, and must go: " + strings.Join(v.Reasons, "; ")
	case v.Fits:
		return where + ": fits"
	}
	return where + ": " + strings.Join(v.Reasons, "; ")
}

// legend is how fleetctl writes a machine: the first 8 characters of its id, or
// all of it, and its address.
func legend(id, ip string, full bool) string {
	if !full && len(id) > 8 {
		id = id[:8] + "..."
	}
	if ip != "" {
		id += "/" + ip
	}
	return id
}
