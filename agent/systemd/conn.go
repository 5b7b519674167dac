package systemd

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/fleet-project/fleet/unit"
)

const (
	// systemBus stands for the system's message bus in Options.Address.
	systemBus = "system-bus"

	destination  = "org.freedesktop.systemd1"
	managerPath  = dbus.ObjectPath("/org/freedesktop/systemd1")
	managerIface = "org.freedesktop.systemd1.Manager"
	unitIface    = "org.freedesktop.systemd1.Unit"
	propsIface   = "org.freedesktop.DBus.Properties"
)

// conn is one connection: it isn't used again once it broke.
type conn struct {
	bus     *dbus.Conn
	manager dbus.BusObject
	jobs    *jobs
}

// connect dials and authenticates until ctx ends; life ends the connection.
// Signals go to w.
func connect(ctx, life context.Context, address string, w *watch) (*conn, error) {
	life, cancel := context.WithCancel(life)
	stop := context.AfterFunc(ctx, cancel) // neither Dial nor Auth would heed ctx
	c := &conn{jobs: newJobs()}
	bus, err := open(life, address, &receiver{watch: w, jobs: c.jobs})
	if !stop() || err != nil {
		cancel()
		if err == nil {
			_ = bus.Close()
			err = context.Cause(ctx)
		}
		return nil, err
	}
	context.AfterFunc(bus.Context(), cancel)
	c.bus = bus
	c.manager = bus.Object(destination, managerPath)
	return c, nil
}

func open(life context.Context, address string, signals dbus.SignalHandler) (*dbus.Conn, error) {
	opts := []dbus.ConnOption{dbus.WithContext(life), dbus.WithSignalHandler(signals)}
	if address != systemBus {
		// systemd itself listens: no Hello, no Subscribe, no match rules.
		bus, err := dbus.Dial(address, opts...)
		if err != nil {
			return nil, err
		}
		err = bus.Auth(nil)
		if err == nil {
			err = knock(life, bus)
		}
		if err != nil {
			_ = bus.Close()
			return nil, err
		}
		return bus, nil
	}
	bus, err := dbus.ConnectSystemBus(opts...)
	if err != nil {
		return nil, err
	}
	for _, rule := range [][]dbus.MatchOption{
		{dbus.WithMatchSender(destination), dbus.WithMatchInterface(managerIface)},
		{dbus.WithMatchSender(destination), dbus.WithMatchInterface(propsIface)},
	} {
		if err := bus.AddMatchSignalContext(life, rule...); err != nil {
			_ = bus.Close()
			return nil, err
		}
	}
	if err := bus.Object(destination, managerPath).CallWithContext(life, managerIface+".Subscribe", 0).Err; err != nil {
		_ = bus.Close()
		return nil, err
	}
	return bus, nil
}

// knock makes sure that systemd has looked at the connection. What systemd
// (252 at least) reads together with the last line of the authentication it
// keeps, but looks at only when more comes: the first call could wait forever.
// So a call is made, and nudged along, until it is answered.
func knock(ctx context.Context, bus *dbus.Conn) error {
	const ping = "org.freedesktop.DBus.Peer.Ping"
	systemd := bus.Object(destination, managerPath)
	answer := systemd.GoWithContext(ctx, ping, 0, make(chan *dbus.Call, 1)).Done
	nudge := time.NewTicker(2 * time.Millisecond)
	defer nudge.Stop()
	for {
		select {
		case call := <-answer:
			return call.Err
		case <-nudge.C:
			systemd.Go(ping, dbus.FlagNoReplyExpected, nil)
		}
	}
}

func (c *conn) close() {
	_ = c.bus.Close() // it breaks what it closes, so that there is nothing to say
	c.jobs.close()
}

