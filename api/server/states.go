package server

import (
	"cmp"
	"net/http"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
)

func (s *Server) listStates(w http.ResponseWriter, r *http.Request, _ string) error {
	onlyUnit, onlyMachine := unit.Name(r.URL.Query().Get("unitName")), machine.ID(r.URL.Query().Get("machineID"))
	if watch, err := wantsWatch(r); err != nil {
		return err
	} else if watch {
		return watchList(s, w, r, stateRows(onlyUnit, onlyMachine))
	}
	page, err := s.freshPage(r)
	if err != nil {
		return err
	}
	out := api.UnitStatePage{States: []api.UnitState{}}
	c := s.cache
	c.mu.RLock()
	defer c.mu.RUnlock()
	names := c.names
	if onlyUnit != "" {
		names = []unit.Name{onlyUnit}
	}
	// The last unit of the page before may have more states.
	from := unit.Name(page.After)
	for _, name := range names {
		if cmp.Compare(name, from) < 0 {
			continue
		}
		for _, id := range c.visibleStates(name) {
			if onlyMachine != "" && id != onlyMachine || name == from && string(id) <= page.Machine {
				continue
			}
			if len(out.States) == page.limit {
				last := out.States[len(out.States)-1]
				out.NextPageToken = cursor{After: string(last.Name), Machine: last.MachineID}.token()
				return answer(w, http.StatusOK, out)
			}
			out.States = append(out.States, c.stateWire(name, id))
		}
	}
	return answer(w, http.StatusOK, out)
}

func (s *Server) getState(w http.ResponseWriter, r *http.Request, given string) error {
	if err := s.fresh(r.Context()); err != nil {
		return err
	}
	c := s.cache
	c.mu.RLock()
	defer c.mu.RUnlock()
	name := unit.Name(given)
	ids := c.visibleStates(name)
	if len(ids) == 0 {
		return notFound("no machine says anything of unit %s", name)
	}
	return answer(w, http.StatusOK, c.stateWire(name, ids[0]))
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
		SystemdActiveState: st.Active, SystemdSubState: st.Sub, Result: st.Result, Error: st.Error,
	}
	if out.Hash == "" { // a unit that a machine could not take
		out.Hash = c.view.Units[name].File
	}
	return out
}
