package simulation

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/etcdmodel"
	"github.com/fleet-project/fleet/unit"
	"github.com/prometheus/client_golang/prometheus"
)

// world is one cluster with all that happens to it. Everything that it draws, its
// seed decides.
type world struct {
	timeline
	seed uint64
	rand *rand.Rand
	plan plan

	store    *etcdmodel.Store
	outage   bool          // etcd has no quorum
	slowness time.Duration // of etcd's disks
	watched  map[string][]*following
	rivals   string // prefix of the candidates' keys

	ttl     time.Duration
	hosts   []*node
	byID    map[machine.ID]*node
	users   []*process
	engines []prometheus.Gatherer
	faults  faults
	texts   map[unit.Hash]text

	running *task      // whose turn it is
	touched []*process // something happened to them
	steps   uint64
	counts  map[string]int

	judge *judge
	trace *trace
}

// node is a host, and its place in the world.
type node struct {
	*Host
	world   *world
	link    *link
	process *process // of the latest fleetd
	engine  bool     // its fleetd takes part in the election
	stepAt  time.Time
	// What keeps the host from what it should do by itself.
	downUntil time.Time // powered off
	stopped   bool      // systemctl stop fleet
	leaving   *process  // the fleetd that was stopped so
	beginAt   time.Time // when systemd starts fleetd again
	guardless time.Time // when no fleetd was at work for the last time
	helpless  time.Time // until then nothing could ask its systemd for anything
	trouble   time.Time // when it was not well connected for the last time
}

// newWorld makes a cluster as the plan says, with nothing running yet.
func newWorld(seed uint64, p plan, tracing bool) *world {
	w := &world{
		seed: seed, rand: chance(seed, "world"), plan: p, ttl: p.ttl,
		store: etcdmodel.New(epoch), watched: map[string][]*following{}, byID: map[machine.ID]*node{},
		texts: map[unit.Hash]text{}, counts: map[string]int{},
	}
	w.now = epoch
	if tracing {
		w.trace = &trace{}
	}
	w.store.MaxOps = p.maxOps
	w.store.Refused = func(keys []string) {
		for _, key := range keys {
			if w.rivals != "" && len(keys) == 2 && len(key) > len(w.rivals) && key[:len(w.rivals)] == w.rivals {
				w.count("write fenced off")
				w.note("", "", "a deposed leader's write is refused")
				return
			}
		}
	}
	w.judge = newJudge(w)
	w.store.Committed = func(e etcdmodel.Event) {
		w.judge.written(e)
		w.committed(e)
		if e.Deleted && e.Prev.Lease != 0 && w.store.Lives(e.Prev.Lease) {
			w.judge.vanished(string(e.Kv.Key), e.Prev.Lease)
		}
	}
	for i := range p.machines {
		w.addHost(i)
	}
	w.leases()
	return w
}

// leases has etcd look twice a second which leases have ended, as it does.
func (w *world) leases() {
	w.after(500*time.Millisecond, func() {
		w.store.Advance(w.now)
		w.leases()
	})
}

func (w *world) down() bool { return w.outage }

func (w *world) addHost(i int) {
	n := &node{world: w, engine: i < w.plan.engines}
	m := machine.Machine{ID: machine.ID(fmt.Sprintf("%04x%028x", i, i)), Hostname: fmt.Sprint("host", i),
		IP: fmt.Sprintf("10.%d.%d.%d", i>>16, i>>8&255, i&255), Metadata: w.plan.metadata(w.rand)}
	n.link = &link{drift: (w.rand.Float64()*2 - 1) * w.plan.drift, latency: time.Duration(1+w.rand.IntN(5)) * time.Millisecond}
	n.Host = NewHost(HostOptions{
		Machine: m, TTL: w.ttl, Clock: hostClock{w, n.link}, Rand: chance(w.seed, "host"+fmt.Sprint(i)), Witness: w.judge, Log: w.log(m.Hostname + " agent"),
		Behave: func(b []byte) Behaviour { return w.texts[unit.HashOf(b)].does },
		Spawn: func(h *Host) Process {
			p := w.process(m.Hostname, h, n.link, w.log(m.Hostname+" registry"))
			n.process = p
			if n.engine {
				p.startEngine(h)
			}
			return p
		},
	})
	w.hosts = append(w.hosts, n)
	w.byID[m.ID] = n
}