// call asks the manager object. verb and name are for the error.
func (c *Client) call(ctx context.Context, verb string, name unit.Name, method string, args ...any) (_ *dbus.Call, err error) {
	began, given := time.Now(), ctx
	defer func() { c.metrics.called(given, began, err) }()
	conn, err := c.current()
	if err != nil {
		return nil, err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	call := conn.manager.CallWithContext(ctx, managerIface+"."+method, 0, args...)
	return call, refused(verb, name, conn.broken(call.Err))
}

// broken puts ErrClosed in place of whatever error a connection that broke
// gives (EOF, reset by peer).
func (c *conn) broken(err error) error {
	if err != nil && !errors.As(err, new(dbus.Error)) && c.bus.Context().Err() != nil {
		return dbus.ErrClosed
	}
	return err
}

// property reads one property of a unit that is in systemd's memory, or that
// reading it loads.
func (c *Client) property(ctx context.Context, name unit.Name, iface, property string, value any) error {
	return c.propertyOf(ctx, objectPath(name), name, iface, property, value)
}

// managerProperty reads one property of systemd itself.
func (c *Client) managerProperty(ctx context.Context, property string, value any) error {
	return c.propertyOf(ctx, managerPath, "", managerIface, property, value)
}

func (c *Client) propertyOf(ctx context.Context, path dbus.ObjectPath, name unit.Name, iface, property string, value any) (err error) {
	began, given := time.Now(), ctx
	defer func() { c.metrics.called(given, began, err) }()
	conn, err := c.current()
	if err != nil {
		return err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	v, err := conn.get(ctx, path, iface, property)
	if err == nil {
		err = v.Store(value)
	}
	return refused("show", name, conn.broken(err))
}

// get reads one property of any object.
func (c *conn) get(ctx context.Context, path dbus.ObjectPath, iface, property string) (v dbus.Variant, err error) {
	err = c.bus.Object(destination, path).CallWithContext(ctx, propsIface+".Get", 0, iface, property).Store(&v)
	return v, err
}

// bounded gives a context its deadline, if it has none.
func bounded(ctx context.Context) (context.Context, context.CancelFunc) {
	if _, ok := ctx.Deadline(); ok {
		return context.WithCancel(ctx)
	}
	return context.WithTimeout(ctx, callTimeout)
}

// jobs are systemd's jobs that somebody here waits for. A job can end before
// the reply that names it has reached its caller, so while any such call is
// under way the ends of all jobs are kept.
type jobs struct {
	mu      sync.Mutex
	closed  bool
	asking  int
	ended   map[dbus.ObjectPath]string
	waiting map[dbus.ObjectPath][]chan string // two callers may be given one job
}

func newJobs() *jobs {
	return &jobs{ended: map[dbus.ObjectPath]string{}, waiting: map[dbus.ObjectPath][]chan string{}}
}

// ask runs a call that makes a job and gives the channel on which its result
// will come; closed without one if the connection breaks.
func (j *jobs) ask(call func() (dbus.ObjectPath, error)) (<-chan string, error) {
	j.mu.Lock()
	j.asking++
	j.mu.Unlock()

	job, err := call()

	j.mu.Lock()
	defer j.mu.Unlock()
	result, ended := j.ended[job]
	if j.asking--; j.asking == 0 {
		clear(j.ended)
	}
	if err != nil {
		return nil, err
	}
	out := make(chan string, 1)
	switch {
	case ended:
		out <- result
		close(out)
	case j.closed:
		close(out)
	default:
		j.waiting[job] = append(j.waiting[job], out)
	}
	return out, nil
}

// end is told of every job's end, in the order of the connection.
func (j *jobs) end(job dbus.ObjectPath, result string) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, out := range j.waiting[job] {
		out <- result
		close(out)
	}
	delete(j.waiting, job)
	if j.asking > 0 {
		j.ended[job] = result
	}
}

func (j *jobs) close() {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	for job, waiting := range j.waiting {
		for _, out := range waiting {
			close(out)
		}
		delete(j.waiting, job)
	}
}
