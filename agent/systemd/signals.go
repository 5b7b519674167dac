package systemd

import (
	"sync"

	"github.com/godbus/dbus/v5"

	systemd "github.com/coreos/go-systemd/v22/dbus"

	"github.com/fleet-project/fleet/unit"
)

func objectPath(name unit.Name) dbus.ObjectPath {
	return dbus.ObjectPath("/org/freedesktop/systemd1/unit/" + systemd.PathBusEscape(string(name)))
}

// State is how a unit is, as far as systemd has told.
type State struct {
	unit.SystemdState
	// Job is set while systemd has something queued or under way for the unit.
	Job bool

	order uint64 // in which the client came to know it; see Newer
}

// Newer reports whether s was said after old, or it isn't known which was
// first. Answers and signals take different ways, and may overtake each other.
func (s State) Newer(old State) bool { return s.order == 0 || s.order > old.order }

// Same reports whether nothing but the time of the two states differs.
func (s State) Same(other State) bool {
	s.order = other.order
	return s == other
}

// Changes is what happened since the last time somebody asked.
type Changes struct {
	// States are the latest states of those watched units that changed.
	States map[unit.Name]State
	// Resync is set when changes may have gone unnoticed (the connection broke,
	// or systemd read all files anew): ask for the States of all units.
	Resync bool
}

// watch keeps the latest state of each unit of interest. Signals arrive in the
// goroutine that reads the connection: it must never wait for anybody.
type watch struct {
	changed chan struct{} // one slot: something is there to take

	mu        sync.Mutex
	units     map[dbus.ObjectPath]*watched
	dirty     map[*watched]struct{}
	lost      bool // Resync is due
	order     uint64
	reloading bool // systemd is between dropping all units and having them again
}

// watched is one unit.
type watched struct {
	name  unit.Name
	state State
	// seq is the place of the last signal in its connection's order, of the
	// connection numbered epoch: an answer from before it is old.
	seq   dbus.Sequence
	epoch *jobs
	gone  bool // no longer watched
}

func newWatch() *watch {
	return &watch{
		changed: make(chan struct{}, 1),
		units:   map[dbus.ObjectPath]*watched{},
		dirty:   map[*watched]struct{}{},
	}
}

// Watch adds units to those whose changes are told. It doesn't tell how they
// are: ask States after it.
func (c *Client) Watch(names ...unit.Name) {
	w := c.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range names {
		if path := objectPath(name); w.units[path] == nil {
			w.units[path] = &watched{name: name}
		}
	}
}

// Unwatch takes units out of it.
func (c *Client) Unwatch(names ...unit.Name) {
	w := c.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, name := range names {
		path := objectPath(name)
		if u := w.units[path]; u != nil {
			u.gone = true
			delete(w.dirty, u)
			delete(w.units, path)
		}
	}
}

// Changed gets a value when there is something to Take.
func (c *Client) Changed() <-chan struct{} { return c.watch.changed }

// Take gives what changed since it was last called.
func (c *Client) Take() Changes {
	w := c.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	out := Changes{States: make(map[unit.Name]State, len(w.dirty)), Resync: w.lost}
	for u := range w.dirty {
		out.States[u.name] = u.state
	}
	clear(w.dirty)
	w.lost = false
	return out
}

// resync says that signals may have been missed.
func (w *watch) resync() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = true
	w.reloading = false
	w.notify()
}

func (w *watch) notify() {
	select {
	case w.changed <- struct{}{}:
	default: // the one who will take has been told already
	}
}

// receiver takes one connection's signals. It implements dbus.SignalHandler.
type receiver struct {
	watch *watch
	jobs  *jobs
}

// DeliverSignal is called in the order of the connection.
func (r *receiver) DeliverSignal(iface, member string, s *dbus.Signal) {
	switch {
	case iface == propsIface && member == "PropertiesChanged":
		r.properties(s)
	case iface != managerIface:
	case member == "JobRemoved":
		var id uint32
		var job dbus.ObjectPath
		var name, result string
		if dbus.Store(s.Body, &id, &job, &name, &result) == nil {
			r.jobs.end(job, result)
		}
	case member == "UnitRemoved":
		var name string
		var path dbus.ObjectPath
		if dbus.Store(s.Body, &name, &path) == nil {
			r.removed(path, s)
		}
	case member == "Reloading":
		var active bool
		if dbus.Store(s.Body, &active) == nil {
			r.reloading(active)
		}
	}
}

// properties takes over what changed of a watched unit. Of a unit that isn't,
// it looks at nothing but the path.
func (r *receiver) properties(s *dbus.Signal) {
	w := r.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	u := w.units[s.Path]
	if u == nil || len(s.Body) < 2 {
		return
	}
	iface, _ := s.Body[0].(string)
	changed, _ := s.Body[1].(map[string]dbus.Variant)
	was := u.state
	if iface == unitIface {
		text(changed, "ActiveState", &u.state.Active)
		text(changed, "SubState", &u.state.Sub)
		if job, ok := changed["Job"]; ok {
			u.state.Job = jobQueued(job)
		}
	} else if text(changed, "Result", &u.state.Result) && u.state.Result == "success" {
		// This signal comes before the one of unitIface: what changed is told
		// when that one is here.
		u.state.Result = ""
	}
	u.seq, u.epoch = s.Sequence, r.jobs
	if u.state != was {
		w.order++
		u.state.order = w.order
		w.dirty[u] = struct{}{}
	}
	if iface == unitIface && len(w.dirty) > 0 {
		w.notify()
	}
}

func text(changed map[string]dbus.Variant, name string, to *string) bool {
	v, ok := changed[name]
	if !ok {
		return false
	}
	s, ok := v.Value().(string)
	if ok {
		*to = s
	}
	return ok
}

// jobQueued reads the property Job, (uo): id and path, id 0 if there is none.
func jobQueued(v dbus.Variant) bool {
	pair, ok := v.Value().([]any)
	if !ok || len(pair) == 0 {
		return false
	}
	id, _ := pair[0].(uint32)
	return id != 0
}

// removed: systemd keeps only units in memory that run, have failed, or that
// others refer to. One that it dropped is inactive; its file may well be there.
func (r *receiver) removed(path dbus.ObjectPath, s *dbus.Signal) {
	w := r.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	u := w.units[path]
	if u == nil || w.reloading {
		return
	}
	was := u.state
	u.state.Active, u.state.Sub, u.state.Result, u.state.Job = "inactive", "dead", "", false
	u.seq, u.epoch = s.Sequence, r.jobs
	if u.state != was {
		w.order++
		u.state.order = w.order
		w.dirty[u] = struct{}{}
		w.notify()
	}
}

// reloading: during a daemon-reload systemd drops all units and makes them
// anew, and signals that it did.
func (r *receiver) reloading(active bool) {
	w := r.watch
	w.mu.Lock()
	defer w.mu.Unlock()
	w.reloading = active
	if !active {
		w.lost = true
		w.notify()
	}
}

// answer takes over a state that systemd gave on request, unless a signal has
// been here since. It gives the state that is the latest.
func (w *watch) answer(name unit.Name, state State, seq dbus.Sequence, from *conn) State {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.order++
	state.order = w.order
	u := w.units[objectPath(name)]
	if u == nil {
		return state
	}
	if u.epoch == from.jobs && u.seq > seq {
		u.state.Load, u.state.order = state.Load, w.order // no signal tells of Load
		return u.state
	}
	u.state = state
	delete(w.dirty, u)
	return state
}
