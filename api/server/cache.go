package server

import (
	"context"
	"slices"
	"sync"

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

	names    []unit.Name  // of view.Units, sorted, but for those in added; some may be gone
	added    []unit.Name  // to be among the names, in no order
	machines []machine.ID // of view.Machines, sorted
	placed   byUnit[record.Spec]
	states   byUnit[record.State]
	watchers map[unit.Name]map[*watcher]struct{}
	feeds    map[listKind]*feed

	files fileCache
}

func newCache() *cache {
	c := &cache{
		changed: make(chan struct{}), watchers: map[unit.Name]map[*watcher]struct{}{},
		feeds: newFeeds(),
	}
	c.reset()
	return c
}

func (c *cache) reset() {
	c.view = record.NewView()
	c.names, c.added, c.machines = nil, nil, nil
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
		for _, f := range c.feeds {
			f.touchAll()
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
		if ordered && ch.New != nil && ch.Old == nil {
			if c.added = append(c.added, ch.Name); len(c.added) > len(c.view.Units)+1000 { // which come and go
				c.sortNames()
			}
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

// lockSorted locks the cache for reading, with all units' names in order. Names
// are put in order when somebody asks for them: to insert each where it belongs,
// of many that come at a time, would be to move the half of all for each.
func (c *cache) lockSorted() *sync.RWMutex {
	for {
		c.mu.RLock()
		if len(c.added) == 0 {
			return &c.mu
		}
		c.mu.RUnlock()
		c.mu.Lock()
		c.sortNames()
		c.mu.Unlock()
	}
}

func (c *cache) sortNames() {
	names := make([]unit.Name, 0, len(c.names)+len(c.added))
	slices.Sort(c.added)
	old, added := c.names, c.added
	for len(old) > 0 || len(added) > 0 {
		var next unit.Name
		if len(added) == 0 || len(old) > 0 && old[0] < added[0] {
			next, old = old[0], old[1:]
		} else {
			next, added = added[0], added[1:]
		}
		if _, there := c.view.Units[next]; there && (len(names) == 0 || names[len(names)-1] != next) {
			names = append(names, next)
		}
	}
	c.names, c.added = names, nil
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
