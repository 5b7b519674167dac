package agent

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

const (
	// coalesce is how long states are held back to go out together: systemd
	// signals a start's steps within less.
	coalesce = 3 * time.Millisecond
	// pace is how often states are put while many units change, one after the
	// other: each put is a transaction, which every etcd member writes down and
	// every fleetd is told of. Of atOnce puts none waits for it, so that of a few
	// changes each is told at once.
	pace   = 40 * time.Millisecond
	atOnce = 4
	// parallel bounds the operations under way. PID 1 does one at a time
	// anyway; this is to keep its queue filled.
	parallel = 64
	// reloadAfter is how long nothing was enabled or disabled before systemd is
	// made to read the new links: they matter at the next boot of a target, not
	// to the units being started.
	reloadAfter = time.Second
	// compareEvery is the safety net's interval. It should find nothing.
	compareEvery = 5 * time.Minute
	// grace is how long operations may go on when the agent ends, to finish and
	// write down what they began.
	grace = 3 * time.Second
	// drain bounds how many events are taken in at once.
	drain = 256
)

// DefaultDir is where records are.
const DefaultDir = "/run/fleet/units/"

// Registry is the cluster's state, as far as one machine needs it.
type Registry interface {
	FollowMachine(ctx context.Context, id machine.ID, fn func(registry.Update) error) error
	Files(ctx context.Context, hashes []unit.Hash) (map[unit.Hash][]byte, error)
	CheckCluster(found *record.Cluster, known record.ClusterID) error
}

// Presence is the machine's own part of it. It remembers states and writes them
// when it can.
type Presence interface {
	PutStates(ctx context.Context, states map[unit.Name]*record.State) error
	RenewedAt() time.Time
	Update(ctx context.Context, m machine.Machine) error
	Leave(ctx context.Context) error
}

// Systemd drives this host's units; [systemd.Client] is the real one, and says
// what the methods do.
type Systemd interface {
	Claim(ctx context.Context, files []systemd.File) (map[unit.Name]error, error)
	Write(ctx context.Context, files []systemd.File) (map[unit.Name]error, error)
	Text(name unit.Name) ([]byte, error)
	Remove(name unit.Name) error
	Enable(ctx context.Context, names []unit.Name) error
	Disable(ctx context.Context, names []unit.Name) error
	Reload(ctx context.Context) error

	Start(ctx context.Context, name unit.Name) (<-chan string, error)
	Restart(ctx context.Context, name unit.Name) (<-chan string, error)
	Stop(ctx context.Context, name unit.Name) (<-chan string, error)
	Kill(ctx context.Context, name unit.Name) error
	ResetFailed(ctx context.Context, name unit.Name) error

	States(ctx context.Context, names []unit.Name) (map[unit.Name]systemd.State, error)
	Invocation(ctx context.Context, name unit.Name) (string, error)
	LoadError(ctx context.Context, name unit.Name) (string, error)
	Logs(ctx context.Context, names []unit.Name) (map[unit.Name]string, error)
	Watch(names ...unit.Name)
	Unwatch(names ...unit.Name)
	Changed() <-chan struct{}
	Take() systemd.Changes
}

// Clock tells the time; nil in Options is the real one.
type Clock interface {
	Now() time.Time
	After(d time.Duration) <-chan time.Time
}

type realClock struct{}

func (realClock) Now() time.Time                         { return time.Now() }
func (realClock) After(d time.Duration) <-chan time.Time { return time.After(d) }

// Options are what an agent works with.
type Options struct {
	Registry Registry
	Presence Presence
	Systemd  Systemd

	// Machine gives the host as it presents itself now.
	Machine func() machine.Machine
	// TTL of the lease that Presence keeps (agent_ttl).
	TTL time.Duration
	// Dir keeps a record for each unit; empty: DefaultDir. What cluster the host
	// belongs to is kept in the file "cluster" beside it.
	Dir string
	// Records keeps them elsewhere; nil: in Dir.
	Records Records

	Log     *logrus.Entry
	Metrics prometheus.Registerer // nil: none
	Clock   Clock
	// Uptime is how long ago the host booted, asleep or not; nil: the kernel's
	// word, or Clock's if there is one.
	Uptime func() (time.Duration, error)
	// Switch stops the units that say Isolation=stop when fleetd can't; nil: none.
	Switch Switch
}

