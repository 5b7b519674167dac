package member

// defaults are what fleetd etcd sets where nobody says otherwise, because etcd's
// own would end a cluster's life in time, or slow a large one down. docs/scaling.md
// has the reasons at length.
var defaults = []struct{ name, value string }{
	// etcd's own is to keep every revision for ever: the database would grow until
	// it is full. Who was cut off for longer starts over from a snapshot.
	{"auto-compaction-mode", "periodic"},
	{"auto-compaction-retention", "10m"},
	// A cluster needs a few hundred MiB. But units that crash and are started again,
	// all of a large cluster at a time, make more history between two compactions
	// than etcd's own 2 GiB hold. 8 GiB is the most that etcd is made for.
	{"quota-backend-bytes", "8589934592"},
	// As many as the leader writes at a time (registry). etcd's own is 128.
	{"max-txn-ops", "512"},
	// A member that starts gives back what compaction freed, if it is worth it.
	{"bootstrap-defrag-threshold-megabytes", "512"},
}

// complete sets the defaults.
func (v *values) complete() {
	compacts := v.has("auto-compaction-mode") || v.has("auto-compaction-retention") // the one means nothing without the other
	for _, d := range defaults {
		if v.has(d.name) || compacts && (d.name == "auto-compaction-mode" || d.name == "auto-compaction-retention") {
			continue
		}
		v.set(d.name, d.value)
	}
}
