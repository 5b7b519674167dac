package server

import (
	"net/http"
	"reflect"
	"slices"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/unit"
)

// watcher is what one watch of named units has to look at again.
type watcher struct {
	names []unit.Name
	*pending[unit.Name]
}

func newWatcher(names []unit.Name) *watcher {
	return &watcher{names: names, pending: newPending[unit.Name]()}
}

// changed gives the units to look at again, sorted.
func (w *watcher) changed() []unit.Name {
	names, all := w.take()
	if all {
		return w.names
	}
	slices.Sort(names)
	return names
}

func (c *cache) addWatcher(w *watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range w.names {
		if c.watchers[n] == nil {
			c.watchers[n] = map[*watcher]struct{}{}
		}
		c.watchers[n][w] = struct{}{}
	}
}

func (c *cache) removeWatcher(w *watcher) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range w.names {
		if delete(c.watchers[n], w); len(c.watchers[n]) == 0 {
			delete(c.watchers, n)
		}
	}
}

func (s *Server) watch(w http.ResponseWriter, r *http.Request, _ string) error {
	var names []unit.Name
	query, err := queryOf(r)
	if err != nil {
		return err
	}
	for _, given := range query["unit"] {
		name, err := unit.ParseName(given)
		if err != nil {
			return invalid(err)
		}
		names = append(names, name)
	}
	if len(names) == 0 {
		return badRequest("say what to watch: ?unit=NAME, as often as you like")
	}
	slices.Sort(names)
	names = slices.Compact(names)
	if err := s.fresh(r.Context()); err != nil {
		return err
	}
	end, err := s.beginWatch(r)
	if err != nil {
		return err
	}
	defer end()
	watcher := newWatcher(names)
	s.cache.addWatcher(watcher)
	defer s.cache.removeWatcher(watcher)
	watcher.touchAll()
	out := newLines(w, r, s.patience.Answer)
	if out == nil {
		return nil
	}
	st := &stream{lines: out, server: s, watcher: watcher, last: map[unit.Name]*api.UnitStatus{}, unplaced: map[unit.Name]time.Time{}}
	st.run(r)
	return nil
}

// stream is one watch under way.
type stream struct {
	*lines
	server  *Server
	watcher *watcher
	last    map[unit.Name]*api.UnitStatus // as sent
	trouble string                        // as sent
	// unplaced holds the units that are wanted and have no place, and since
	// when.
	unplaced map[unit.Name]time.Time
}

// run writes lines until the client or the server goes away.
func (st *stream) run(r *http.Request) {
	ticker := time.NewTicker(glance)
	defer ticker.Stop()
	for {
		var err error
		select {
		case <-r.Context().Done():
			return
		case <-st.watcher.ready:
			err = st.tell(st.watcher.changed())
		case <-ticker.C:
			err = st.look()
		}
		if err != nil {
			return
		}
	}
}

// trouble says why what is in memory may be behind the truth; "" if it is not.
func (s *Server) trouble() string {
	if err := s.opts.Registry.Health(); err != nil {
		return err.Error()
	}
	return ""
}

// look finds what tells by no event.
func (st *stream) look() error {
	if trouble := st.server.trouble(); trouble != st.trouble {
		st.trouble = trouble
		if err := st.send(api.Event{Trouble: trouble, Recovered: trouble == ""}); err != nil {
			return err
		}
	}
	if len(st.unplaced) > 0 {
		if err := st.tell(sortedKeys(st.unplaced)); err != nil {
			return err
		}
	}
	if time.Since(st.spoke) >= api.HeartbeatInterval {
		return st.send(api.Event{Heartbeat: true})
	}
	return nil
}

// tell sends how units are, if that differs from what was sent.
func (st *stream) tell(names []unit.Name) error {
	for _, name := range names {
		status := st.status(name)
		if reflect.DeepEqual(st.last[name], &status) {
			continue
		}
		st.last[name] = &status
		if err := st.write(api.Event{Status: &status}); err != nil {
			return err
		}
	}
	return st.flush()
}

// status is how a unit is now, explained if it is wanted and has no place.
func (st *stream) status(name unit.Name) api.UnitStatus {
	s := st.server
	status := s.cache.status(name)
	if !s.cache.stranded(status) {
		delete(st.unplaced, name)
		return status
	}
	since, known := st.unplaced[name]
	if !known {
		since = time.Now()
		st.unplaced[name] = since
	}
	// One that fits, or that is being moved, is about to be placed: there is
	// nothing to explain unless that takes longer than it should.
	moving := len(status.Placements) > 0 || len(status.States) > 0
	if x, ok := s.explainer.explain(name); ok && (!x.Fits && !moving || time.Since(since) >= glance) {
		status.Explanation = &x
	}
	return status
}

// stranded reports whether a unit is wanted and has no place, or only that on a
// machine which is away.
func (c *cache) stranded(status api.UnitStatus) bool {
	c.mu.RLock()
	defer c.mu.RUnlock()
	if !status.Exists || !status.DesiredState.Wanted() || status.Global {
		return false
	}
	for _, p := range status.Placements {
		if _, here := c.view.Machines[machine.ID(p.MachineID)]; here && p.Target.Wanted() {
			return false
		}
	}
	return true
}

// status is all that is known of a unit.
func (c *cache) status(name unit.Name) api.UnitStatus {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := api.UnitStatus{Unit: name}
	if u, ok := c.view.Units[name]; ok {
		if out.Destroying = u.Target == unit.TargetDestroyed; !out.Destroying {
			out.Exists, out.DesiredState, out.CurrentState = true, u.Target, c.current(name)
		}
		out.Hash, out.Restart, out.Global = u.File, u.Restart, c.global(name, u.File)
		for id, n := range u.RestartOn {
			if out.RestartOn == nil {
				out.RestartOn = map[string]uint64{}
			}
			out.RestartOn[string(id)] = n
		}
		out.ServiceType = c.file(u.File).ServiceType(name)
	}
	for _, on := range c.placed[name] {
		id, p := on.machine, &on.value
		out.Placements = append(out.Placements, api.Placement{
			MachineID: string(id), PrimaryIP: c.ip(id), Target: p.Target, Hash: p.File, Restart: p.Restart,
		})
	}
	for _, on := range c.states[name] {
		id, s := on.machine, &on.value
		out.States = append(out.States, api.MachineState{
			MachineID: string(id), PrimaryIP: c.ip(id), Target: s.Target, Hash: s.File, Restart: s.Restart,
			SystemdState: s.SystemdState, Error: s.Error, Log: s.Log,
		})
	}
	return out
}
