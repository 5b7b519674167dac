// Package registry keeps the cluster's state in etcd v3 behind typed verbs. It
// is the only room that knows a key, a lease or a transaction.
//
// The API writes units and overrides (units.go); the engine
// writes the schedule, fenced by its leadership (leader.go, commit.go); an
// agent writes its presence and states, on its lease (presence.go). Everybody
// reads by following: one snapshot at one revision, then a watch from the next
// (follow.go).
//
// The package decides nothing. The stored values are record's types, as JSON.
package registry
