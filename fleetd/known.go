package main

import (
	"sync"

	"github.com/fleet-project/fleet/agent"
	"github.com/fleet-project/fleet/registry/record"
)

// knownCluster asks which cluster this host belongs to, by what its agent wrote
// down: "" when it has joined none yet. The id never changes once it is there,
// so it is read until then.
func knownCluster(unitsDir string) func() record.ClusterID {
	var mu sync.Mutex
	var id record.ClusterID
	return func() record.ClusterID {
		mu.Lock()
		defer mu.Unlock()
		if id == "" {
			c, err := agent.KnownCluster(unitsDir)
			if err != nil {
				return "" // a damaged file is the agent's to report
			}
			id = c.ID
		}
		return id
	}
}
