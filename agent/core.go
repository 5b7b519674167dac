package agent

import (
	"maps"
	"slices"
	"time"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// Record is what an agent has done to one unit: what the next agent on this
// host needs to know.
type Record struct {
	Name unit.Name      `json:"name"`
	Boot machine.BootID `json:"boot,omitempty"` // of another boot, it means nothing
	// Done has been carried out, wholly. Its Target is empty if nothing was.
	Done record.Spec `json:"done"`
	// Disk is the text that was given to systemd, or is just being given.
	Disk unit.Hash `json:"disk,omitempty"`
	// Intent is being carried out. Before is what systemd called the unit's run
	// when the intent was written: if that changed, it has been acted upon.
	Intent *record.Spec `json:"intent,omitempty"`
	Before string       `json:"before,omitempty"`
	// Enabled: the links of the unit's [Install] section are there.
	Enabled bool `json:"enabled,omitempty"`
	// StopsCutOff: the unit says Isolation=stop. CutOff: it was stopped for it,
	// and is to be started when the host is back.
	StopsCutOff bool `json:"stopsCutOff,omitempty"`
	CutOff      bool `json:"cutOff,omitempty"`
	// Simple: systemd calls the unit active before its program was executed.
	Simple bool `json:"simple,omitempty"`
}

// reach is how well the host is connected to the cluster, for the units that
// must not outlive its lease.
type reach int

const (
	reachable  reach = iota
	cutOff           // the lease ends soon: stop them
	nearlyDead       // it ends any moment: kill what still runs
)

// held is one unit that the core knows anything of.
type held struct {
	name unit.Name
	want *record.Spec // the instruction; nil if there is none, which is no instruction
	rec  *Record      // nil: fleet has nothing of it on this host

	state systemd.State
	seen  bool // state is systemd's word

	op       verb      // under way, empty if none
	job      uint64    // the latest that systemd accepted
	begun    uint64    // the latest of them that started it
	stopping bool      // a stop was accepted, its end isn't known yet
	starting bool      // a start or restart was accepted, its end isn't known yet
	renewing bool      // starting: the run that is seen is the one before
	proof    time.Time // a program that has just begun is told of then, if it still runs
	stopped  bool      // it ended with the unit down, and nothing was started since
	killed   bool      // SIGKILL was sent, or is to be tried again after retry
	slain    bool      // it was killed once since the lease is about to end
	examine  bool      // the record's intent may have taken place, or may not

	err      string // why the instruction isn't carried out
	advisory bool   // err is no reason to try again: systemd did what it could
	denied   bool   // err is systemd's no, in its own words
	failures int
	retry    time.Time

	words words // of its log, if it has failed
	share share // in the tally

	acked     bool          // a withdrawal was carried out and said so
	published *record.State // what others have been told; nil: nothing
}

// text is a unit file on its way from the registry.
type text struct {
	text     []byte // nil: not here yet
	asking   bool
	missing  bool
	failures int
	retry    time.Time
}

// core decides. It owns all it refers to.
type core struct {
	units    map[unit.Name]*held
	schedule map[unit.Name]record.Spec
	texts    map[unit.Hash]*text
	boot     machine.BootID

	check     func(found *record.Cluster, known record.ClusterID) error // is cluster the known one?
	known     record.Cluster                                            // the cluster that the host belongs to; ID empty if none yet
	cluster   *record.Cluster
	checked   *checked // what check said last
	following bool     // a schedule has been read
	reach     reach
	leaving   bool // take everything away, whatever the schedule says

	dirty map[unit.Name]struct{} // to be decided on, and perhaps published
	timed map[*held]struct{}     // something is to be done about them though nothing happens
	tally tally
	out   output
	logf  func(level, format string, args ...any)
}

// output is what the core wants done.
type output struct {
	actions []action
	fetch   []unit.Hash                 // texts to get from the registry
	states  map[unit.Name]*record.State // to publish; nil deletes
	final   bool                        // one of them is a start's end: nothing comes after it
	logs    []reading                   // of units that have failed
	forget  []unit.Name                 // units to watch no longer
	cluster *record.Cluster             // to be remembered
	wake    time.Time                   // when to decide again though nothing happened; zero: never
}

func newCore(boot machine.BootID, check func(*record.Cluster, record.ClusterID) error, known record.Cluster, logf func(level, format string, args ...any)) *core {
	return &core{
		units:    map[unit.Name]*held{},
		schedule: map[unit.Name]record.Spec{},
		texts:    map[unit.Hash]*text{},
		boot:     boot,
		check:    check,
		known:    known,
		dirty:    map[unit.Name]struct{}{},
		timed:    map[*held]struct{}{},
		tally:    tally{active: map[string]int{}, changed: true},
		out:      output{states: map[unit.Name]*record.State{}},
		logf:     logf,
	}
}

func (c *core) touch(name unit.Name) { c.dirty[name] = struct{}{} }

func (c *core) touchAll() {
	for name := range c.units {
		c.touch(name)
	}
}

// get gives the unit, a new one if need be.
func (c *core) get(name unit.Name) *held {
	h := c.units[name]
	if h == nil {
		h = &held{name: name}
		c.units[name] = h
	}
	return h
}

func (c *core) resetError(h *held) {
	h.err, h.advisory, h.denied, h.failures, h.retry = "", false, false, 0, time.Time{}
}

// fail notes why an instruction could not be carried out. It is tried again
// later and later.
func (c *core) fail(h *held, now time.Time, err string) {
	h.err, h.advisory, h.denied = err, false, false
	h.retry = now.Add(backoff(h.failures))
	h.failures++
	c.touch(h.name)
}

// backoff grows from a second to a minute.
func backoff(failures int) time.Duration {
	return min(time.Second<<min(failures, 6), time.Minute)
}

// observe takes over what systemd says.
func (c *core) observe(states map[unit.Name]systemd.State) {
	for name, s := range states {
		h := c.units[name]
		if h == nil {
			continue
		}
		if h.seen && !s.Newer(h.state) {
			continue
		}
		same := h.seen && s.Same(h.state)
		h.state, h.seen = s, true
		if same {
			continue
		}
		if h.advisory && (s.Active == "active" || s.Active == "activating") {
			c.resetError(h)
		}
		h.renewing = h.renewing && s.Active == "active"
		if !h.runs() {
			h.proof = time.Time{}
		}
		if h.stopped && !down(s) {
			h.stopped = false
		}
		c.touch(name)
	}
}

// runs reports whether a service's main program runs, as far as systemd knows.
func (h *held) runs() bool { return h.state.Active == "active" && h.state.Sub == "running" }

// down reports whether a unit doesn't run and isn't going to.
func down(s systemd.State) bool {
	return (s.Active == "inactive" || s.Active == "failed") && !s.Job
}

// blind forgets what systemd said: the connection broke.
func (c *core) blind() {
	for _, h := range c.units {
		h.seen, h.stopping, h.starting = false, false, false
		c.tally.count(h)
	}
}

// fetched takes over texts that the registry gave; those that it hasn't are
// missing. An error means that it couldn't be asked.
func (c *core) fetched(now time.Time, asked []unit.Hash, got map[unit.Hash][]byte, err error) {
	for _, hash := range asked {
		t := c.texts[hash]
		if t == nil {
			continue
		}
		t.asking = false
		t.text = got[hash]
		t.missing = err == nil && t.text == nil
		if t.text == nil {
			t.retry = now.Add(backoff(t.failures))
			t.failures++
		}
	}
	for name, h := range c.units {
		if h.want != nil && c.texts[h.want.File] != nil {
			c.touch(name)
		}
	}
}

// connect tells the core how well the host reaches the cluster.
func (c *core) connect(r reach) {
	if c.reach == r {
		return
	}
	c.reach = r
	for name, h := range c.units {
		h.slain = h.slain && r == nearlyDead
		if h.rec != nil && h.rec.StopsCutOff {
			c.touch(name)
		}
	}
}

// leave makes the core take everything away.
func (c *core) leave() {
	c.leaving = true
	for _, h := range c.units {
		h.retry = time.Time{}
	}
	c.touchAll()
}

// empty reports whether nothing of fleet's is left on this host.
func (c *core) empty() bool {
	for _, h := range c.units {
		if h.rec != nil || h.op != "" {
			return false
		}
	}
	return true
}

// names lists the units that fleet has something of on this host, in order.
func (c *core) names() []unit.Name {
	var out []unit.Name
	for name, h := range c.units {
		if h.rec != nil {
			out = append(out, name)
		}
	}
	slices.Sort(out)
	return out
}

// settle decides on all units that something happened to, and hands over what
// is to be done. The caller does it, and tells.
func (c *core) settle(now time.Time) output {
	c.recount()
	for h := range c.timed { // those whose time has come
		if !h.retry.IsZero() && !now.Before(h.retry) {
			h.retry, h.killed = time.Time{}, false
			c.touch(h.name)
		}
		if !h.proof.IsZero() && !now.Before(h.proof) {
			h.proof, c.out.final = time.Time{}, true
			c.touch(h.name)
		}
		if !h.words.until.IsZero() && !now.Before(h.words.until) {
			h.words.until = time.Time{}
			c.touch(h.name)
		}
	}
	for _, t := range c.texts {
		if !t.retry.IsZero() && !now.Before(t.retry) {
			t.retry = time.Time{}
			c.touchAll()
		}
	}
	for len(c.dirty) > 0 {
		for _, name := range slices.Sorted(maps.Keys(c.dirty)) { // equal inputs, equal outputs
			delete(c.dirty, name)
			if h := c.units[name]; h != nil {
				c.decide(h)
				c.listen(h, now)
				c.publish(h)
				c.time(h)
			}
		}
	}
	c.read(now)
	c.prune()
	out := c.out
	for h := range c.timed {
		out.wake = earlier(out.wake, c.time(h))
	}
	for _, t := range c.texts {
		out.wake = earlier(out.wake, t.retry)
	}
	c.out = output{states: map[unit.Name]*record.State{}}
	return out
}

// prune drops texts that nobody waits for any more.
func (c *core) prune() {
	if len(c.texts) == 0 {
		return
	}
	needed := map[unit.Hash]bool{}
	for _, h := range c.units {
		if h.want != nil && (h.rec == nil || h.rec.Disk != h.want.File) {
			needed[h.want.File] = true
		}
	}
	for hash, t := range c.texts {
		if !needed[hash] && !t.asking {
			delete(c.texts, hash)
		}
	}
}

func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}
