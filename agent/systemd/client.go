package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/sirupsen/logrus"

	"github.com/fleet-project/fleet/unit"
)

const (
	// callTimeout bounds a call whose context doesn't. A daemon-reload with a
	// thousand running units holds up all others for five seconds.
	callTimeout = time.Minute
	// The pauses between attempts to connect: systemd is away for moments
	// (daemon-reexec) or for good.
	reconnectMin = 20 * time.Millisecond
	reconnectMax = 5 * time.Second
)

// Options say which systemd it is.
type Options struct {
	// Address is a D-Bus address: unix:path=/run/systemd/private. Empty: the
	// private socket if we are root, else the system bus; with UserScope, the
	// private socket of this user's own systemd.
	Address string
	// UnitDir is where unit files go. Empty: /run/systemd/system, or
	// $XDG_RUNTIME_DIR/systemd/user with UserScope.
	UnitDir string
	// UserScope: `systemd --user` instead of the system's.
	UserScope bool
	// Journalctl is how to run journalctl for this systemd's units, and
	// SyncJournal what makes their journal complete. Empty: `journalctl` (with
	// UserScope `journalctl --user`), and `journalctl --sync`.
	Journalctl  []string
	SyncJournal []string

	Log     *logrus.Entry         // nil: the standard logger
	Metrics prometheus.Registerer // nil: none
}

// privateSocket is where the system's systemd listens for root.
const privateSocket = "/run/systemd/private"

func (o *Options) setDefaults() error {
	if o.Log == nil {
		o.Log = logrus.NewEntry(logrus.StandardLogger())
	}
	runtime := os.Getenv("XDG_RUNTIME_DIR")
	if o.UserScope && runtime == "" && (o.Address == "" || o.UnitDir == "") {
		return errors.New("XDG_RUNTIME_DIR is not set, so there is no way to this user's systemd: log in with a session, or `loginctl enable-linger` and set it to /run/user/UID")
	}
	if o.Address == "" {
		switch {
		case o.UserScope:
			o.Address = "unix:path=" + filepath.Join(runtime, "systemd/private")
		case os.Geteuid() == 0 && exists(privateSocket):
			o.Address = "unix:path=" + privateSocket
		default:
			o.Address = systemBus
		}
	}
	if o.UnitDir == "" {
		o.UnitDir = "/run/systemd/system"
		if o.UserScope {
			o.UnitDir = filepath.Join(runtime, "systemd/user")
		}
	}
	o.UnitDir = filepath.Clean(o.UnitDir)
	if len(o.Journalctl) == 0 {
		o.Journalctl = []string{"journalctl"}
		if o.UserScope {
			o.Journalctl = append(o.Journalctl, "--user")
		}
	}
	if len(o.SyncJournal) == 0 {
		o.SyncJournal = []string{"journalctl", "--sync"}
	}
	return nil
}

func exists(path string) bool {
	_, err := os.Lstat(path)
	return err == nil
}

// Client is a connection to systemd that comes back by itself. Its methods may
// be called concurrently.
type Client struct {
	opts    Options
	log     *logrus.Entry
	metrics metrics
	watch   *watch

	cancel context.CancelFunc
	done   chan struct{} // run has returned

	mu   sync.Mutex
	conn *conn // nil while there is none

	files     sync.Mutex         // held while files and systemd's view of them change
	unheard   map[unit.Name]bool // systemd had nothing of them when they were claimed; guarded by files
	stamp     time.Time          // the latest that a unit's file has had; guarded by files
	reloading sync.Mutex         // one reload at a time
}

