package server

import (
	"net/http"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
	"github.com/go-json-experiment/json/jsontext"
)

func (s *Server) listUnits(w http.ResponseWriter, r *http.Request, _ string) error {
	if watch, err := wantsWatch(r); err != nil {
		return err
	} else if watch {
		return s.watchList(w, r, unitList, nil)
	}
	page, err := s.freshPage(r, unitList)
	if err != nil {
		return err
	}
	out, free := newPageWriter("units")
	defer free()
	s.cache.unitPage(out, page)
	return s.answerPage(w, out)
}

// unitPage writes a page.
func (c *cache) unitPage(out *pageWriter, page page) {
	defer c.lockSorted().RUnlock()
	var last unit.Name
	var row unitRow
	size := 0
	for _, name := range after(c.names, unit.Name(page.After)) {
		u, visible := c.unit(name)
		if !visible {
			continue
		}
		size += len(c.view.Files[u.File])
		if out.rows == page.limit || out.rows > 0 && size > maxPageBytes {
			out.end(&cursor{After: string(last)}, unitList)
			return
		}
		row = c.unitRow(name)
		out.row(&row)
		last = name
	}
	out.end(nil, unitList)
}

// unitRow is an api.Unit as lists have it: without its text, and with its options
// as JSON, made once for all units that have the file.
type unitRow struct {
	Name         unit.Name      `json:"name"`
	Options      jsontext.Value `json:"options,omitempty"`
	DesiredState unit.Target    `json:"desiredState,omitempty"`
	CurrentState unit.Target    `json:"currentState,omitempty"`
	MachineID    string         `json:"machineID,omitempty"`
	PrimaryIP    string         `json:"primaryIP,omitempty"`
	Hash         unit.Hash      `json:"hash,omitempty"`
}

func newUnitRow(u api.Unit, options jsontext.Value) unitRow {
	return unitRow{u.Name, options, u.DesiredState, u.CurrentState, u.MachineID, u.PrimaryIP, u.Hash}
}

// unitRow gives a unit's row. The cache's lock must be held.
func (c *cache) unitRow(name unit.Name) unitRow {
	u := c.unitWire(name)
	return newUnitRow(u, c.file(u.Hash).asJSON)
}

func (s *Server) getUnit(w http.ResponseWriter, r *http.Request, given string) error {
	if err := s.fresh(r.Context()); err != nil {
		return err
	}
	out, ok := s.cache.unitWithText(unit.Name(given))
	if !ok {
		return notFound("unit %s does not exist", given)
	}
	return s.answer(w, http.StatusOK, out)
}

func (c *cache) unitWithText(name unit.Name) (api.Unit, bool) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	u, ok := c.unit(name)
	if !ok {
		return api.Unit{}, false
	}
	out := c.unitWire(name)
	out.Text = string(c.view.Files[u.File])
	return out, true
}

func (s *Server) deleteUnit(w http.ResponseWriter, r *http.Request, given string) error {
	name := unit.Name(given)
	if _, err := unit.ParseName(given); err != nil {
		return notFound("unit %s does not exist", name) // no name, no unit
	}
	rev, err := s.opts.Registry.DestroyUnit(r.Context(), name)
	if err == nil {
		err = s.seen(r.Context(), rev)
	}
	if err != nil {
		return s.failed(r.Context(), name, err)
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

func (s *Server) restartUnit(w http.ResponseWriter, r *http.Request, given string) error {
	name := unit.Name(given)
	if _, err := unit.ParseName(given); err != nil {
		return notFound("unit %s does not exist", name)
	}
	only, err := s.restartOnly(r, name)
	if err != nil {
		return err
	}
	var rev int64
	if only == "" {
		rev, err = s.opts.Registry.RestartUnit(r.Context(), name)
	} else {
		rev, err = s.opts.Registry.RestartUnitOn(r.Context(), name, only, func(id machine.ID) bool { return s.cache.isOn(name, id) })
	}
	if err == nil {
		err = s.seen(r.Context(), rev)
	}
	if err != nil {
		return s.failed(r.Context(), name, err)
	}
	s.cache.mu.RLock()
	u := s.cache.view.Units[name]
	s.cache.mu.RUnlock()
	return s.answer(w, http.StatusAccepted, api.Restarted{Restart: u.RestartCount(only)})
}

// restartOnly gives the one machine that is to restart a unit, empty if all are
// to. The unit must be launched there.
func (s *Server) restartOnly(r *http.Request, name unit.Name) (machine.ID, error) {
	query, err := queryOf(r)
	if err != nil {
		return "", err
	}
	given, narrow := query["machineID"]
	switch {
	case !narrow:
		return "", nil
	case len(given) > 1:
		return "", badRequest("machineID is given %d times: a restart is on one machine, or without it on all", len(given))
	case given[0] == "": // somebody's variable that isn't set: not "on all"
		return "", badRequest("machineID is empty: give a machine's whole id, or leave it out to restart the unit on all")
	}
	if err := s.fresh(r.Context()); err != nil {
		return "", err
	}
	id := machine.ID(given[0])
	s.cache.mu.RLock()
	defer s.cache.mu.RUnlock()
	u, exists := s.cache.unit(name)
	_, present := s.cache.view.Machines[id]
	switch {
	case !exists:
		return "", notFound("unit %s does not exist", name)
	case !present:
		return "", notFound("there is no machine with the id %q; GET /machines lists them", id)
	case u.Target != unit.TargetLaunched:
		return "", conflict("unit %s is not launched, but %s", name, u.Target)
	}
	if told := s.cache.placed.at(name, id); told == nil || !told.Target.Wanted() {
		return "", conflict("unit %s is not on machine %s", name, id)
	}
	return id, nil
}

// isOn reports whether a machine is told anything of a unit, or says anything.
func (c *cache) isOn(name unit.Name, id machine.ID) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	return c.placed.at(name, id) != nil || c.states.at(name, id) != nil
}

// unitWire is a unit as the API shows it, without its text. The cache's lock must
// be held.
func (c *cache) unitWire(name unit.Name) api.Unit {
	u := c.view.Units[name]
	out := api.Unit{
		Name: name, Options: c.file(u.File).written, Hash: u.File,
		DesiredState: u.Target, CurrentState: c.current(name),
	}
	if !c.global(name, u.File) {
		for _, p := range c.placed[name] {
			if p.value.Target.Wanted() {
				out.MachineID, out.PrimaryIP = string(p.machine), c.ip(p.machine)
				break
			}
		}
	}
	return out
}

// current sums up what machines have carried out: launched if one has launched
// it, else loaded if one has loaded it. The cache's lock must be held.
func (c *cache) current(name unit.Name) unit.Target {
	out := unit.TargetInactive
	for _, s := range c.states[name] {
		switch s.value.Target {
		case unit.TargetLaunched:
			return unit.TargetLaunched
		case unit.TargetLoaded:
			out = unit.TargetLoaded
		}
	}
	return out
}
