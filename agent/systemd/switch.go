package systemd

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"sync"
	"syscall"
	"time"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/fleet-project/fleet/unit"
)

const (
	// notifySocket is where the system's systemd takes notifications.
	notifySocket = "/run/systemd/notify"
	// killEvery is how often the program is killed that keeps the switch from ending.
	killEvery = 100 * time.Millisecond
	// warning is a level of syslog's.
	warning = int32(4)
)

// Switch is a dead man's switch: systemd runs a program unless it is told in time
// not to yet. It is a transient service with a watchdog, whose process sleeps; we
// send its signs of life, as root may. When they stop coming systemd kills the
// sleeper and runs the program as what comes after it. To put it off costs a
// datagram: no D-Bus call, no reload, no line in the journal.
type Switch struct {
	client      *Client
	name        unit.Name
	description string
	argv        []string

	mu      sync.Mutex
	sleeper int // its process; 0: none
	pidfd   int // of the sleeper: its number may be another's by now
}

// NewSwitch makes a switch, not armed, that is the service of that name and runs
// argv. Of an earlier process's of that name Arm and Disarm take the place.
func (c *Client) NewSwitch(name unit.Name, description string, argv ...string) *Switch {
	return &Switch{client: c, name: name, description: description, argv: argv}
}

// Arm has the program run in so long, unless Arm is called again before.
func (s *Switch) Arm(ctx context.Context, in time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	in = max(in, time.Millisecond)
	began := time.Now()
	if s.sleeper != 0 {
		err := s.sign(in)
		if err == nil {
			return nil
		}
		s.forget()
	}
	if err := s.end(ctx); err != nil {
		return err
	}
	if err := s.begin(ctx, in); err != nil {
		return fmt.Errorf("starting %s: %w", s.name, err)
	}
	return s.sign(max(in-time.Since(began), time.Millisecond))
}

// Disarm ends the switch, and the program if it runs.
func (s *Switch) Disarm(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forget()
	return s.end(ctx)
}

func (s *Switch) forget() {
	if s.sleeper != 0 {
		_ = unix.Close(s.pidfd) // nothing was written
	}
	s.sleeper, s.pidfd = 0, 0
}

func (s *Switch) begin(ctx context.Context, in time.Duration) error {
	sleep, err := exec.LookPath("sleep")
	if err != nil {
		return err
	}
	job, err := s.client.startTransient(ctx, s.name, []string{sleep, "infinity"}, []property{
		{"Description", dbus.MakeVariant(s.description)},
		{"Type", dbus.MakeVariant("exec")},
		{"NotifyAccess", dbus.MakeVariant("all")},
		{"WatchdogUSec", dbus.MakeVariant(uint64(in.Microseconds()))},
		{"WatchdogSignal", dbus.MakeVariant(int32(syscall.SIGKILL))},
		{"ExecStopPost", dbus.MakeVariant([]execStart{{s.argv[0], s.argv, false}})},
		{"TimeoutStopUSec", dbus.MakeVariant(uint64(math.MaxUint64))}, // the program runs as long as it likes
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")},
		// systemd needn't say that it starts and stops this; the program may speak.
		{"LogLevelMax", dbus.MakeVariant(warning)},
		{"SyslogLevel", dbus.MakeVariant(warning)},
	})
	if err != nil {
		return err
	}
	if result, err := waitFor(ctx, job); err != nil || result != JobDone {
		return errors.Join(err, fmt.Errorf("its start: %q", result))
	}
	var pid uint32
	if err := s.client.property(ctx, s.name, "org.freedesktop.systemd1.Service", "MainPID", &pid); err != nil {
		return err
	}
	fd, err := unix.PidfdOpen(int(pid), 0)
	if err != nil {
		return fmt.Errorf("its process: %w", err)
	}
	s.sleeper, s.pidfd = int(pid), fd
	return nil
}

// sign sends a sign of life in the sleeper's name, and how long it counts.
func (s *Switch) sign(in time.Duration) error {
	if err := unix.PidfdSendSignal(s.pidfd, 0, nil, 0); err != nil {
		return fmt.Errorf("%s has no process any more: %w", s.name, err)
	}
	socket, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(socket)
	text := fmt.Sprintf("WATCHDOG_USEC=%d\nWATCHDOG=1\n", in.Microseconds())
	who := unix.UnixCredentials(&unix.Ucred{Pid: int32(s.sleeper)})
	// systemd that hangs reads nothing, and its queue is bounded.
	err = unix.Sendmsg(socket, []byte(text), who, &unix.SockaddrUnix{Name: notifySocket}, unix.MSG_DONTWAIT)
	if err != nil {
		return fmt.Errorf("telling systemd that %s is to wait: %w", s.name, err)
	}
	return nil
}

// end stops the service, whatever of it there is. The sleeper dies of that; the
// program comes after it, sees that nobody is dead, and ends. One that has reason to
// run doesn't: to systemd it is the end of a stop, which a stop waits for. It may
// begin at any moment, so it is killed for as long as the stop isn't over.
func (s *Switch) end(ctx context.Context) error {
	job, err := s.client.Stop(ctx, s.name)
	if err != nil {
		return err
	}
	again := time.NewTicker(killEvery)
	defer again.Stop()
	for {
		select {
		case _, ok := <-job:
			if !ok {
				return ErrDisconnected
			}
			return nil
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-again.C:
		}
		if err := s.client.Kill(ctx, s.name); err != nil {
			return err
		}
	}
}
