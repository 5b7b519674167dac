package server

import (
	"net/http"
	"slices"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

func (s *Server) listStates(w http.ResponseWriter, r *http.Request, _ string) error {
	query, err := queryOf(r)
	if err != nil {
		return err
	}
	onlyUnit, onlyMachine := unit.Name(query.Get("unitName")), machine.ID(query.Get("machineID"))
	if watch, err := wantsWatch(r); err != nil {
		return err
	} else if watch {
		return s.watchList(w, r, stateList, func(k record.Key) bool {
			return (onlyUnit == "" || k.Unit == onlyUnit) && (onlyMachine == "" || k.Machine == onlyMachine)
		})
	}
	page, err := s.freshPage(r, stateList)
	if err != nil {
		return err
	}
	out, free := newPageWriter("states")
	defer free()
	s.cache.statePage(out, page, onlyUnit, onlyMachine)
	return s.answerPage(w, out)
}

// statePage writes a page of the states of a unit and of a machine, or of all if
// they are empty.
func (c *cache) statePage(out *pageWriter, page page, onlyUnit unit.Name, onlyMachine machine.ID) {
	defer c.lockSorted().RUnlock()
	names := c.names
	if onlyUnit != "" {
		names = []unit.Name{onlyUnit}
	}
	// The last unit of the page before may have more states.
	from := unit.Name(page.After)
	begin, _ := slices.BinarySearch(names, from)
	var last cursor
	var row api.UnitState
	for _, name := range names[begin:] {
		if _, there := c.view.Units[name]; !there && onlyUnit == "" {
			continue
		}
		for _, on := range c.states[name] {
			id := on.machine
			if !visible(on) || onlyMachine != "" && id != onlyMachine || name == from && string(id) <= page.Machine {
				continue
			}
			if out.rows == page.limit {
				out.end(&last, stateList)
				return
			}
			row = c.stateWire(name, on)
			out.row(&row)
			last = cursor{After: string(name), Machine: string(id)}
		}
	}
	out.end(nil, stateList)
}

func (s *Server) getState(w http.ResponseWriter, r *http.Request, given string) error {
	if err := s.fresh(r.Context()); err != nil {
		return err
	}
	out, ok := s.cache.firstState(unit.Name(given))
	if !ok {
		return notFound("no machine says anything of unit %s", given)
	}
	return s.answer(w, http.StatusOK, out)
}

// firstState gives one state of a unit: the API's users of old expect one.
func (c *cache) firstState(name unit.Name) (api.UnitState, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	i := slices.IndexFunc(c.states[name], visible)
	if i < 0 {
		return api.UnitState{}, false
	}
	return c.stateWire(name, c.states[name][i]), true
}

// visible reports whether a machine has something to say of a unit: not if it
// only acknowledges that it has taken it away.
func visible(s *onMachine[record.State]) bool { return s.value.Target != unit.TargetNone }

// stateWire is a state as the API shows it. The cache's lock must be held.
func (c *cache) stateWire(name unit.Name, on *onMachine[record.State]) api.UnitState {
	st := &on.value
	out := api.UnitState{
		Name: name, Hash: st.File, MachineID: string(on.machine), PrimaryIP: c.ip(on.machine), SystemdLoadState: st.Load,
		SystemdActiveState: st.Active, SystemdSubState: st.Sub, Result: st.Result, Error: st.Error, Log: st.Log,
	}
	if out.Hash == "" { // a unit that a machine could not take
		out.Hash = c.view.Units[name].File
	}
	return out
}
