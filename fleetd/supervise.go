package main

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/sirupsen/logrus"
	"golang.org/x/sys/unix"
)

const (
	// tellEvery is how often it is looked whether there is something to tell
	// systemd: in memory, and most often there is nothing.
	tellEvery = time.Second
	// extendBy is the time that systemd is asked to grant further, again and
	// again, while units are handed over: a service file may allow less than
	// that takes.
	extendBy = 15 * time.Second
	// maxStatus is well within what systemd reads of one message (4 KiB): it drops
	// a longer one.
	maxStatus = 2000
	// beats is how many signs of life fall into the time that systemd waits for
	// one.
	beats = 3
	// revival is how long it takes from the end of systemd's patience until another
	// fleetd has renewed the lease, by fleet.service: TimeoutAbortSec=, for a process
	// that answers no signal, RestartSec=, and the start.
	revival = 3*time.Second + 200*time.Millisecond + 1300*time.Millisecond
	// leastWatchdog is how little patience a fleetd on a busy host can do with.
	leastWatchdog = 3 * time.Second
)

// supervisor is who runs this process and wants to know how it is: systemd, by
// sd_notify(3). Without one, notify tells nobody.
type supervisor struct {
	notify   func(state string)
	watchdog time.Duration // without a sign of life for so long, it ends the process; 0: never
}

func supervisorOf(log *logrus.Entry) supervisor {
	watchdog, err := daemon.SdWatchdogEnabled(false)
	if err != nil {
		log.WithError(err).Warn("systemd's watchdog gets no signs of life")
	}
	return supervisor{watchdog: watchdog, notify: func(state string) {
		if _, err := daemon.SdNotify(false, state); err != nil {
			log.WithError(err).Warn("cannot notify systemd")
		}
	}}
}

// inTime makes systemd's patience shorter, if it must be for a fleetd that hangs
// to be replaced before its lease has run out. A third of that may have gone by
// when it began to hang.
func (s supervisor) inTime(ttl time.Duration, log *logrus.Entry) supervisor {
	enough := ttl*2/3 - revival
	switch {
	case s.watchdog == 0 || s.watchdog <= enough:
	case enough < leastWatchdog:
		log.Warnf("with an agent_ttl of %s this host counts as lost before a fleetd that hangs is restarted (which takes up to %s): "+
			"its units, but those with Isolation=stop, would run twice for that time; an agent_ttl of 12s is enough", ttl, (s.watchdog + revival).Round(time.Second))
	default:
		s.watchdog = enough
		s.notify(fmt.Sprintf("WATCHDOG_USEC=%d", enough.Microseconds()))
	}
	return s
}

// status puts what there is to say into systemctl's Status: line.
func (s supervisor) status(text string) {
	text = strings.NewReplacer("\n", "; ", "\r", "").Replace(text)
	if len(text) > maxStatus {
		text = text[:maxStatus] + "…"
	}
	s.notify("STATUS=" + strings.ToValidUTF8(text, ""))
}

// reloading tells that the configuration is being read again, until ready is
// called.
func (s supervisor) reloading() (ready func()) {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err == nil {
		s.notify(fmt.Sprintf("%s\nMONOTONIC_USEC=%d", daemon.SdNotifyReloading, now.Nano()/1000))
	}
	return func() { s.notify(daemon.SdNotifyReady) }
}

// supervised tells the supervisor that the node is ready once it answers, then
// how it is, and that it lives: only if it does, see alive. When stop ends it
// tells that too; it goes on until ctx ends.
func (n *node) supervised(stop, ctx context.Context) error {
	if err := n.awaitAnswer(ctx); err != nil {
		return err
	}
	n.supervisor.notify(daemon.SdNotifyReady)
	patient := n.supervisor.inTime(n.cfg.AgentTTL, n.log)
	n.mu.Lock()
	n.supervisor = patient
	n.mu.Unlock()
	ticks := time.NewTicker(tellEvery)
	defer ticks.Stop()
	stopped := stop.Done()
	said, beat := "", time.Now()
	for {
		if s := n.status(); s != said {
			n.supervisor.status(s)
			said = s
		}
		if n.supervisor.watchdog > 0 && !time.Now().Before(beat) {
			beat = time.Now().Add(n.supervisor.watchdog / beats)
			n.beat(ctx)
		}
		if stop.Err() != nil {
			n.supervisor.notify(fmt.Sprintf("EXTEND_TIMEOUT_USEC=%d", extendBy.Microseconds()))
		}
		select {
		case <-ctx.Done():
			return nil
		case <-stopped:
			stopped = nil
			n.supervisor.notify(daemon.SdNotifyStopping)
		case <-ticks.C:
		}
	}
}

// awaitAnswer returns when the API answers: that is what ready means. etcd may
// be a service that comes later.
func (n *node) awaitAnswer(ctx context.Context) error {
	for {
		err := n.answers(ctx)
		if err == nil || ctx.Err() != nil {
			return orEnd(ctx, err)
		}
		select {
		case <-ctx.Done():
		case <-time.After(10 * time.Millisecond):
		}
	}
}

// beat sends a sign of life if there is life.
func (n *node) beat(ctx context.Context) {
	checking, cancel := context.WithTimeout(ctx, n.supervisor.watchdog)
	defer cancel()
	switch err := n.alive(checking); {
	case ctx.Err() != nil:
	case err != nil:
		n.log.WithError(err).Error("fleetd is stuck: systemd's watchdog will restart it, which touches no unit")
	default:
		n.supervisor.notify(daemon.SdNotifyWatchdog)
	}
}
