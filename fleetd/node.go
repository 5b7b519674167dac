package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/fleet-project/fleet/agent"
	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/api/server"
	"github.com/fleet-project/fleet/engine"
	"github.com/fleet-project/fleet/fleetd/config"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"github.com/sirupsen/logrus"
	"golang.org/x/sync/errgroup"
)

const (
	// handOverTime bounds handing the units over, below the service's
	// TimeoutStopSec, so that what is left is still stopped in order.
	handOverTime = 90 * time.Second
	// abandonTime bounds stopping what an earlier fleetd left: a little more than
	// systemd gives units by default.
	abandonTime = 100 * time.Second
)

// node is one host's fleet, wired together: API, engine and agent over one
// registry and one systemd. fleetd and fleetd dev run the same node.
type node struct {
	cfg      *config.Config
	log      *logrus.Entry
	metrics  *prometheus.Registry
	reloads  reloads
	tls      *apiTLS
	registry *registry.Registry
	systemd  *systemd.Client
	known    func() record.ClusterID
	lock     *os.File
	// joined is called once the host is in the cluster.
	joined func()
	// identify says who this host is; again after a reload.
	identify func(*config.Config) (machine.Machine, error)
	began    time.Time
	isolate  agent.Switch // nil: none

	// Set once, as run begins.
	listeners  []net.Listener
	server     *server.Server
	engine     *engine.Engine // nil: disabled
	supervisor supervisor     // but for its patience: mu guards it, once the API answers

	applying sync.Mutex // so that no configuration overtakes a newer one

	mu       sync.Mutex         // guards what follows, and cfg from then on
	presence *registry.Presence // nil before the host has joined
	agent    *agent.Agent
	phase    string // what is going on instead of the usual; empty: nothing
}

// control is what a node is asked for while it runs.
type control struct {
	reload <-chan os.Signal // load the configuration again, and apply it
	load   func() (*config.Config, error)
	dump   <-chan os.Signal // write down what there is to know
	// handOver is asked at the end: must the units be handed over?
	handOver   func(context.Context) bool
	supervisor supervisor
}

// nodeOptions are what fleetd and fleetd dev differ in.
type nodeOptions struct {
	cfg      *config.Config
	log      *logrus.Entry
	systemd  systemd.Options
	joined   func() // called once the host is in the cluster; nil: nobody wants to know
	identify func(*config.Config) (machine.Machine, error)
	// isolate is what systemd runs when fleetd gives no sign of life while there are
	// units that say Isolation=stop; empty: nothing.
	isolate []string
}

// newNode opens what a node works with. It talks to nobody yet but systemd.
func newNode(ctx context.Context, opts nodeOptions) (*node, error) {
	cfg := opts.cfg
	n := &node{cfg: cfg, log: opts.log, metrics: newRegistry(), joined: opts.joined, identify: opts.identify, began: time.Now()}
	n.reloads = newReloads(n.metrics)
	if n.joined == nil {
		n.joined = func() {}
	}
	// First what touches nothing on this host.
	var err error
	if n.tls, err = newAPITLS(cfg, n.room("api")); err != nil {
		return nil, err
	}
	n.known = knownCluster(cfg.UnitsDirectory)
	members := etcdMembers{unitsDir: cfg.UnitsDirectory, cluster: n.known, endpoints: cfg.EtcdServers, log: n.room("registry")}
	n.registry, err = registry.Dial(registry.Config{
		Endpoints: cfg.EtcdServers, Username: cfg.EtcdUsername, Password: cfg.EtcdPassword,
		CAFile: cfg.EtcdCAFile, CertFile: cfg.EtcdCertFile, KeyFile: cfg.EtcdKeyFile,
		Prefix: cfg.EtcdKeyPrefix, RequestTimeout: cfg.EtcdRequestTimeout, Log: n.room("registry"), Metrics: n.metrics,
		Members: members.known(), Learned: members.learned,
	})
	if err != nil {
		return nil, err
	}
	if err := n.openHost(ctx, opts); err != nil {
		n.close()
		return nil, err
	}
	return n, nil
}

