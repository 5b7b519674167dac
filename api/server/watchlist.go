package server

import (
	"bytes"
	"net/http"
	"slices"
	"strconv"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/registry/record"
	jsonv2 "github.com/go-json-experiment/json"
)

// listKind is one of the lists that can be watched. Rows of units have a unit
// for their key, those of machines a machine, those of states both.
type listKind string

const (
	unitList    listKind = "units"
	stateList   listKind = "states"
	machineList listKind = "machines"
)

func newFeeds() map[listKind]*feed {
	return map[listKind]*feed{
		unitList: {
			kind: unitList,
			keys: func(c *cache) []record.Key {
				out := make([]record.Key, 0, len(c.view.Units))
				for n := range c.view.Units {
					out = append(out, record.Key{Unit: n})
				}
				return out
			},
			row: func(c *cache, k record.Key) row {
				if _, visible := c.unit(k.Unit); !visible {
					return nil
				}
				wire := c.unitRow(k.Unit)
				return &wire
			},
		},
		stateList: {
			kind: stateList,
			keys: func(c *cache) []record.Key {
				out := make([]record.Key, 0, len(c.view.States))
				for k := range c.view.States {
					out = append(out, k)
				}
				return out
			},
			row: func(c *cache, k record.Key) row {
				_, exists := c.view.Units[k.Unit]
				i, said := slices.BinarySearchFunc(c.states[k.Unit], k.Machine, (*onMachine[record.State]).compare)
				if !exists || !said || !visible(c.states[k.Unit][i]) {
					return nil
				}
				wire := c.stateWire(k.Unit, c.states[k.Unit][i])
				return &wire
			},
		},
		machineList: {
			kind: machineList,
			keys: func(c *cache) []record.Key {
				out := make([]record.Key, len(c.machines))
				for i, id := range c.machines {
					out[i].Machine = id
				}
				return out
			},
			row: func(c *cache, k record.Key) row {
				if _, there := c.view.Machines[k.Machine]; !there {
					return nil
				}
				wire := c.machineWire(k.Machine)
				return &wire
			},
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

// watchList answers with a list's rows, and then with each change to them. wants
// says which rows; nil: all.
func (s *Server) watchList(w http.ResponseWriter, r *http.Request, list listKind, wants func(record.Key) bool) error {
	if err := s.fresh(r.Context()); err != nil {
		return err
	}
	end, err := s.beginWatch(r)
	if err != nil {
		return err
	}
	defer end()
	out := newLines(w, r, s.patience.Answer)
	if out == nil {
		return nil
	}
	watch, rows := s.cache.feeds[list].join(s.cache, wants)
	defer watch.leave()
	st := &listStream{lines: out, server: s, watch: watch}
	st.run(r, rows)
	return nil
}

// listStream is one watch of a list under way.
type listStream struct {
	*lines
	server  *Server
	watch   *feedWatch
	trouble string       // as sent
	text    bytes.Buffer // to be written
}

// run writes lines until the client or the server goes away.
func (st *listStream) run(r *http.Request, rows []*version) {
	if st.tellAll(rows) != nil || st.bookmark() != nil {
		return
	}
	ticker := time.NewTicker(glance)
	defer ticker.Stop()
	for {
		var err error
		select {
		case <-r.Context().Done():
			return
		case <-st.watch.ready:
			err = st.tellNews()
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
func (st *listStream) bookmark() error {
	st.trouble = st.server.trouble()
	return st.send(api.ListEvent[struct{}]{Type: api.Bookmark, Trouble: st.trouble})
}

// tellAll sends the rows that there are in the beginning.
func (st *listStream) tellAll(rows []*version) error {
	for _, v := range rows {
		if st.watch.wants != nil && !st.watch.wants(v.key) {
			continue
		}
		if err := st.tell(told{api.Added, v.row}); err != nil {
			return err
		}
	}
	return st.writeOut()
}

// tellNews sends what has become of rows since.
func (st *listStream) tellNews() error {
	news, err := st.watch.next(st.server.cache)
	if err != nil || len(news) == 0 {
		return err
	}
	for _, e := range news {
		if err := st.tell(e); err != nil {
			return err
		}
	}
	if err := st.writeOut(); err != nil {
		return err
	}
	return st.flush()
}

// tell appends a line, and writes what there is if that is enough.
func (st *listStream) tell(e told) error {
	if err := st.append(e); err != nil || st.text.Len() < linesAtOnce {
		return err
	}
	return st.writeOut()
}

func (st *listStream) append(e told) error {
	if err := jsonv2.MarshalWrite(&st.text, &api.ListEvent[row]{Type: e.kind, Object: &e.row}, asEncodingJSON); err != nil {
		return err
	}
	return st.text.WriteByte('\n')
}

// linesAtOnce is how many bytes of lines are written at a time, and some: as many
// as net/http sends at a time.
const linesAtOnce = 4 << 10

func (st *listStream) writeOut() error {
	if st.text.Len() == 0 {
		return nil
	}
	defer st.text.Reset()
	return st.writeText(st.text.Bytes())
}

// touchLists tells the lists' watchers which rows a change may be about. The
// cache's lock must be held.
func (c *cache) touchLists(ch record.Change) {
	switch ch := ch.(type) {
	case record.FileChange:
		if !c.feeds[unitList].watched() {
			return
		}
		for name, u := range c.view.Units { // there are none, unless the text had been missing
			if u.File == ch.Hash {
				c.feeds[unitList].touch(record.Key{Unit: name})
			}
		}
	case record.UnitChange:
		c.feeds[unitList].touch(record.Key{Unit: ch.Name})
		for _, on := range c.states[ch.Name] {
			c.feeds[stateList].touch(record.Key{Unit: ch.Name, Machine: on.machine})
		}
	case record.PlacementChange:
		c.feeds[unitList].touch(record.Key{Unit: ch.Unit})
	case record.StateChange:
		c.feeds[unitList].touch(record.Key{Unit: ch.Unit})
		c.feeds[stateList].touch(ch.Key)
	case record.OverridesChange:
		c.feeds[machineList].touch(record.Key{Machine: ch.ID})
	case record.MachineChange:
		c.feeds[machineList].touch(record.Key{Machine: ch.ID})
		if ch.New != nil && ch.Old != nil && ch.New.IP == ch.Old.IP {
			return
		}
		// Its address is in the rows of what it runs.
		c.feeds[unitList].touchAll()
		c.feeds[stateList].touchAll()
	}
}
