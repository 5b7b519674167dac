// Package cloudinit turns what a host is given to boot with (cloud-config,
// Butane or Ignition) into one Ignition v3 config, and for what Ignition cannot
// say into unit commands, masks to lift and scripts.
//
// Nothing is ignored in silence: a key that isn't known, a value of the wrong
// type, a unit file that systemd would not read are Problems, each with its
// line. Keys may be spelled with hyphens or underscores.
//
// The package is pure: it reads and writes no file, and asks the host nothing.
// The host's addresses are given to it.
package cloudinit
