package server

import (
	"cmp"
	"net/http"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// listKind is one of the lists that can be watched. Rows of units have a unit
// for their key, those of machines a machine, those of states both.
type listKind string

const (
	unitList    listKind = "units"
	stateList   listKind = "states"
	machineList listKind = "machines"
)

// rows is how a list is made. Its functions want the cache's lock held.
type rows[T any] struct {
	kind listKind
	keys func(*cache) []record.Key // of all rows, and perhaps of more
	row  func(*cache, record.Key) (row T, there bool)
	// told is where all watches of the list keep what they have told. It has a
	// lock of its own.
	told func(*cache) *sharedRows[T]
}

// allKeys and at take the lock, and give it back though a mistake in a row may
// panic: one watch must not hold up all of fleetd.
func (r rows[T]) allKeys(c *cache) []record.Key {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return r.keys(c)
}

func (r rows[T]) at(c *cache, k record.Key) (row T, there bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return r.row(c, k)
}

func unitRows() rows[api.Unit] {
	return rows[api.Unit]{
		kind: unitList,
		told: func(c *cache) *sharedRows[api.Unit] { return &c.told.units },
		keys: func(c *cache) []record.Key {
			out := make([]record.Key, 0, len(c.view.Units))
			for n := range c.view.Units {
				out = append(out, record.Key{Unit: n})
			}
			return out
		},
		row: func(c *cache, k record.Key) (api.Unit, bool) {
			if _, visible := c.unit(k.Unit); !visible {
				return api.Unit{}, false
			}
			return c.unitWire(k.Unit), true
		},
	}
}

func stateRows(onlyUnit unit.Name, onlyMachine machine.ID) rows[api.UnitState] {
	return rows[api.UnitState]{
		kind: stateList,
		told: func(c *cache) *sharedRows[api.UnitState] { return &c.told.states },
		keys: func(c *cache) []record.Key {
			var out []record.Key
			for k := range c.view.States {
				out = append(out, k)
			}
			return out
		},
		row: func(c *cache, k record.Key) (row api.UnitState, there bool) {
			if onlyUnit != "" && k.Unit != onlyUnit || onlyMachine != "" && k.Machine != onlyMachine {
				return row, false
			}
			_, exists := c.view.Units[k.Unit]
			i, said := slices.BinarySearchFunc(c.states[k.Unit], k.Machine, (*onMachine[record.State]).compare)
			if !exists || !said || !visible(c.states[k.Unit][i]) {
				return row, false
			}
			return c.stateWire(k.Unit, c.states[k.Unit][i]), true
		},
	}
}

func machineRows() rows[api.Machine] {
	return rows[api.Machine]{
		kind: machineList,
		told: func(c *cache) *sharedRows[api.Machine] { return &c.told.machines },
		keys: func(c *cache) []record.Key {
			out := make([]record.Key, len(c.machines))
			for i, id := range c.machines {
				out[i].Machine = id
			}
			return out
		},
		row: func(c *cache, k record.Key) (api.Machine, bool) {
			if _, there := c.view.Machines[k.Machine]; !there {
				return api.Machine{}, false
			}
			return c.machineWire(k.Machine), true
		},
	}
}

// wantsWatch reports whether a list is to be watched rather than given in pages.
func wantsWatch(r *http.Request) (bool, error) {
	q, err := queryOf(r)
	if err != nil {
		return false, err
	}
	given := q.Get("watch")
	if given == "" {
		return false, nil
	}
	watch, err := strconv.ParseBool(given)
	switch {
	case err != nil:
		return false, badRequest("watch=%s: want true or false", given)
	case watch && (q.Has("limit") || q.Has("nextPageToken")):
		return false, badRequest("a list that is watched has no pages: leave limit and nextPageToken out")
	}
	return watch, nil
}

// watchList answers with a list's rows, and then with each change to them.
func watchList[T any](s *Server, w http.ResponseWriter, r *http.Request, of rows[T]) error {
	if err := s.fresh(r.Context()); err != nil {
		return err
	}
	end, err := s.beginWatch(r)
	if err != nil {
		return err
	}
	defer end()
	changed := newPending[record.Key]()
	s.cache.addListWatcher(of.kind, changed)
	defer s.cache.removeListWatcher(of.kind, changed)
	out := newLines(w, r, s.patience.Answer)
	if out == nil {
		return nil
	}
	told := of.told(s.cache)
	told.join()
	defer told.leave()
	st := &listStream[T]{lines: out, server: s, rows: of, changed: changed, told: told, last: map[record.Key]*T{}}
	st.run(r)
	return nil
}

// listStream is one watch of a list under way.
type listStream[T any] struct {
	*lines
	server  *Server
	rows    rows[T]
	changed *pending[record.Key]
	told    *sharedRows[T]
	last    map[record.Key]*T // as sent; kept by told
	trouble string            // as sent
}

// run writes lines until the client or the server goes away.
func (st *listStream[T]) run(r *http.Request) {
	if st.tell(nil, true) != nil || st.bookmark() != nil {
		return
	}
	ticker := time.NewTicker(glance)
	defer ticker.Stop()
	for {
		var err error
		select {
		case <-r.Context().Done():
			return
		case <-st.changed.ready:
			err = st.tell(st.changed.take())
		case <-ticker.C:
			if st.server.trouble() != st.trouble || time.Since(st.spoke) >= api.HeartbeatInterval {
				err = st.bookmark()
			}
		}
		if err != nil {
			return
		}
	}
}

// bookmark says that all has been told up to here, or why that can't be known.
func (st *listStream[T]) bookmark() error {
	st.trouble = st.server.trouble()
	return st.send(api.ListEvent[T]{Type: api.Bookmark, Trouble: st.trouble})
}

// tell sends what became of rows, where that differs from what was sent.
func (st *listStream[T]) tell(keys []record.Key, all bool) error {
	c := st.server.cache
	if all {
		keys = st.rows.allKeys(c)
		for k := range st.last {
			keys = append(keys, k)
		}
	}
	slices.SortFunc(keys, compareKeys)
	for _, k := range slices.Compact(keys) {
		row, there := st.rows.at(c, k)
		last := st.last[k]
		e := api.ListEvent[T]{Type: api.Deleted, Object: last}
		switch {
		case there:
			e.Type, e.Object = api.Modified, st.told.keep(k, row)
			st.last[k] = e.Object
			if last == nil {
				e.Type = api.Added
			} else if last == e.Object || reflect.DeepEqual(*last, row) {
				continue
			}
		case last == nil:
			continue
		default:
			st.told.drop(k)
			delete(st.last, k)
		}
		if err := st.write(e); err != nil {
			return err
		}
	}
	return st.flush()
}

func compareKeys(a, b record.Key) int {
	return cmp.Or(cmp.Compare(a.Unit, b.Unit), cmp.Compare(a.Machine, b.Machine))
}

func (c *cache) addListWatcher(kind listKind, p *pending[record.Key]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.listWatchers[kind] == nil {
		c.listWatchers[kind] = map[*pending[record.Key]]struct{}{}
	}
	c.listWatchers[kind][p] = struct{}{}
}

func (c *cache) removeListWatcher(kind listKind, p *pending[record.Key]) {
	c.mu.Lock()
	defer c.mu.Unlock()
	delete(c.listWatchers[kind], p)
}

// touchLists tells the lists' watchers which rows a change may be about. The
// cache's lock must be held.
func (c *cache) touchLists(ch record.Change) {
	switch ch := ch.(type) {
	case record.FileChange:
		if len(c.listWatchers[unitList]) == 0 {
			return
		}
		for name, u := range c.view.Units { // there are none, unless the text had been missing
			if u.File == ch.Hash {
				c.touchList(unitList, record.Key{Unit: name})
			}
		}
	case record.UnitChange:
		c.touchList(unitList, record.Key{Unit: ch.Name})
		for _, on := range c.states[ch.Name] {
			c.touchList(stateList, record.Key{Unit: ch.Name, Machine: on.machine})
		}
	case record.PlacementChange:
		c.touchList(unitList, record.Key{Unit: ch.Unit})
	case record.StateChange:
		c.touchList(unitList, record.Key{Unit: ch.Unit})
		c.touchList(stateList, ch.Key)
	case record.OverridesChange:
		c.touchList(machineList, record.Key{Machine: ch.ID})
	case record.MachineChange:
		c.touchList(machineList, record.Key{Machine: ch.ID})
		if ch.New != nil && ch.Old != nil && ch.New.IP == ch.Old.IP {
			return
		}
		// Its address is in the rows of what it runs.
		for _, kind := range []listKind{unitList, stateList} {
			for p := range c.listWatchers[kind] {
				p.touchAll()
			}
		}
	}
}

func (c *cache) touchList(kind listKind, k record.Key) {
	for p := range c.listWatchers[kind] {
		p.touch(k)
	}
}
