// Package faults holds what fleet promises against real faults on real hosts.
//
// A witness is a unit that writes its life down on its host's disk: which run of
// it began when, that it still lives, that it ended. A ledger reads the witnesses
// of all hosts from outside of them, over no network that a fault could cut, and
// tells what became of the units between two moments: lost, doubled, restarted,
// moved, and until when that went on. All hosts share the machine's monotonic
// clock, so moments on different hosts can be compared.
//
// A row is one fault, with what is promised for it and what was seen. The tests
// of this package are the rows; each is given a healthy cluster of three hosts by
// a pool of them, several rows at a time, for most of a row is waiting.
//
//	make test-faults                                              # all rows
//	go test ./functional/faults                                   # those that are a part of make test
//	go test ./functional/faults -run TestFaults -faults=host-killed,host-rebooted
package faults