// touch notes that something happened to a process: what its tasks wait for may
// be there.
func (w *world) touch(p *process) {
	if !p.touched {
		p.touched = true
		w.touched = append(w.touched, p)
	}
}

// run lets the world go on until a time, or until something is wrong.
func (w *world) run(until time.Time) {
	for w.judge.wrong == nil && w.next(until) {
		w.steps++
		for len(w.touched) > 0 {
			p := w.touched[0]
			w.touched = w.touched[1:]
			p.touched = false
			if n := w.byID[h(p)]; n != nil {
				n.step()
			}
			p.look()
		}
		w.judge.look()
	}
	if w.judge.wrong == nil {
		w.now = until
	}
}

// step has the host's systemd do what is due, and plans its next step.
func (n *node) step() {
	wake := n.Step(n.world.now)
	if wake.IsZero() || !n.stepAt.IsZero() && n.stepAt.Equal(wake) {
		return
	}
	n.stepAt = wake
	n.world.at(wake, func() {
		if n.stepAt.Equal(wake) {
			n.stepAt = time.Time{}
			n.poke()
		}
	})
}

// poke has the host take a step now.
func (n *node) poke() {
	n.step()
	if n.process != nil && !n.process.dead {
		n.world.touch(n.process)
	}
}

// watchOver is what systemd does for fleetd: it starts it again.
func (w *world) watchOver() {
	w.after(100*time.Millisecond, func() {
		for _, n := range w.hosts {
			if !n.Alive() || !n.wellConnected() {
				n.trouble = w.now
			}
			if !n.Alive() || w.now.Before(n.process.frozen) && !w.now.Before(n.asleep) {
				n.guardless = w.now
			}
			switch {
			case w.now.Before(n.asleep):
			case !n.Up():
				if !n.downUntil.IsZero() && !w.now.Before(n.downUntil) {
					n.boot()
				}
			case n.Alive() || n.stopped:
				n.beginAt = time.Time{}
			case n.beginAt.IsZero():
				n.beginAt = w.now.Add(100 * time.Millisecond)
			case !w.now.Before(n.beginAt):
				n.beginAt = time.Time{}
				w.note("", n.Machine().ID, "fleetd is started")
				n.Start()
				n.poke()
			}
		}
		w.watchOver()
	})
}

func (n *node) boot() {
	n.downUntil, n.stopped = time.Time{}, false
	n.world.note("", n.Machine().ID, "the host boots")
	n.Boot(n.world.now)
	n.poke()
}

// user is a process that isn't on any host: an operator's.
func (w *world) user(name string) *process {
	p := w.process(name, nil, &link{latency: 3 * time.Millisecond}, w.log(name))
	w.users = append(w.users, p)
	return p
}

// observer follows the store itself, in no time: what is true.
func (w *world) observer() *registry.Feed {
	direct := &etcdmodel.Client{Store: w.store, Send: func(_ bool, do func()) error { do(); return nil }}
	p := &process{world: w, link: &link{}}
	r := registry.Over(registry.Model{KV: direct, Lease: direct, Watcher: etcdmodel.Silent{}, Clock: processClock{p}, Random: bytesOf{w.rand}},
		registry.Config{Log: w.log("observer")})
	return r.Feed()
}

func (w *world) count(what string) { w.counts[what]++ }

// direct is the context of those who wait for nothing.
func (w *world) direct() context.Context { return context.Background() }

// troubled is when something was wrong with the host's way to etcd, or with etcd,
// for the last time.
func (n *node) troubled() time.Time { return n.trouble }
