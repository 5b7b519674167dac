// Package agent carries out what one host is told: its schedule in, its systemd
// driven, its states out.
//
// The decisions are in a pure core without clock, I/O or goroutines (core.go,
// decide.go, lastwords.go, publish.go): what is known goes in, actions and
// states to publish come out. A loop around it (loop.go) owns the core and does what it says,
// one operation per unit at a time. What would have the loop wait is left to a
// driver (driver.go): goroutines, or in a simulation its one own (stepper.go).
//
// What it has done to a unit it writes down in a file per unit (store.go), on a
// file system that a reboot wipes. An agent that starts finds there what an
// earlier one did, and takes those units over as they are: one whose record
// equals the schedule is left alone whatever systemd says of it. Intentions are
// written before they are acted upon where doing a thing twice would hurt.
//
// Nothing is ever stopped because something is missing: not a schedule, not the
// cluster's key, not etcd. A unit is taken away when that is written.
//
// What this package is not: it places nothing and decides for no other host.
package agent
