// Package backup is the file that fleetctl backup writes and fleetctl restore
// reads: what a cluster was told, as YAML that a person can read and edit, with
// unit files as they are. Equal states give equal files, so that they can be kept
// under version control. It is pure: it knows neither files nor fleetd.
package backup

import (
	"time"

	"github.com/fleet-project/fleet/unit"
)

// Format is the version of the files that this code writes. It reads those of the
// same major version; what it doesn't know of a later minor one it names.
const Format = "1.0.0"

// File is a backup.
type File struct {
	Format  string    // semver of the file's form
	Fleet   string    // version of the fleetd that gave it
	Cluster string    // the cluster's id; empty if it had none
	Schema  string    // version of what the cluster stored
	Taken   time.Time // to the second
	// Machines are those of which an operator said something.
	Machines []Machine
	Units    []Unit
}

// Machine is what an operator said of a machine, over its own metadata.
type Machine struct {
	ID       string
	Cordoned bool
	Metadata map[string]string
	Removed  []string // keys of its own that are hidden

	Line int // in the file that it was read from; 0 if from none
}

// Unit is a unit as it is wanted.
type Unit struct {
	Name   unit.Name
	Target unit.Target
	Text   []byte

	Line int // as a machine's
	// textLine is the line before the text's first; 0 if its lines aren't the file's.
	textLine int
}
