package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/fleetd/config"
	"github.com/fleet-project/fleet/machine"
	"github.com/sirupsen/logrus"
)

type runOptions struct{ config string }

// runDaemon is fleetd itself.
func runDaemon(ctx context.Context, opts runOptions) error {
	// First of all: these signals would end the process.
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	reload, dump := make(chan os.Signal, 1), make(chan os.Signal, 1)
	signal.Notify(reload, syscall.SIGHUP)
	signal.Notify(dump, syscall.SIGUSR1)
	defer signal.Stop(reload)
	defer signal.Stop(dump)

	load := func() (*config.Config, error) { return check(opts.config, os.Environ()) }
	cfg, err := load()
	if err != nil {
		return err
	}
	log := newLog(cfg)
	log.Infof("fleetd %s (%s)", version, commit)
	for _, w := range cfg.Warnings {
		log.Warn(w)
	}
	supervisor := supervisorOf(log)
	err = awaitAddress(ctx, time.Second, patience, func() error {
		_, err := identify(cfg)
		return err
	}, func(err error) {
		log.Warnf("%v; waiting for it", err)
		supervisor.status(err.Error() + "; waiting for it")
	})
	if err != nil || ctx.Err() != nil {
		return err
	}
	n, err := newNode(ctx, nodeOptions{
		cfg: cfg, log: log,
		systemd:  systemd.Options{UserScope: cfg.SystemdUser},
		identify: identify,
		isolate:  isolateArguments(cfg),
	})
	if err != nil {
		return err
	}
	defer n.close()
	listeners, err := apiListeners()
	if err != nil {
		return err
	}
	return n.run(ctx, listeners, control{
		reload: reload, load: load, dump: dump, supervisor: supervisor,
		handOver: func(ctx context.Context) bool { return mustHandOver(ctx, n.systemd, log) },
	})
}

// patience is how long fleetd waits for an address of the host's, before it ends
// and systemd starts it anew: for `systemctl start` to say before long what is missing.
const patience = 10 * time.Second

// awaitAddress waits while the host has no address: at boot that may come late,
// and to be started again and again meanwhile fills the journal.
func awaitAddress(ctx context.Context, every, patience time.Duration, look func() error, waiting func(error)) error {
	end := time.After(patience)
	for said := false; ; said = true {
		err := look()
		if !errors.Is(err, machine.ErrNoAddress) {
			return err
		}
		if !said {
			waiting(err)
		}
		select {
		case <-time.After(every): // addresses come without a word
		case <-end:
			return err
		case <-ctx.Done():
			return nil
		}
	}
}

// identify says who this host is. A host without any address cannot join: the
// others could not reach it.
func identify(c *config.Config) (machine.Machine, error) {
	scope := "system"
	if c.SystemdUser {
		scope = "user"
	}
	m, err := machine.Local(machine.Settings{PublicIP: c.PublicIP, Metadata: c.Metadata, Version: version, Manager: machine.Manager{Scope: scope}})
	if err != nil {
		return m, fmt.Errorf("who is this host: %w", err)
	}
	return m, nil
}

// mustHandOver tells a stop, which hands the units over, from a restart, which
// must not touch them. systemd knows which it is; a fleetd that systemd does
// not run is stopped for good, as far as anybody can tell.
func mustHandOver(ctx context.Context, sd *systemd.Client, log *logrus.Entry) bool {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	fate, err := sd.OwnFate(ctx)
	if err != nil {
		log.WithError(err).Warn("cannot tell a stop from a restart: leaving the units as they are")
		return false
	}
	return fate == systemd.Stopping
}

// newLog writes to standard error, where systemd's journal takes it, without
// times of its own there.
func newLog(cfg *config.Config) *logrus.Entry {
	log := logrus.New()
	log.SetFormatter(&logrus.TextFormatter{DisableTimestamp: os.Getenv("JOURNAL_STREAM") != "", FullTimestamp: true})
	setVerbosity(log, cfg)
	return logrus.NewEntry(log)
}

func setVerbosity(log *logrus.Logger, cfg *config.Config) {
	log.SetLevel(logrus.InfoLevel)
	if cfg.Verbosity > 0 {
		log.SetLevel(logrus.DebugLevel)
	}
}
