package planner

import (
	"cmp"
	"maps"
	"slices"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// Config is what a planner must be told.
type Config struct {
	// Grace is how long a machine that was already absent when this planner
	// began may take to come back before its units move: the agents' TTL.
	Grace time.Duration
}

// Planner holds the cluster as it will be once everything decided is
// committed. It is not safe for concurrent use.
type Planner struct {
	cfg     Config
	cluster *record.Cluster
	running bool // false before the first plan, and while cluster is nil

	jobs      roster
	hosts     map[machine.ID]*host
	short     map[string][]*host // hosts by the ID's first 8 characters
	files     map[unit.Hash]*file
	names     *names
	patterns  *patterns
	classes   classes
	bans      set // banned's
	templates map[unit.Name]*template
	// followers are the units whose MachineOf names the key, which need not
	// exist.
	followers map[unit.Name]map[*job]struct{}

	live     int  // machines present
	deserted bool // live was 0 at some time since the last Step, after having been more

	// What the next plan must look at.
	queue       []*job // each with queued set
	pairs       []pair // may repeat itself
	spoiled     []*job // each with stale set
	openedHosts map[*host]struct{}
	lostFiles   map[*file]struct{}
	idleFiles   map[*file]struct{}

	waiting map[*job]struct{} // each with waiting set
	hunters map[*job]struct{} // those of them that have Replaces
	// postponed are displaced units that are not to be moved before the time.
	postponed map[*job]time.Time
	nextDue   time.Time // no later than the earliest of postponed; zero if that is empty

	now     time.Time
	out     *draft
	nothing *unit.Requirements // of all units that demand nothing
	unbound *bonds             // of all that are tied to no others
	blank   *record.Spec       // of all seats that have none
	none    *record.Spec       // of all that are to be left
	work    work
}

// work counts what was done, for the tests that prove how much that is.
type work struct {
	looks      int // at a machine, for a unit
	considered int // units, or global units on a machine
}

// New makes a planner that knows nothing yet. Feed it a snapshot with its
// first Step.
func New(cfg Config) *Planner {
	n := &names{}
	p := &Planner{
		cfg:         cfg,
		jobs:        newRoster(0),
		hosts:       map[machine.ID]*host{},
		short:       map[string][]*host{},
		files:       map[unit.Hash]*file{},
		names:       n,
		classes:     classes{all: map[string]*class{}},
		templates:   map[unit.Name]*template{},
		followers:   map[unit.Name]map[*job]struct{}{},
		openedHosts: map[*host]struct{}{},
		lostFiles:   map[*file]struct{}{},
		idleFiles:   map[*file]struct{}{},
		waiting:     map[*job]struct{}{},
		hunters:     map[*job]struct{}{},
		postponed:   map[*job]time.Time{},
		out:         &draft{},
		nothing:     &unit.Requirements{},
		unbound:     &bonds{unbound: true},
		blank:       &record.Spec{},
		none:        &record.Spec{Target: unit.TargetNone},
	}
	p.classes.ring.few, p.classes.ring.classes = fewMachines, p.classes.all
	p.patterns = newPatterns(n, &p.classes.ring)
	return p
}

// Observe makes changes known without deciding anything, for who only wants
// explanations.
func (p *Planner) Observe(changes []record.Change) {
	for _, c := range changes {
		p.apply(c)
	}
	p.settle()
}

// Step makes changes known, in the order in which etcd made them, and decides
// what is to be written. The decisions count as committed: if they can't be,
// throw the planner away and start over from a snapshot.
//
// The first Step is the moment when a leader takes over. Machines that it
// finds absent but with units placed on them are missing, not lost, until
// Config.Grace has passed. A machine whose MachineChange says later that it is
// gone is lost at once: the caller has made sure that its lease is.
func (p *Planner) Step(now time.Time, changes []record.Change) Plan {
	p.now = now
	p.out = &draft{}
	before := p.live
	p.deserted = before == 0
	if p.jobs.len() == 0 {
		p.expectUnits(changes)
	}
	for _, c := range changes {
		p.apply(c)
	}
	if p.cluster == nil {
		p.running = false
		return Plan{}
	}
	p.settle()
	if !p.running || p.deserted && p.live > 0 {
		p.expect()
	}
	p.running = true
	p.expire()
	p.wake()
	p.run()
	for p.relent() {
		p.run()
	}
	p.restoreFiles()
	p.collectFiles()
	return p.out.plan(p.nextDue)
}

// expectUnits makes room for a snapshot's units.
func (p *Planner) expectUnits(changes []record.Change) {
	n := 0
	for _, c := range changes {
		if _, ok := c.(record.UnitChange); ok {
			n++
		}
	}
	if n > 0 {
		p.jobs = newRoster(n)
		p.names.recent = make([]*job, 0, n)
		p.queue = make([]*job, 0, n)
		p.spoiled = make([]*job, 0, n)
	}
}

// expect gives every absent machine that holds units the time to come back.
// After a change of leaders nobody knows for how long it has been absent. And
// when the first machine shows up after all were gone, it was etcd that was
// away, or the whole site: that one machine must not get everything.
func (p *Planner) expect() {
	until := p.now.Add(p.cfg.Grace)
	for _, h := range p.hosts {
		if h.live() || len(h.seats) == 0 {
			continue
		}
		h.missing = until
		for _, s := range h.seats {
			p.markSeat(s)
		}
	}
}

// postpone puts a displaced unit off.
func (p *Planner) postpone(j *job, until time.Time) {
	p.postponed[j] = until
	if p.nextDue.IsZero() || until.Before(p.nextDue) {
		p.nextDue = until
	}
}

// expire looks at the postponed units whose time has come.
func (p *Planner) expire() {
	if p.nextDue.IsZero() || p.now.Before(p.nextDue) {
		return
	}
	p.nextDue = time.Time{}
	for j, until := range p.postponed {
		if p.now.Before(until) {
			p.postpone(j, until)
			continue
		}
		delete(p.postponed, j)
		p.mark(j)
	}
}

// wake has the waiting units look at the machines that opened.
func (p *Planner) wake() {
	for h := range p.openedHosts {
		if !h.live() {
			continue
		}
		for j := range p.waiting {
			if j.global() || p.suits(j, h) {
				p.markAt(j, h)
			}
		}
	}
	clear(p.openedHosts)
}

// maxLooks bounds how often one Step looks at things, for each thing there is.
// Rules that chase each other in a circle must not hang the leader.
const maxLooks = 100

// run looks at what is marked until nothing is: a decision may concern others.
func (p *Planner) run() {
	budget := maxLooks * (p.jobs.len() + len(p.queue) + len(p.pairs) + 100)
	for len(p.queue) > 0 || len(p.pairs) > 0 {
		p.restoreUnits(p.queue)
		batch := slices.Grow(p.pairs, len(p.queue))
		for _, j := range p.queue {
			j.queued = false
			batch = append(batch, pair{job: j})
		}
		p.queue, p.pairs = nil, nil
		batch = p.order(batch)
		p.out.expect(len(batch))
		if budget -= len(batch); budget < 0 {
			p.out.warn("planning found no end and was cut short at %s: please report this", batch[0].job.name)
			return
		}
		for i, x := range batch {
			switch {
			case x.job.gone, i > 0 && x == batch[i-1]:
				continue
			case x.host == nil && !x.job.full && len(x.job.opened) == 0:
				continue // looked at already, after it was marked again
			case x.host == nil:
				p.consider(x.job)
			default:
				p.considerAt(x.job, x.host)
			}
			p.work.considered++
		}
	}
}

// Ranks of units that have to do with no others: those that can't go everywhere
// first, so that the rest makes up for where they had to go.
const (
	rankChoosy = 1<<30 + iota
	rankFree
)

// order sorts units so that each is looked at after those that it follows: it
// must know where they are. Among them, those that only leave come first, then
// those with Replaces, for others must make way for them.
func (p *Planner) order(batch []pair) []pair {
	if len(batch) == 1 {
		return batch
	}
	ranks, ends := map[*job]int{}, map[int]int{}
	for i := range batch {
		batch[i].rank = p.rank(batch[i].job, ranks)
		ends[batch[i].rank]++
	}
	// Those of a rank are in order as a rule, for a snapshot is: then nothing is
	// to be sorted once they are together.
	if len(ends) > 1 {
		at := 0
		for _, rank := range slices.Sorted(maps.Keys(ends)) {
			at, ends[rank] = at+ends[rank], at
		}
		ordered := make([]pair, len(batch))
		for _, x := range batch {
			ordered[ends[x.rank]] = x
			ends[x.rank]++
		}
		batch = ordered
	}
	begin := 0
	for _, rank := range slices.Sorted(maps.Keys(ends)) {
		some := batch[begin:]
		if len(ends) > 1 {
			some = batch[begin:ends[rank]]
			begin = ends[rank]
		}
		if !slices.IsSortedFunc(some, byUnit) {
			slices.SortFunc(some, byUnit)
		}
	}
	return batch
}

// byUnit orders pairs of one rank.
func byUnit(a, b pair) int {
	if a.job == b.job {
		return cmp.Compare(a.hostID(), b.hostID())
	}
	return byName(a.job, b.job)
}

// rank gives the place of a unit in the order. Those that have to do with no
// others, nearly all, are not in ranks.
func (p *Planner) rank(j *job, ranks map[*job]int) int {
	if j.wanted() && len(j.takes) == 0 && len(j.req.MachineOf) == 0 {
		switch {
		case j.req.Global, len(j.wants) > 0, len(j.known) > 0, len(j.followers) > 0:
			return 0
		case j.req.Empty():
			return rankFree
		}
		return rankChoosy
	}
	if r, ok := ranks[j]; ok {
		return r
	}
	r := 0
	switch {
	case !j.wanted():
		ranks[j] = -2
		return -2
	case len(j.takes) > 0:
		r = -1
	}
	if p.inCircle(j) { // no order among those
		ranks[j] = r
		return r
	}
	depth := 0
	for _, name := range j.req.MachineOf {
		if l := p.jobs.get(name); l != nil {
			depth = max(depth, (p.rank(l, ranks)+2)/3+1)
		}
	}
	ranks[j] = 3*depth + r
	return ranks[j]
}
