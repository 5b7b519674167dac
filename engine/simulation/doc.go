// Package simulation runs whole clusters in one goroutine: the real planner,
// engine and agent over models of etcd and systemd, with a clock that is nobody's
// and faults that a seed draws. Equal seeds give equal runs, to the last bit.
//
// What this package is not: it is no part of what is shipped.
package simulation
