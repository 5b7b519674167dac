// Package functional tests fleet as its users meet it: the built binaries on
// real hosts, with systemd as PID 1, real etcd and real partitions. It needs
// root; platform.Check says what else.
//
// The tests share one cluster of three hosts. Each cleans up its own units and
// mends what it broke, so that the next finds the cluster whole.
package functional
