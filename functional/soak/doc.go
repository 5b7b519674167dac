// Command soak has a cluster of three real hosts live through hours in which hosts,
// networks, etcd and fleetd fail at random and operators do at random what
// operators do, and tells at each step what that has left behind.
//
//	make soak SOAK=1h SEED=7
//
// Operators, several at a time, each through any host and by fleetctl or the API:
// submit, load, start, stop, unload, restart, replace, destroy; instances of
// templates, global units, units that conflict, that follow others, that are pinned
// to hosts, that must never run twice. Faults, two kinds at a time: one loop does
// things to hosts, networks and etcd, the other to fleetd, D-Bus and systemd. The
// seed draws both; what meets what is up to the machine's speed.
//
// At each step there is a quiet mark. Faults heal, operators pause, and then must
// hold, within a minute:
//
//   - every host, member and machine is back;
//   - etcd holds of each unit what was acknowledged last (of a command that failed
//     or was never answered, either outcome);
//   - each unit that etcd wants launched runs on one host, a global one on all:
//     one that doesn't is lost, and nothing else runs;
//   - since the last mark no unit ran on two hosts at a time that could both reach
//     etcd (that is, whose own member answered), and none with Isolation=stop on any two, but for a host that was frozen
//     whole and comes to: by the witnesses that the units are, whose lives lie on the
//     hosts' disks (package faults).
//
// Then all units but a small base set are destroyed, and the figures are taken of
// a cluster that must look the same each time: of each fleetd goroutines, file
// descriptors, memory in use, resident memory; in etcd keys, leases and the space
// in use; on the hosts what systemd and /run/fleet still hold.
//
// # Growth
//
// Of the keys, the leases, what is left over and the safety nets' repairs it is
// known what they must be: any other number fails. The rest differs a little from
// mark to mark, for a process never rests twice in the same state. What leaks,
// though, rises from mark to mark. So a figure has grown if the least of the last
// three marks is above that of the second mark by more than what is allowed for it
// (see allowed). The first mark counts for nothing: caches fill and code is used
// for the first time.
//
// Memory and goroutines of a process that was started anew tell little. So the
// third host's fleetd is never killed or restarted, only cut off, stalled, starved
// of etcd, systemd and D-Bus; its memory is what is judged. That it was the same
// process to the end is checked.
package main
