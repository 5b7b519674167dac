package server

import (
	"context"
	"slices"
	"sync"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// cache is the cluster's state in memory, as far as the registry has followed
// it, with the indexes that the API's answers need.
type cache struct {
	mu     sync.RWMutex
	loaded bool
	view   *record.View
	// changed is closed at the next update.
	changed chan struct{}

	names    []unit.Name  // of view.Units, sorted
	machines []machine.ID // of view.Machines, sorted
	placed   byUnit[record.Spec]
	states   byUnit[record.State]
	watchers map[unit.Name]map[*watcher]struct{}
	// listWatchers are those of whole lists.
	listWatchers map[listKind]map[*pending[record.Key]]struct{}
	told         struct { // by those
		units    sharedRows[api.Unit]
		states   sharedRows[api.UnitState]
		machines sharedRows[api.Machine]
	}

	files fileCache
}

// byUnit finds a unit's placements or states without looking at all others'.
type byUnit[V any] map[unit.Name]map[machine.ID]V

func (b byUnit[V]) set(k record.Key, v *V) {
	of := b[k.Unit]
	switch {
	case v != nil && of == nil:
		b[k.Unit] = map[machine.ID]V{k.Machine: *v}
	case v != nil:
		of[k.Machine] = *v
	default:
		if delete(of, k.Machine); len(of) == 0 {
			delete(b, k.Unit)
		}
	}
}

// sorted gives the machines of a unit's placements or states, in order.
func (b byUnit[V]) sorted(name unit.Name) []machine.ID {
	ids := make([]machine.ID, 0, len(b[name]))
	for id := range b[name] {
		ids = append(ids, id)
	}
	slices.Sort(ids)
	return ids
}

func newCache() *cache {
	c := &cache{
		changed: make(chan struct{}), watchers: map[unit.Name]map[*watcher]struct{}{},
		listWatchers: map[listKind]map[*pending[record.Key]]struct{}{},
	}
	c.reset()
	return c
}

func (c *cache) reset() {
	c.view = record.NewView()
	c.names, c.machines = nil, nil
	c.placed, c.states = byUnit[record.Spec]{}, byUnit[record.State]{}
	c.files.reset()
}

// update takes over what the registry has followed.
func (c *cache) update(u registry.Update) {
	c.mu.Lock()
	defer c.mu.Unlock()
	changes := u.Changes
	if u.Reset {
		c.reset()
		c.loaded = true
		changes = u.View.Changes()
	}
	for _, ch := range changes {
		c.apply(ch, !u.Reset)
		if !u.Reset { // else all is looked at
			c.touchLists(ch)
		}
	}
	if u.Reset { // cheaper than inserting each in its place
		c.names, c.machines = sortedKeys(c.view.Units), sortedKeys(c.view.Machines)
		for _, of := range c.watchers {
			for w := range of {
				w.touchAll()
			}
		}
		for _, of := range c.listWatchers {
			for p := range of {
				p.touchAll()
			}
		}
	}
	c.view.Revision = u.View.Revision
	close(c.changed)
	c.changed = make(chan struct{})
}

// apply makes one change true in the view and the indexes.
func (c *cache) apply(ch record.Change, ordered bool) {
	c.view.Apply(ch)
	switch ch := ch.(type) {
	case record.FileChange:
		if ch.Text == nil {
			c.files.forget(ch.Hash)
		}
	case record.UnitChange:
		if ordered {
			c.names = keepSorted(c.names, ch.Name, ch.New != nil)
		}
		c.touch(ch.Name)
	case record.MachineChange:
		if ordered {
			c.machines = keepSorted(c.machines, ch.ID, ch.New != nil)
		}
	case record.PlacementChange:
		c.placed.set(ch.Key, ch.New)
		c.touch(ch.Unit)
	case record.StateChange:
		c.states.set(ch.Key, ch.New)
		c.touch(ch.Unit)
	}
}

// touch tells the unit's watchers that it has changed.
func (c *cache) touch(name unit.Name) {
	for w := range c.watchers[name] {
		w.touch(name)
	}
}

// reached reports whether the cache is complete up to the revision.
func (c *cache) reached(rev int64) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.loaded && c.view.Revision >= rev
}

// await waits until the cache is complete up to the revision.
func (c *cache) await(ctx context.Context, rev int64) error {
	for {
		c.mu.RLock()
		ok, changed := c.loaded && c.view.Revision >= rev, c.changed
		c.mu.RUnlock()
		if ok {
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		}
	}
}

// unit gives a unit that users may see: one that is being destroyed is gone
// for them. The cache's lock must be held.
func (c *cache) unit(name unit.Name) (record.Unit, bool) {
	u, ok := c.view.Units[name]
	return u, ok && u.Target != unit.TargetDestroyed
}

// ip gives a machine's address. The cache's lock must be held.
func (c *cache) ip(id machine.ID) string { return c.view.Machines[id].IP }

func sortedKeys[K ~string, V any](m map[K]V) []K {
	keys := make([]K, 0, len(m))
	for k := range m {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	return keys
}

// keepSorted has a key in a sorted list, or not in it.
func keepSorted[K ~string](keys []K, key K, in bool) []K {
	i, found := slices.BinarySearch(keys, key)
	switch {
	case in && !found:
		return slices.Insert(keys, i, key)
	case !in && found:
		return slices.Delete(keys, i, i+1)
	}
	return keys
}
