package machine

import (
	"cmp"
	"fmt"
	"maps"
	"path/filepath"
)

// Settings is what a host is told about itself rather than finds out, and
// where it looks for the rest.
type Settings struct {
	PublicIP string            // the address to present; "" to find out
	Metadata map[string]string // as ParseMetadata reads it
	Version  string            // fleetd's version
	Manager  Manager           // how people reach the units' systemd

	Root          string // where /etc, /proc and /sys are; "" for /
	MachineIDFile string // "" for /etc/machine-id in Root

	interfaces func() ([]iface, error) // nil to ask the kernel
}

// Local finds out who this host is. It fails, and says what to do, if there is
// no valid machine-id or boot-id, or if no address can be found (ErrNoAddress,
// with everything else filled in).
func Local(s Settings) (Machine, error) {
	path := func(name string) string { return filepath.Join(cmp.Or(s.Root, "/"), name) }
	if s.MachineIDFile == "" {
		s.MachineIDFile = path("/etc/machine-id")
	}
	if s.interfaces == nil {
		s.interfaces = hostInterfaces
	}
	m := Machine{Metadata: maps.Clone(s.Metadata), Version: s.Version, Manager: s.Manager}
	var err error
	if m.ID, err = readID(s.MachineIDFile); err != nil {
		return Machine{}, err
	}
	if m.BootID, err = readBootID(path("/proc/sys/kernel/random/boot_id")); err != nil {
		return Machine{}, err
	}
	if m.Hostname, err = readLine(path("/proc/sys/kernel/hostname")); err != nil {
		return Machine{}, fmt.Errorf("this host's name: %w", err)
	}
	if m.Capacity, err = readCapacity(path); err != nil {
		return Machine{}, err
	}
	if s.PublicIP != "" {
		m.IP, err = publicAddress(s.PublicIP)
	} else {
		m.IP, err = readAddress(path, s.interfaces)
	}
	return m, err
}
