// Package machine says who a host is: its identity, addresses, metadata and
// capacity. It reads them from the local system (Local); it talks to nobody.
// What the other hosts are is the registry's to know.
package machine

// ID is a host's /etc/machine-id: 32 lower-case hexadecimal digits.
type ID string

// Short gives the first 8 characters, as fleetctl shows an ID.
func (id ID) Short() string {
	if len(id) > 8 {
		return string(id[:8])
	}
	return string(id)
}

// BootID is the kernel's id of this boot: it tells a fleetd that was restarted
// from a host that was rebooted, and from another host with the same ID.
type BootID string

// Capacity is what a host has to share among units.
type Capacity struct {
	CPUs        int   `json:"cpus"`
	MemoryBytes int64 `json:"memoryBytes"`
}

// Manager says how a person on this host reaches the systemd that runs fleet's
// units, for fleetctl's status and journal.
type Manager struct {
	// Scope is "system", "user" or "private" (a manager of fleetd dev's own).
	Scope string `json:"scope"`
	// Systemctl and Journalctl are the commands to prefix arguments with, on
	// that host; empty means plain systemctl and journalctl.
	Systemctl  []string `json:"systemctl,omitempty"`
	Journalctl []string `json:"journalctl,omitempty"`
}

// Machine is a host as it presents itself to the cluster.
type Machine struct {
	ID       ID                `json:"id"`
	BootID   BootID            `json:"bootID"`
	Hostname string            `json:"hostname"`
	IP       string            `json:"ip"` // address at which others reach the host
	Metadata map[string]string `json:"metadata,omitempty"`
	Capacity Capacity          `json:"capacity"`
	Version  string            `json:"version"` // fleetd's
	Manager  Manager           `json:"manager"`
	// Schema is the version of the stored state that the fleetd speaks; 1.0.0 if it
	// says nothing of it.
	Schema string `json:"schema,omitempty"`
	// Leaving is set by a host that hands its units over before it goes: it
	// gets nothing new and its units move elsewhere.
	Leaving bool `json:"leaving,omitempty"`
}
