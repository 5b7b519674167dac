package server

import (
	"net/http"
	"slices"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/machine"
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
		return watchList(s, w, r, stateRows(onlyUnit, onlyMachine))
	}
	page, err := s.freshPage(r, stateList)
	if err != nil {
		return err
	}
	return s.answer(w, http.StatusOK, s.cache.statePage(page, onlyUnit, onlyMachine))
}

// statePage gives a page of the states of a unit and of a machine, or of all if
// they are empty.
func (c *cache) statePage(page page, onlyUnit unit.Name, onlyMachine machine.ID) api.UnitStatePage {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := api.UnitStatePage{States: []api.UnitState{}}
	names := c.names
	if onlyUnit != "" {
		names = []unit.Name{onlyUnit}
	}
	// The last unit of the page before may have more states.
	from := unit.Name(page.After)
	begin, _ := slices.BinarySearch(names, from)
	for _, name := range names[begin:] {
		for _, id := range c.visibleStates(name) {
			if onlyMachine != "" && id != onlyMachine || name == from && string(id) <= page.Machine {
				continue
			}
			if len(out.States) == page.limit {
				last := out.States[len(out.States)-1]
				out.NextPageToken = cursor{After: string(last.Name), Machine: last.MachineID}.token(stateList)
				return out
			}
			out.States = append(out.States, c.stateWire(name, id))
		}
	}
	return out
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
	ids := c.visibleStates(name)
	if len(ids) == 0 {
		return api.UnitState{}, false
	}
	return c.stateWire(name, ids[0]), true
}

// visibleStates gives the machines that have something to say of a unit: not
// those that only acknowledge that they have taken it away. The cache's lock must
// be held.
func (c *cache) visibleStates(name unit.Name) []machine.ID {
	ids := c.states.sorted(name)
	out := ids[:0]
	for _, id := range ids {
		if c.states[name][id].Target != unit.TargetNone {
			out = append(out, id)
		}
	}
	return out
}

func (c *cache) stateWire(name unit.Name, id machine.ID) api.UnitState {
	st := c.states[name][id]
	out := api.UnitState{
		Name: name, Hash: st.File, MachineID: string(id), PrimaryIP: c.ip(id), SystemdLoadState: st.Load,
		SystemdActiveState: st.Active, SystemdSubState: st.Sub, Result: st.Result, Error: st.Error, Log: st.Log,
	}
	if out.Hash == "" { // a unit that a machine could not take
		out.Hash = c.view.Units[name].File
	}
	return out
}
