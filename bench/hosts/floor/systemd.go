package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"github.com/godbus/dbus/v5"
)

// unitDir is where fleet's agent writes unit files, too.
const unitDir = "/run/systemd/system"

// sleeper is the unit that everything is measured with.
const sleeper = "[Service]\nExecStart=/bin/sleep infinity\n"

// systemd is a connection to PID 1 itself, without a bus between: the shortest
// way there is, which is the agent's, too.
type systemd struct {
	bus     *dbus.Conn
	manager dbus.BusObject
	ended   chan *dbus.Signal
}

const manager = "org.freedesktop.systemd1.Manager."

func dial(ctx context.Context) (*systemd, error) {
	bus, err := dbus.Dial("unix:path=/run/systemd/private", dbus.WithContext(ctx))
	if err != nil {
		return nil, err
	}
	if err := bus.Auth(nil); err != nil {
		return nil, err
	}
	s := &systemd{
		bus: bus, manager: bus.Object("org.freedesktop.systemd1", "/org/freedesktop/systemd1"),
		ended: make(chan *dbus.Signal, 4096),
	}
	bus.Signal(s.ended)
	return s, s.knock(ctx)
}

// knock has systemd look at the connection: the first call may wait until more
// comes (see agent/systemd).
func (s *systemd) knock(ctx context.Context) error {
	const ping = "org.freedesktop.DBus.Peer.Ping"
	answer := s.manager.GoWithContext(ctx, ping, 0, make(chan *dbus.Call, 1)).Done
	for {
		select {
		case call := <-answer:
			return call.Err
		case <-time.After(2 * time.Millisecond):
			s.manager.Go(ping, dbus.FlagNoReplyExpected, nil)
		}
	}
}

// job makes a job for a unit and waits for its end.
func (s *systemd) job(ctx context.Context, method, unit string) error {
	var job dbus.ObjectPath
	if err := s.manager.CallWithContext(ctx, manager+method, 0, unit, "replace").Store(&job); err != nil {
		return fmt.Errorf("%s %s: %w", method, unit, err)
	}
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case sig, open := <-s.ended:
			if !open {
				return fmt.Errorf("%s %s: the connection to systemd broke", method, unit)
			}
			if sig.Name != manager+"JobRemoved" || sig.Body[1] != job {
				continue
			}
			if result := sig.Body[3]; result != "done" {
				return fmt.Errorf("%s %s: the job ended as %v", method, unit, result)
			}
			return nil
		}
	}
}

func (s *systemd) start(ctx context.Context, unit string) error {
	if err := os.WriteFile(filepath.Join(unitDir, unit), []byte(sleeper), 0o644); err != nil {
		return err
	}
	return s.job(ctx, "StartUnit", unit)
}

func (s *systemd) stop(ctx context.Context, unit string) error { return s.job(ctx, "StopUnit", unit) }

func (s *systemd) destroy(ctx context.Context, unit string) error {
	if err := s.stop(ctx, unit); err != nil {
		return err
	}
	return os.Remove(filepath.Join(unitDir, unit))
}

// many does one thing to n units, one after the other, and gives the time for
// all.
func many(ctx context.Context, verb, prefix string, n int) (time.Duration, error) {
	s, err := dial(ctx)
	if err != nil {
		return 0, err
	}
	defer s.bus.Close()
	do, ok := map[string]func(context.Context, string) error{"start": s.start, "stop": s.stop, "destroy": s.destroy}[verb]
	if !ok {
		return 0, fmt.Errorf("%s is none of start, stop and destroy", verb)
	}
	began := time.Now()
	for i := range n {
		if err := do(ctx, fmt.Sprintf("%s-%d.service", prefix, i)); err != nil {
			return 0, err
		}
	}
	return time.Since(began), nil
}
