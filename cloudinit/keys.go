package cloudinit

import (
	"maps"
	"slices"
	"sync"
)

// skeleton has each mapping of a cloud-config once, for its keys to be known.
const skeleton = `
users: [{}]
groups: []
write_files: [{source: {}}]
coreos: {etcd: {}, etcd2: {}, fleet: {}, flannel: {}, locksmith: {}, oem: {}, update: {}, units: [{drop_ins: [{}]}]}
`

// knownKeys are the keys of each mapping, by the mapping's path:
// "coreos.units[].drop_ins[]"; "" is the top.
var knownKeys = sync.OnceValue(func() map[string][]string {
	r := &reader{}
	r.cloudConfig(r.root([]byte(skeleton)))
	return r.tables
})

// places says where a key belongs.
func places(key string) (all []string) {
	keys := knownKeys()
	for _, path := range slices.Sorted(maps.Keys(keys)) {
		if !slices.Contains(keys[path], key) {
			continue
		}
		if path == "" {
			all = append(all, "at the top")
		} else {
			all = append(all, "below "+path)
		}
	}
	return all
}
