package server

import (
	"bytes"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"unicode"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
)

// patch is one operation of a JSON Patch (RFC 6902).
type patch struct {
	Op    string          `json:"op"`
	Path  string          `json:"path"`
	Value json.RawMessage `json:"value"`
}

// edit is a patch, understood: a nil value removes the key. Without a key, all
// that was said of the machine's metadata is taken back; or all that was said of
// the machine is what instead has.
type edit struct {
	machine machine.ID
	key     string
	value   *string
	instead *record.Overrides
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
	ids := slices.Sorted(maps.Keys(edits))
	switch {
	case len(ids) > registry.MaxOverridesTogether:
		return badRequest("%d machines at once: change at most %d by one request", len(ids), registry.MaxOverridesTogether)
	case len(ids) == 0:
		w.WriteHeader(http.StatusNoContent)
		return nil
	}
	if err := s.fresh(r.Context()); err != nil {
		return err
	}
	own := s.cache.ownMetadata(ids)
	stored := map[machine.ID]int{} // bytes
	rev, err := s.opts.Registry.UpdateOverrides(r.Context(), ids, func(id machine.ID, o *record.Overrides) error {
		override(o, own[id], edits[id])
		return bounded(id, o, stored)
	})
	if err == nil {
		err = s.seen(r.Context(), rev)
	}
	if err != nil {
		return s.failed(r.Context(), "", err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

// ownMetadata gives what machines say of themselves; nothing of those that are
// not there.
func (c *cache) ownMetadata(ids []machine.ID) map[machine.ID]*machine.Machine {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := map[machine.ID]*machine.Machine{}
	for _, id := range ids {
		if m, there := c.view.Machines[id]; there {
			out[id] = &m
		}
	}
	return out
}

const (
	// maxMetadata bounds what can be said of one machine: every fleetd keeps it in
	// memory.
	maxMetadata = 64 << 10
	// maxTogether bounds what is stored of the machines of one request, as JSON:
	// etcd takes 1.5 MiB at once.
	maxTogether = 1 << 20
)

// bounded refuses what would be too much of one machine, or of all of a request;
// stored holds what was found of them so far.
func bounded(id machine.ID, o *record.Overrides, stored map[machine.ID]int) error {
	size := 0
	for k, v := range o.Metadata {
		size += len(k) + len(v)
	}
	for _, k := range o.Removed {
		size += len(k)
	}
	if size > maxMetadata {
		return badRequest("machine %s would have %d bytes of metadata: keep it below %d", id, size, maxMetadata)
	}
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	stored[id] = len(text)
	all := 0
	for _, n := range stored {
		all += n
	}
	if all > maxTogether {
		return badRequest("the machines would have more than %d bytes of metadata together, all of which is written at once: change fewer of them by one request", maxTogether)
	}
	return nil
}

// override carries the edits out; own is nil when the machine is not there. It
// leaves what the overrides shared with others as it is.
func override(o *record.Overrides, own *machine.Machine, edits []edit) {
	metadata := maps.Clone(o.Metadata)
	if metadata == nil {
		metadata = map[string]string{}
	}
	removed := slices.Clone(o.Removed)
	for _, e := range edits {
		if e.instead != nil {
			metadata, removed, o.Cordoned = maps.Clone(e.instead.Metadata), slices.Clone(e.instead.Removed), e.instead.Cordoned
			if metadata == nil {
				metadata = map[string]string{}
			}
			continue
		}
		if e.key == "" {
			clear(metadata)
			removed = nil
			continue
		}
		removed = slices.DeleteFunc(removed, func(k string) bool { return k == e.key })
		if e.value != nil {
			metadata[e.key] = *e.value
			continue
		}
		delete(metadata, e.key)
		// What a machine that isn't there says of itself is known only once it is
		// back.
		if own == nil || own.Metadata[e.key] != "" {
			removed = append(removed, e.key)
		}
	}
	o.Metadata, o.Removed = metadata, removed
}

// understand reads a patch of /<machine>/metadata/<key>, the removal of
// /<machine>/metadata, or the replacement of /<machine>/overrides.
func (p patch) understand() (edit, error) {
	parts := strings.Split(p.Path, "/")
	if len(parts) == 3 && parts[0] == "" && parts[2] == "overrides" {
		return p.understandOverrides(parts[1])
	}
	if len(parts) != 3 && len(parts) != 4 || parts[0] != "" || parts[2] != "metadata" {
		return edit{}, badRequest("path %q: want /MACHINE-ID/metadata/KEY", p.Path)
	}
	e := edit{machine: machine.ID(parts[1])}
	if _, err := machine.ParseID(parts[1]); err != nil {
		return e, badRequest("path %q: %v", p.Path, err)
	}
	if len(parts) == 3 {
		if p.Op != "remove" {
			return e, badRequest("path %q: it names no key: only op remove goes without, and takes back all that was said of the machine's metadata", p.Path)
		}
		return e, nil
	}
	e.key = strings.NewReplacer("~1", "/", "~0", "~").Replace(parts[3])
	if strings.Contains(strings.NewReplacer("~1", "", "~0", "").Replace(parts[3]), "~") {
		return e, badRequest("path %q: in a key, ~ is written ~0 and / is written ~1", p.Path)
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
		if err := checkMetadata(e.key, value); err != nil {
			return e, err
		}
		e.value = &value
	case "remove":
	default:
		return e, badRequest("op %q: want add, replace or remove", p.Op)
	}
	return e, nil
}

// checkMetadata refuses to have said here what no fleet.conf could say.
func checkMetadata(key, value string) error {
	if pair, err := machine.ParseMetadata(key + "=" + value); err != nil || len(pair) != 1 || pair[key] != value || strings.ContainsFunc(key+value, unicode.IsControl) {
		return badRequest("%q is no metadata: want a key and a value without commas, quotes, comparisons and control characters", key+"="+value)
	}
	return nil
}

// understandOverrides reads all that is to be said of a machine from now on.
func (p patch) understandOverrides(id string) (edit, error) {
	e := edit{machine: machine.ID(id)}
	if _, err := machine.ParseID(id); err != nil {
		return e, badRequest("path %q: %v", p.Path, err)
	}
	if p.Op != "replace" {
		return e, badRequest("op %q: /MACHINE-ID/overrides can only be replaced", p.Op)
	}
	var all api.MachineOverrides
	if err := json.Unmarshal(p.Value, &all); err != nil || bytes.Equal(p.Value, []byte("null")) {
		return e, badRequest("value: want an object with metadata, removed and cordoned, each of which may be left out")
	}
	for k, v := range all.Metadata {
		if err := checkMetadata(k, v); err != nil {
			return e, err
		}
	}
	if slices.Contains(all.Removed, "") {
		return e, badRequest("value: removed has an empty key")
	}
	e.instead = &record.Overrides{Metadata: all.Metadata, Removed: all.Removed, Cordoned: all.Cordoned}
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