// openHost opens what there is but once on a host.
func (n *node) openHost(ctx context.Context, opts nodeOptions) error {
	cfg := opts.cfg
	// The units directory holds what outlives a fleetd; beside it lie the
	// lock and the cluster's id.
	dir := filepath.Dir(filepath.Clean(cfg.UnitsDirectory))
	if err := os.MkdirAll(cfg.UnitsDirectory, 0o755); err != nil {
		return fmt.Errorf("units_directory: %w", needsRoot(err))
	}
	var err error
	if n.lock, err = lockFile(filepath.Join(dir, "fleetd.lock"), "fleetd"); err != nil {
		return err
	}
	opts.systemd.Log, opts.systemd.Metrics = n.room("systemd"), n.metrics
	if n.systemd, err = systemd.Dial(ctx, opts.systemd); err != nil {
		if _, booted := os.Stat("/run/systemd/system"); booted != nil {
			err = fmt.Errorf("%w: fleetd needs a host that systemd runs, and D-Bus; to try fleet on this machine, run fleetd dev", err)
		}
		return err
	}
	if len(opts.isolate) > 0 {
		n.isolate = n.systemd.NewSwitch(isolationService, "Stops the fleet units that say Isolation=stop if fleetd doesn't", opts.isolate...)
	}
	return nil
}

// needsRoot adds to an error what an ordinary user can do about it.
func needsRoot(err error) error {
	if !errors.Is(err, os.ErrPermission) || os.Geteuid() == 0 {
		return err
	}
	return fmt.Errorf("%w: run fleetd as root; to try fleet as an ordinary user, run fleetd dev", err)
}

// close ends what newNode opened.
func (n *node) close() {
	if n.systemd != nil {
		n.systemd.Close()
	}
	n.registry.Close()
	if n.lock != nil {
		n.lock.Close()
	}
}

func (n *node) room(name string) *logrus.Entry { return n.log.WithField("room", name) }

// run serves the API on the listeners and takes part in the cluster until ctx
// ends. Then, if control says so, the host's units are handed over before it
// returns; else they keep running, and the lease lives for the next fleetd.
func (n *node) run(ctx context.Context, listeners []net.Listener, c control) error {
	m, err := n.identify(n.cfg)
	if err != nil {
		return err
	}
	// life goes on while units are handed over: that needs all the rest.
	life, end := context.WithCancel(context.WithoutCancel(ctx))
	defer end()
	group, life := errgroup.WithContext(life)

	n.listeners, n.supervisor = listeners, c.supervisor
	n.server = server.New(server.Options{
		Registry: n.registry, AgentTTL: n.cfg.AgentTTL, PageSize: n.cfg.TokenLimit, Log: n.room("api"),
		Metrics: promhttp.HandlerFor(n.metrics, promhttp.HandlerOpts{}), Registerer: n.metrics, Version: version,
		Doctor: n.examine,
	})
	group.Go(func() error { return orEnd(life, n.registry.StayInTouch(life)) })
	group.Go(func() error { return orEnd(life, n.server.Run(life)) })
	n.tls.tell(listeners)
	for _, l := range listeners {
		group.Go(func() error { return n.server.Serve(life, n.tls.over(l)) })
	}
	if !n.cfg.DisableEngine {
		n.engine = engine.New(engine.Options{
			Registry: n.registry, Machine: m.ID, AgentTTL: n.cfg.AgentTTL, SafetyNet: n.cfg.EngineReconcileInterval,
			KnownCluster: n.known, Log: n.room("engine"), Metrics: n.metrics,
		})
		group.Go(func() error { return orEnd(life, n.engine.Run(life)) })
	}
	group.Go(func() error { return n.obey(life, c) })
	group.Go(func() error { return n.giveBack(life) })
	if n.supervisor.notify != nil {
		group.Go(func() error { return n.supervised(ctx, life) })
	}
	group.Go(func() error {
		defer end() // without its agent a host serves nobody
		return orEnd(life, n.takePart(ctx, life, m, c.handOver))
	})
	return group.Wait()
}

