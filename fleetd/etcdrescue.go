package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/fleet-project/fleet/fleetd/config"
	"github.com/fleet-project/fleet/fleetd/replace"
	"github.com/fleet-project/fleet/fleetd/rescue"
	"github.com/fleet-project/fleet/registry"
	"github.com/spf13/cobra"
)

// rescueOptions are what the commands have in common that mend etcd.
type rescueOptions struct {
	user, service string
	endpoints     []string
}

func (o *rescueOptions) flags(cmd *cobra.Command) {
	cmd.Flags().StringSliceVar(&o.endpoints, "endpoints", nil, "client URLs of members (default: etcd on this host)")
	cmd.Flags().StringVar(&o.user, "user", os.Getenv("ETCDCTL_USER"), "NAME or NAME:PASSWORD of an etcd user who may do this, such as root (default: ETCDCTL_USER; password: ETCDCTL_PASSWORD)")
	cmd.Flags().Lookup("user").DefValue = ""
	cmd.Flags().StringVar(&o.service, "service", "etcd2.service", "the unit that runs fleetd etcd")
}

// run has f mend etcd, until a signal comes.
func (o *rescueOptions) run(cmd *cobra.Command, f func(context.Context, rescue.Options) error) error {
	ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, os.Interrupt)
	defer stop()
	settings, err := serviceSettings(ctx, replace.Service(o.service))
	if err != nil {
		return err
	}
	user, password := etcdUser(o.user)
	return f(ctx, rescue.Options{
		Settings: settings, Endpoints: o.endpoints, User: user, Password: password,
		Say: func(text string) { fmt.Fprintln(cmd.OutOrStdout(), text) },
	})
}

func freeCommand() *cobra.Command {
	var opts rescueOptions
	cmd := &cobra.Command{
		Use:   "free",
		Short: "Make room in etcd, and have it take writes again after it was full",
		Long: `fleetd etcd free has etcd forget its history, has one member after the other give
back what is unused, the leader last, and lifts the alarm NOSPACE. Each member
answers nobody while it does, some seconds for a gigabyte. Nothing that is stored is
lost, and no unit is touched.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error { return opts.run(cmd, rescue.Free) },
	}
	opts.flags(cmd)
	return cmd
}

func snapshotCommand() *cobra.Command {
	var opts rescueOptions
	cmd := &cobra.Command{
		Use:   "snapshot FILE",
		Short: "Write what etcd holds into a file, for fleetd etcd restore",
		Long: `fleetd etcd snapshot writes all that etcd holds, of this moment, into a new file. It
is etcd's own format: etcdctl snapshot save makes the same. What belongs into units'
files is in it: keep it where only root can read it.`,
		Example: `  fleetd etcd snapshot /root/etcd-$(date +%F).db`,
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return opts.run(cmd, func(ctx context.Context, o rescue.Options) error { return rescue.Snapshot(ctx, o, args[0]) })
		},
	}
	opts.flags(cmd)
	return cmd
}

func restoreCommand() *cobra.Command {
	var (
		opts    rescueOptions
		without []string
		path    string
		finish  bool
	)
	cmd := &cobra.Command{
		Use:   "restore FILE | --finish",
		Short: "Begin etcd anew from a snapshot, when its data is lost",
		Long: `fleetd etcd restore, run as root on one host that was a member, makes its etcd a
cluster of one with what the file holds. The other hosts join it with fleetd etcd
replace --add. Of the past it tells nobody: which host was to run what, who led, who
was there. Until all hosts have come back and have said what they run, fleet changes
nothing and keeps every unit running. The command waits for that, and then has fleet go
on: what runs stays where it runs. If it is cut off, run it again with --finish.

docs/etcd.md has it step by step, and says what a snapshot that is older than the
cluster can't bring back.`,
		Example: `  fleetd etcd restore /root/etcd.db
  fleetd etcd restore --finish --without 4f1c0e22`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if finish == (len(args) == 1) {
				return usageError{errors.New("either a snapshot's FILE, or --finish")}
			}
			cfg, err := config.Load(path, os.Environ())
			if err != nil {
				return err
			}
			return opts.run(cmd, func(ctx context.Context, o rescue.Options) error {
				if !finish {
					service := replace.Service(opts.service)
					err := rescue.Restore(ctx, rescue.RestoreOptions{
						Options: o, File: args[0], Prefix: cfg.EtcdKeyPrefix, Stop: service.Stop, Start: service.Restart, Now: time.Now,
					})
					if err != nil {
						return err
					}
					o.Say("etcd runs on this host, alone, with what the snapshot has")
				}
				return finishRestore(ctx, cfg, o, without)
			})
		},
	}
	opts.flags(cmd)
	cmd.Flags().StringVar(&path, "config", "", "fleetd's configuration (default /etc/fleet/fleet.conf, if there)")
	cmd.Flags().BoolVar(&finish, "finish", false, "etcd is restored: wait for the hosts, and have fleet go on")
	cmd.Flags().StringSliceVar(&without, "without", nil, "machine ids, or their beginnings, of hosts that won't come back")
	return cmd
}

// finishRestore waits for the hosts by the etcd that fleetd on this host uses.
func finishRestore(ctx context.Context, cfg *config.Config, o rescue.Options, without []string) error {
	log := newLog(cfg)
	r, err := registry.Dial(registry.Config{
		Endpoints: cfg.EtcdServers, Username: cfg.EtcdUsername, Password: cfg.EtcdPassword,
		CAFile: cfg.EtcdCAFile, CertFile: cfg.EtcdCertFile, KeyFile: cfg.EtcdKeyFile,
		Prefix: cfg.EtcdKeyPrefix, RequestTimeout: cfg.EtcdRequestTimeout, Log: log.WithField("room", "registry"),
	})
	if err != nil {
		return err
	}
	defer r.Close()
	return rescue.Finish(ctx, rescue.FinishOptions{Registry: r, Without: without, Say: o.Say, Pause: time.Second})
}
