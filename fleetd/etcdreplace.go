package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/fleet-project/fleet/fleetd/member"
	"github.com/fleet-project/fleet/fleetd/replace"
	"github.com/spf13/cobra"
)

type replaceOptions struct {
	member, user, service string
	endpoints             []string
	add, dryRun           bool
}

func replaceCommand() *cobra.Command {
	var opts replaceOptions
	cmd := &cobra.Command{
		Use:   "replace [--member NAME | --add] [--dry-run]",
		Short: "Make this host a member of the etcd cluster in the place of one that is lost",
		Long: `fleetd etcd replace, run as root on a host whose etcd lost its data, makes it a
member again: it takes the old member out of the cluster, adds this host as a
learner, which has no vote, restarts etcd2.service, and waits until it has the data
and is a full member. On another host, such as a proxy, say with --member whose
place it shall take, or with --add that it is to be one more.

It reads the settings of etcd2.service, flags included, from systemd (or ETCD_* from
its own environment, if there are any), and finds the cluster by what this host remembers,
ETCD_INITIAL_CLUSTER, the discovery URL or --endpoints. It refuses if the member
runs, if this host has data, or if too few of the others are well. If it is cut
off, run it again.`,
		Example: `  fleetd etcd replace --dry-run
  fleetd etcd replace
  fleetd etcd replace --member node2 --user root
  fleetd etcd replace --add`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, stop := signal.NotifyContext(cmd.Context(), syscall.SIGTERM, os.Interrupt)
			defer stop()
			return runReplace(ctx, cmd, opts)
		},
	}
	cmd.Flags().StringVar(&opts.member, "member", "", "the lost member's name or ID (default: the one that has this host's peer URL)")
	cmd.Flags().StringSliceVar(&opts.endpoints, "endpoints", nil, "client URLs of members that are well (default: found)")
	cmd.Flags().StringVar(&opts.user, "user", os.Getenv("ETCDCTL_USER"), "NAME or NAME:PASSWORD of an etcd user who may change its members (default: ETCDCTL_USER; password: ETCDCTL_PASSWORD)")
	cmd.Flags().Lookup("user").DefValue = ""
	cmd.Flags().StringVar(&opts.service, "service", "etcd2.service", "the unit that runs fleetd etcd")
	cmd.Flags().BoolVar(&opts.add, "add", false, "in nobody's place, as one more member: after a restore, or for a larger cluster")
	cmd.Flags().BoolVar(&opts.dryRun, "dry-run", false, "say what would be done, and do nothing")
	return cmd
}

func runReplace(ctx context.Context, cmd *cobra.Command, opts replaceOptions) error {
	service := replace.Service(opts.service)
	settings, err := serviceSettings(ctx, service)
	if err != nil {
		return err
	}
	user, password := etcdUser(opts.user)
	return replace.Run(ctx, replace.Options{
		Settings: settings, Service: service, Target: opts.member, Add: opts.add, Endpoints: opts.endpoints, User: user, Password: password, DryRun: opts.dryRun,
		Restart: service.Restart,
		Say:     func(text string) { fmt.Fprintln(cmd.OutOrStdout(), text) },
	})
}

// serviceSettings are those of the service that runs etcd on this host, or of ETCD_*
// in the environment if there are any.
func serviceSettings(ctx context.Context, service replace.Service) (member.Settings, error) {
	environ := os.Environ()
	var flags []string
	if !slices.ContainsFunc(environ, func(e string) bool { return strings.HasPrefix(e, "ETCD_") }) {
		of, err := service.Environment(ctx)
		if err == nil {
			environ = append(environ, of...)
			flags, err = service.Flags(ctx, of)
		}
		if err != nil {
			return member.Settings{}, fmt.Errorf("the settings of %s: %w; give this command the same ETCD_* variables instead", service, err)
		}
	}
	settings, _, err := member.Parse(flags, environ, lookupAddress)
	if err == nil && settings.ConfigFile != "" {
		err = errors.New("ETCD_CONFIG_FILE is set: a host that is configured by etcd's own file is mended by hand, with etcdctl and etcdutl")
	}
	return settings, err
}

// etcdUser takes NAME or NAME:PASSWORD apart.
func etcdUser(given string) (user, password string) {
	user, password, ok := strings.Cut(given, ":")
	if !ok {
		password = os.Getenv("ETCDCTL_PASSWORD")
	}
	return user, password
}
