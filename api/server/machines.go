package server

import (
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
)

func (s *Server) listMachines(w http.ResponseWriter, r *http.Request, _ string) error {
	if watch, err := wantsWatch(r); err != nil {
		return err
	} else if watch {
		return watchList(s, w, r, machineRows())
	}
	page, err := s.freshPage(r, "machines")
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, s.cache.machinePage(page))
}

func (c *cache) machinePage(page page) api.MachinePage {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := api.MachinePage{Machines: []api.Machine{}}
	for _, id := range after(c.machines, machine.ID(page.After)) {
		if len(out.Machines) == page.limit {
			out.NextPageToken = cursor{After: out.Machines[len(out.Machines)-1].ID}.token("machines")
			break
		}
		out.Machines = append(out.Machines, c.machineWire(id))
	}
	return out
}

// machineWire is a machine as the API shows it: with the operator's words over
// its own. The cache's lock must be held.
func (c *cache) machineWire(id machine.ID) api.Machine {
	m, words := c.view.Machines[id], c.view.Overrides[id]
	return api.Machine{
		ID: string(id), PrimaryIP: m.IP, Metadata: words.Apply(m.Metadata), Hostname: m.Hostname,
		Version: m.Version, Cordoned: words.Cordoned, Leaving: m.Leaving,
		Manager: &api.Manager{Scope: m.Manager.Scope, Systemctl: m.Manager.Systemctl, Journalctl: m.Manager.Journalctl},
	}
}

// patch is one operation of a JSON Patch (RFC 6902).
type patch struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"`
}

// edit is a patch, understood: a nil value removes the key.
type edit struct {
	machine machine.ID
	key     string
	value   *string
}

func (s *Server) patchMachines(w http.ResponseWriter, r *http.Request, _ string) error {
	var patches []patch
	if err := decodeBody(r, &patches); err != nil {
		return err
	}
	// All are understood before any is carried out.
	edits := map[machine.ID][]edit{}
	for i, p := range patches {
		e, err := p.understand()
		if err != nil {
			return badRequest("operation %d: %v", i, err)
		}
		edits[e.machine] = append(edits[e.machine], e)
	}
	if err := s.fresh(r.Context()); err != nil {
		return err
	}
	for _, id := range slices.Sorted(maps.Keys(edits)) {
		s.cache.mu.RLock()
		own := s.cache.view.Machines[id].Metadata
		s.cache.mu.RUnlock()
		rev, err := s.opts.Registry.UpdateOverrides(r.Context(), id, func(o *record.Overrides) error {
			override(o, own, edits[id])
			return nil
		})
		if err == nil {
			err = s.seen(r.Context(), rev)
		}
		if err != nil {
			return s.failed(r.Context(), "", err)
		}
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// override carries the edits out. It leaves what the overrides shared with
// others as it is.
func override(o *record.Overrides, own map[string]string, edits []edit) {
	metadata := maps.Clone(o.Metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	removed := slices.Clone(o.Removed)
	for _, e := range edits {
		removed = slices.DeleteFunc(removed, func(k string) bool { return k == e.key })
		if e.value != nil {
			metadata[e.key] = *e.value
			continue
		}
		delete(metadata, e.key)
		if _, has := own[e.key]; has {
			removed = append(removed, e.key)
		}
	}
	o.Metadata, o.Removed = metadata, removed
}

// understand reads a patch of /<machine>/metadata/<key>.
func (p patch) understand() (edit, error) {
	parts := strings.Split(p.Path, "/")
	if len(parts) != 4 || parts[0] != "" || parts[2] != "metadata" {
		return edit{}, badRequest("path %q: want /MACHINE-ID/metadata/KEY", p.Path)
	}
	e := edit{machine: machine.ID(parts[1]), key: strings.NewReplacer("~1", "/", "~0", "~").Replace(parts[3])}
	if _, err := machine.ParseID(parts[1]); err != nil {
		return e, badRequest("path %q: %v", p.Path, err)
	}
	if e.key == "" {
		return e, badRequest("path %q: it ends without a key", p.Path)
	}
	switch p.Op {
	case "add", "replace":
		value, err := p.value()
		if err != nil {
			return e, err
		}
		// What no fleet.conf could say must not be said here.
		if pair, err := machine.ParseMetadata(e.key + "=" + value); err != nil || len(pair) != 1 || pair[e.key] != value {
			return e, badRequest("%s=%s is no metadata: want a key and a value without commas, quotes and comparisons", e.key, value)
		}
		e.value = &value
	case "remove":
	default:
		return e, badRequest("op %q: want add, replace or remove", p.Op)
	}
	return e, nil
}

// value is a string; fleet 1.0 wanted an object around it.
func (p patch) value() (string, error) {
	var plain string
	if json.Unmarshal(p.Value, &plain) == nil && len(p.Value) > 0 && p.Value[0] == '"' {
		return plain, nil
	}
	var wrapped struct {
		Value *string `json:"value"`
	}
	if json.Unmarshal(p.Value, &wrapped) == nil && wrapped.Value != nil {
		return *wrapped.Value, nil
	}
	return "", badRequest("value: want a string")
}
