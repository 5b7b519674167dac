package server

import (
	"encoding/base64"
	"net/http"
	"slices"
	"unicode/utf8"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// backup answers with what users have said to the cluster. The memory is what
// etcd held at one revision, so all of it was true together.
func (s *Server) backup(w http.ResponseWriter, r *http.Request, _ string) error {
	if err := s.fresh(r.Context()); err != nil {
		return err
	}
	out := s.cache.backup()
	out.Version = s.opts.Version
	return s.answer(w, http.StatusOK, out)
}

// backup gives units by name, files by hash and machines by id. A unit whose text
// etcd doesn't have at this moment is among them all the same: that its file isn't
// tells whoever asks.
func (c *cache) backup() api.Backup {
	defer c.lockSorted().RUnlock()
	out := api.Backup{Revision: c.view.Revision, Units: []api.BackupUnit{}, Files: []api.BackupFile{}, Machines: []api.MachineOverrides{}}
	if of := c.view.Cluster; of != nil {
		out.Cluster, out.Schema = string(of.ID), of.Schema
	}
	used := map[unit.Hash]bool{}
	for _, name := range c.names {
		u, visible := c.unit(name)
		if !visible {
			continue
		}
		used[u.File] = true
		out.Units = append(out.Units, api.BackupUnit{Name: name, DesiredState: u.Target, Hash: u.File})
	}
	for _, h := range sortedKeys(used) {
		if text, there := c.view.Files[h]; there {
			out.Files = append(out.Files, backupFile(h, text))
		}
	}
	for _, id := range sortedKeys(c.view.Overrides) {
		if o := c.view.Overrides[id]; len(o.Metadata) > 0 || len(o.Removed) > 0 || o.Cordoned {
			out.Machines = append(out.Machines, overridesWire(id, o))
		}
	}
	return out
}

func backupFile(h unit.Hash, text []byte) api.BackupFile {
	if !utf8.Valid(text) {
		return api.BackupFile{Hash: h, Base64: base64.StdEncoding.EncodeToString(text)}
	}
	return api.BackupFile{Hash: h, Text: string(text)}
}

func overridesWire(id machine.ID, o record.Overrides) api.MachineOverrides {
	removed := slices.Clone(o.Removed)
	slices.Sort(removed)
	return api.MachineOverrides{ID: string(id), Metadata: o.Metadata, Removed: slices.Compact(removed), Cordoned: o.Cordoned}
}
