package main

import (
	"context"
	"maps"

	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/unit"
)

// texts is the agent's registry: unit files that this fleetd's API has in memory
// are taken from there, which saves a start a round trip to etcd. A hash is the name
// of one text only, so that it doesn't matter whose copy it is.
type texts struct {
	*registry.Registry
	api *server.Server
}

// Files gives the texts of unit files by their hashes, as the registry does.
func (t texts) Files(ctx context.Context, hashes []unit.Hash) (map[unit.Hash][]byte, error) {
	found := t.api.Files(hashes)
	var missing []unit.Hash
	for _, h := range hashes {
		if _, ok := found[h]; !ok {
			missing = append(missing, h)
		}
	}
	if len(missing) == 0 {
		return found, nil
	}
	stored, err := t.Registry.Files(ctx, missing)
	maps.Copy(found, stored)
	return found, err
}