// takePart joins the cluster and runs the agent until stop ends, and hands
// over if it must.
func (n *node) takePart(stop, life context.Context, m machine.Machine, handOver func(context.Context) bool) error {
	opts := agent.Options{
		Registry: n.registry, Systemd: n.systemd, Machine: func() machine.Machine { return m },
		TTL: n.cfg.AgentTTL, Dir: n.cfg.UnitsDirectory,
		Log: n.room("agent"), Metrics: n.metrics, Switch: n.isolate,
	}
	presence, err := n.join(stop, m, opts)
	if err != nil {
		if stop.Err() != nil && handOver(life) {
			return n.abandon(life, opts)
		}
		return orEnd(stop, err)
	}
	lease := "a lease of its own"
	if presence.Resumed() {
		lease = "the lease of an earlier fleetd"
	}
	n.room("agent").Infof("joined the cluster as %s (%s) on %s", m.ID.Short(), m.IP, lease)
	opts.Presence, opts.Machine = presence, presence.Machine
	ag := agent.New(opts)
	n.mu.Lock()
	n.presence, n.agent = presence, ag
	n.mu.Unlock()
	n.joined()
	life, end := context.WithCancel(life)
	defer end()
	group, life := errgroup.WithContext(life)
	group.Go(func() error { return orEnd(life, presence.Run(life)) })
	group.Go(func() error { return orEnd(life, ag.Run(life)) })
	group.Go(func() error {
		defer end()
		n.apply(life) // a reload may have come while it joined
		select {
		case <-life.Done():
			return nil
		case <-stop.Done():
		}
		if !handOver(life) {
			n.goingOn("stopping; the units keep running for the next fleetd")
			return nil
		}
		n.goingOn("handing this host's units over")
		leaving, cancel := context.WithTimeout(life, handOverTime)
		defer cancel()
		return ag.Leave(leaving)
	})
	return group.Wait()
}

// goingOn says in the log and in the status what is going on.
func (n *node) goingOn(what string) {
	n.log.Info(what)
	n.mu.Lock()
	defer n.mu.Unlock()
	n.phase = what
}

// abandon is leaving for a host that has not joined: what an earlier fleetd
// left running would run a second time elsewhere, once that one's lease ends.
//
// That one's dead man's switch stays armed: should this fleetd be killed half-way, or a
// unit take long to stop, it kills what says Isolation=stop in time. If it acts when all
// is stopped, it finds nothing and ends; and a later fleetd that has joined ends it
// before it starts anything ([agent.Agent.Run]), so it never stops what runs on another
// lease.
func (n *node) abandon(ctx context.Context, opts agent.Options) error {
	n.goingOn("leaving before this host could join the cluster: stopping the units of an earlier fleetd, if there are any")
	ctx, cancel := context.WithTimeout(ctx, abandonTime)
	defer cancel()
	return agent.Abandon(ctx, opts)
}

// join waits until the host is present in the cluster. An earlier fleetd may
// have left units that must not outlive its lease: they are guarded meanwhile.
func (n *node) join(ctx context.Context, m machine.Machine, opts agent.Options) (*registry.Presence, error) {
	guarded, release := context.WithCancel(ctx)
	var guard errgroup.Group
	guard.Go(func() error { return orEnd(guarded, agent.Guard(guarded, opts)) })
	presence, err := n.registry.Join(ctx, m, n.cfg.AgentTTL)
	release()
	return presence, errors.Join(err, guard.Wait())
}

// orEnd turns the error of a room that ended because its context did into
// nil: that is no failure.
func orEnd(ctx context.Context, err error) error {
	if ctx.Err() != nil && (errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded)) {
		return nil
	}
	return err
}