// Dial connects to systemd. The context bounds the connecting only; Close ends
// the client.
func Dial(ctx context.Context, opts Options) (*Client, error) {
	if err := opts.setDefaults(); err != nil {
		return nil, err
	}
	life, cancel := context.WithCancel(context.Background())
	c := &Client{
		opts:    opts,
		log:     opts.Log,
		metrics: newMetrics(opts.Metrics),
		watch:   newWatch(),
		cancel:  cancel,
		done:    make(chan struct{}),
		unheard: map[unit.Name]bool{},
	}
	conn, err := connect(ctx, life, opts.Address, c.watch)
	if err != nil {
		cancel()
		return nil, fmt.Errorf("connecting to systemd at %s: %w", opts.Address, err)
	}
	c.setConn(conn)
	go c.run(life, conn)
	return c, nil
}

// Close ends the client and waits for it. Units keep running.
func (c *Client) Close() {
	c.cancel()
	<-c.done
}

// run watches the connection and replaces it when it breaks.
func (c *Client) run(life context.Context, conn *conn) {
	defer close(c.done)
	for {
		<-conn.bus.Context().Done() // life ends it too
		c.setConn(nil)
		conn.close()
		if life.Err() != nil {
			return
		}
		c.log.Warn("the connection to systemd broke; connecting anew")
		for pause := reconnectMin; ; pause = min(2*pause, reconnectMax) {
			var err error
			if conn, err = connect(life, life, c.opts.Address, c.watch); err == nil {
				break
			}
			select {
			case <-life.Done():
				return
			case <-time.After(pause):
			}
		}
		c.metrics.reconnects.Inc()
		c.log.Info("connected to systemd again")
		c.setConn(conn)
		// What happened in between was told to nobody.
		c.watch.resync()
	}
}

func (c *Client) setConn(conn *conn) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.conn = conn
	if conn == nil {
		c.metrics.connected.Set(0)
	} else {
		c.metrics.connected.Set(1)
	}
}

// current gives the connection, or ErrDisconnected.
func (c *Client) current() (*conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conn == nil {
		return nil, ErrDisconnected
	}
	return c.conn, nil
}

// metrics count what should be rare.
type metrics struct {
	reloads    *prometheus.CounterVec
	reconnects prometheus.Counter
	connected  prometheus.Gauge
	calls      prometheus.Histogram
	unanswered prometheus.Counter
}

// Why a daemon-reload was done.
const (
	reasonChanged = "changed" // a loaded unit's text changed
	reasonInstall = "install" // units were enabled or disabled
	reasonRescue  = "rescue"  // systemd didn't find a file that is there
)

func newMetrics(r prometheus.Registerer) metrics {
	m := metrics{
		reloads: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "fleet_agent_systemd_reloads_total",
			Help: "Times systemd was made to read all unit files anew, by reason: changed, install, rescue (must stay 0).",
		}, []string{"reason"}),
		reconnects: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fleet_agent_systemd_reconnects_total",
			Help: "Times the connection to systemd had to be replaced.",
		}),
		connected: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "fleet_agent_systemd_connected",
			Help: "1 while there is a connection to systemd, else 0.",
		}),
		calls: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "fleet_agent_systemd_call_duration_seconds",
			Help:    "How long systemd took to answer a call over D-Bus, if only with a no.",
			Buckets: prometheus.ExponentialBuckets(0.0002, 4, 10), // 0.2 ms to 52 s
		}),
		unanswered: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "fleet_agent_systemd_unanswered_calls_total",
			Help: "Calls that systemd did not answer: there was no connection, it broke, or time was up.",
		}),
	}
	for _, reason := range []string{reasonChanged, reasonInstall, reasonRescue} {
		m.reloads.WithLabelValues(reason)
	}
	if r != nil {
		r.MustRegister(m.reloads, m.reconnects, m.connected, m.calls, m.unanswered)
	}
	return m
}

// called counts a call that began then and ended so. What the caller gave up
// himself says nothing of systemd.
func (m metrics) called(ctx context.Context, began time.Time, err error) {
	switch {
	case err == nil, errors.As(err, new(*RefusedError)):
		m.calls.Observe(time.Since(began).Seconds())
	case !errors.Is(ctx.Err(), context.Canceled):
		m.unanswered.Inc()
	}
}