// Agent is one host's. Its fields below mu belong to the loop.
type Agent struct {
	opts    Options
	id      machine.ID
	log     *logrus.Entry
	clock   Clock
	sys     Systemd
	boot    machine.BootID
	records Records
	metrics *metrics
	driver  driver

	events  chan func(now time.Time) // run by the loop
	stopped chan struct{}            // the loop has ended
	slots   chan struct{}            // one for each operation under way
	ops     sync.WaitGroup           // operations, which have a grace
	waits   sync.WaitGroup           // what ends with Run's context

	mu     sync.Mutex
	health error
	units  int

	core       *core
	life       context.Context // Run's
	opLife     context.Context // the operations'
	active     int             // operations under way
	awaited    int             // jobs whose end is awaited
	ended      bool            // one has ended in this turn
	jobs       uint64          // counts accepted jobs
	pending    map[unit.Name]*record.State
	publishAt  time.Time
	putting    bool
	putsUntil  time.Time // the puts made so far are as many as pace allows until then
	installs   []action  // that wait for the ones under way
	installing bool
	ends       []jobEnd // stops whose outcome is to be asked for
	asking     bool
	unread     []reading // logs of units that failed
	reading    bool
	resync     bool // all states are to be asked for
	syncing    bool
	syncAt     time.Time
	blind      bool // systemd couldn't be asked, and that has been said
	reloadAt   time.Time
	compareAt  time.Time
	suspects   map[unit.Name]systemd.State // what the safety net found, to be looked at again
	started    time.Time
	returning  bool // the lease is back, the schedule isn't yet
	lease      leaseClock
	unnoted    bool         // its renewal can't be written down, and that has been said
	stopBy     atomic.Int64 // the uptime at which what says Isolation=stop is stopped, as of the last look
	slaying    bool
	killAt     time.Time     // when to kill again what outlives the lease
	switching  bool          // the dead man's switch is being armed or ended
	armedFor   time.Duration // the renewal that it was armed for; 0: it wasn't
	armAt      time.Time     // when to try again
	unarmed    bool          // it can't be armed, and that has been said
	follower   *follower
	emptied    []chan struct{} // closed when nothing is left here
	safe       func()          // called while no unit here can outlive the lease; nil: nobody cares
}

// New makes an agent. It does nothing before Run.
func New(opts Options) *Agent {
	a := assemble(opts)
	a.events = make(chan func(time.Time), drain)
	a.stopped = make(chan struct{})
	a.driver = goroutines{a}
	return a
}

// assemble makes an agent that nobody drives yet.
func assemble(opts Options) *Agent {
	m := opts.Machine()
	if opts.Records == nil {
		if opts.Dir == "" {
			opts.Dir = DefaultDir
		}
		opts.Records = store{dir: opts.Dir, boot: m.BootID, ttl: opts.TTL}
	}
	switch {
	case opts.Uptime != nil:
	case opts.Clock == nil:
		opts.Uptime = uptime
	default: // two clocks that know nothing of each other tell nothing
		began := opts.Clock.Now()
		opts.Uptime = func() (time.Duration, error) { return opts.Clock.Now().Sub(began), nil }
	}
	if opts.Clock == nil {
		opts.Clock = realClock{}
	}
	if opts.Log == nil {
		opts.Log = logrus.NewEntry(logrus.StandardLogger())
	}
	a := &Agent{
		opts:    opts,
		id:      m.ID,
		log:     opts.Log,
		clock:   opts.Clock,
		sys:     opts.Systemd,
		boot:    m.BootID,
		records: opts.Records,
		metrics: newMetrics(opts.Metrics),
		slots:   make(chan struct{}, parallel),
		pending: map[unit.Name]*record.State{},
		health:  errNotYet,
	}
	a.lease.agent = a
	return a
}

// Health says why the agent doesn't follow its schedule; nil if it does.
func (a *Agent) Health() error {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.health
}

// Units is how many units fleet has on this host.
func (a *Agent) Units() int {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.units
}

// Run takes over what an earlier agent has left and then follows the schedule
// until ctx ends, which leaves everything running. It is called once. The error
// is nil unless the records can't be read.
func (a *Agent) Run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	opLife, cancelOps := context.WithCancel(context.WithoutCancel(ctx))
	a.life, a.opLife = ctx, opLife
	defer cancelOps()
	if a.opts.Registry != nil { // this host has the lease
		_ = a.takeOver(ctx) // it was said; what is stopped all the same is seen
	}
	if err := a.restore(ctx); err != nil {
		close(a.stopped)
		return err
	}
	if a.opts.Registry != nil { // not while guarding
		a.followAnew(nil)
	}
	a.loop(ctx)
	close(a.stopped)
	cancel()
	a.finish(cancelOps)
	return nil
}

// restore takes over the records of an earlier agent.
func (a *Agent) restore(ctx context.Context) error {
	known, err := a.records.Cluster()
	if err != nil {
		return fmt.Errorf("reading which cluster this host belongs to: %w", err)
	}
	records, err := a.records.Load(func(err error) { a.log.WithError(err).Error("a record of what an earlier fleetd did can't be read") })
	if err != nil {
		return err
	}
	records = append(records, a.inherit(ctx, records)...)
	now := a.clock.Now()
	a.started, a.compareAt = now, now.Add(compareEvery)
	a.lease.begin()
	a.core = newCore(a.boot, a.checkCluster, known, a.logf)
	for i := range records {
		r := &records[i]
		if text, err := a.sys.Text(r.Name); err != nil || unit.HashOf(text) != r.Disk {
			r.Disk = "" // to be written anew if it is still wanted
		}
		a.sys.Watch(r.Name)
	}
	a.core.restore(records)
	a.resync = len(records) > 0
	if len(records) > 0 {
		a.log.Infof("found %d units of an earlier fleetd on this host", len(records))
	}
	return nil
}

// checkCluster says why the cluster that etcd holds isn't the one that the host
// belongs to. While guarding, nobody asks.
func (a *Agent) checkCluster(found *record.Cluster, known record.ClusterID) error {
	return a.opts.Registry.CheckCluster(found, known)
}

func (a *Agent) logf(level, format string, args ...any) {
	l, err := logrus.ParseLevel(level)
	if err != nil {
		l = logrus.ErrorLevel
	}
	a.log.Logf(l, format, args...)
}
