package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fleet-project/fleet/agent"
	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/fleetd/config"
	"github.com/fleet-project/fleet/machine"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
)

// isolationService is the dead man's switch, see [systemd.Switch].
const isolationService = "fleet-isolation.service"

type isolateOptions struct {
	units string
	ttl   time.Duration
}

// isolateCommand is for systemd to run, not for people. It reads no configuration:
// that may be what keeps fleetd from starting.
func isolateCommand() *cobra.Command {
	var opts isolateOptions
	cmd := &cobra.Command{
		Use:    "isolate",
		Short:  "Stop the units that say Isolation=stop before this host's lease ends",
		Args:   cobra.NoArgs,
		Hidden: true,
		RunE:   func(cmd *cobra.Command, _ []string) error { return runIsolate(cmd.Context(), opts) },
	}
	cmd.Flags().StringVar(&opts.units, "units-directory", agent.DefaultDir, "where fleetd keeps its records")
	cmd.Flags().DurationVar(&opts.ttl, "agent-ttl", 0, "the lease's time")
	return cmd
}

// isolateArguments are how this fleetd would have itself run as isolate; none if
// nobody could tell systemd when.
func isolateArguments(cfg *config.Config) []string {
	program, err := os.Executable()
	if err != nil || cfg.SystemdUser || os.Geteuid() != 0 {
		return nil
	}
	return []string{program, "isolate", "--units-directory=" + cfg.UnitsDirectory, "--agent-ttl=" + cfg.AgentTTL.String()}
}

// runIsolate stops what it must, and stays until fleetd ends it.
func runIsolate(ctx context.Context, opts isolateOptions) error {
	if os.Getenv("SERVICE_RESULT") == "success" {
		return nil // nobody is dead: fleetd ends the switch
	}
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	log := logrus.New()
	log.SetFormatter(&logrus.TextFormatter{DisableTimestamp: os.Getenv("JOURNAL_STREAM") != "", FullTimestamp: true})
	entry := logrus.NewEntry(log)
	entry.Warn("no sign of life of fleetd, or of etcd: looking after the units that say Isolation=stop")
	boot, err := machine.Boot()
	if err != nil {
		return err
	}
	sd, err := systemd.Dial(ctx, systemd.Options{Log: entry.WithField("room", "systemd")})
	if err != nil {
		return err
	}
	defer sd.Close()
	return orEnd(ctx, agent.Isolate(ctx, agent.Options{
		Systemd: sd, TTL: opts.ttl, Dir: opts.units, Log: entry.WithField("room", "agent"),
		Machine: func() machine.Machine { return machine.Machine{BootID: boot} },
	}))
}
