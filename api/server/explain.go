package server

import (
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/engine/planner"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

const (
	// explainerIdle is how long the explainer keeps up with the cluster after it
	// was last asked.
	explainerIdle = time.Minute
	// explainerBacklog is how many changes one planner is told: it keeps marks
	// for decisions that it never gets to make, and beginning anew is cheap.
	explainerBacklog = 50000
)

// explainer asks a planner why units are where they are. That planner observes
// and decides nothing. It exists only while somebody asks, so that a host where
// nobody does pays nothing for it.
type explainer struct {
	cache *cache
	grace time.Duration

	mu      sync.Mutex
	planner *planner.Planner // nil: nobody has asked for a while
	asked   time.Time
	pending []record.Change // since the planner was last told
	told    int             // how many, after the snapshot
}

func newExplainer(c *cache, grace time.Duration) *explainer {
	return &explainer{cache: c, grace: grace}
}

// note remembers what changed, for a planner that lives. It is called after the
// cache was updated.
func (e *explainer) note(u registry.Update) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.planner == nil {
		return
	}
	if u.Reset || e.told+len(e.pending) > explainerBacklog || time.Since(e.asked) > explainerIdle || slices.ContainsFunc(u.Changes, takesAway) {
		e.planner, e.pending = nil, nil
		return
	}
	e.pending = append(e.pending, u.Changes...)
}

// takesAway reports whether a placement was deleted. A planner takes that for an
// accident unless it decided so itself, and one that only observes did not.
func takesAway(c record.Change) bool {
	p, ok := c.(record.PlacementChange)
	return ok && p.New == nil
}

// explain says why a unit is where it is. The cache's lock must not be held.
func (e *explainer) explain(name unit.Name) (api.Explanation, bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.asked = time.Now()
	if e.planner == nil {
		e.planner = planner.New(planner.Config{Grace: e.grace})
		e.cache.mu.RLock()
		e.pending = e.cache.view.Changes()
		e.cache.mu.RUnlock()
		e.told = -len(e.pending)
	}
	if len(e.pending) > 0 {
		e.planner.Observe(e.pending)
		e.told += len(e.pending)
		e.pending = nil
	}
	x, ok := e.planner.Explain(name)
	if !ok {
		return api.Explanation{}, false
	}
	return e.cache.explanationWire(x), true
}

func (c *cache) explanationWire(x planner.Explanation) api.Explanation {
	c.mu.RLock()
	defer c.mu.RUnlock()
	out := api.Explanation{Unit: x.Unit, Summary: x.Summary, Problem: x.Problem, Fits: x.Fits, Machines: []api.Verdict{}}
	for _, id := range x.Placed {
		out.Placed = append(out.Placed, string(id))
	}
	for _, v := range x.Machines {
		m := c.view.Machines[v.ID]
		out.Machines = append(out.Machines, api.Verdict{
			MachineID: string(v.ID), PrimaryIP: m.IP, Hostname: m.Hostname, Fits: v.Fits, Placed: v.Placed, Reasons: v.Reasons,
		})
	}
	return out
}

func (s *Server) explainUnit(w http.ResponseWriter, r *http.Request, given string) error {
	if err := s.fresh(r.Context()); err != nil {
		return err
	}
	name := unit.Name(given)
	s.cache.mu.RLock()
	_, exists := s.cache.unit(name)
	s.cache.mu.RUnlock()
	if exists {
		if x, ok := s.explainer.explain(name); ok {
			return s.answer(w, http.StatusOK, x)
		}
	}
	return notFound("unit %s does not exist", name)
}
