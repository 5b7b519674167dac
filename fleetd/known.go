package main

import (
	"encoding/json"
	"os"
	"sync"

	"github.com/fleet-project/fleet/registry/record"
)

// knownCluster reads, from the file that the agent keeps until the host
// reboots, which cluster this host belongs to: "" when it has joined none yet.
// The id never changes once it is there, so it is read until then.
func knownCluster(path string) func() record.ClusterID {
	var mu sync.Mutex
	var c record.Cluster
	return func() record.ClusterID {
		mu.Lock()
		defer mu.Unlock()
		if c.ID != "" {
			return c.ID
		}
		text, err := os.ReadFile(path)
		if err == nil {
			err = json.Unmarshal(text, &c)
		}
		if err != nil {
			return "" // none yet; a damaged file is the agent's to report
		}
		return c.ID
	}
}
