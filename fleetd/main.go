// Command fleetd is one host's part of the cluster: the agent that drives the
// host's systemd, an engine that may be elected to schedule, and the API.
// fleetd etcd runs the etcd server that is built in; fleetd discovery is the
// service at which the hosts of a new etcd cluster find each other; fleetd dev is
// a whole cluster of one host in one process.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/fleetd/manager"
	"github.com/fleet-project/fleet/fleetd/member"
	"github.com/fleet-project/fleet/fleetd/setup"
	"github.com/spf13/cobra"
)

// Set by the build (make build).
var (
	version   = "unknown"
	commit    = "unknown"
	buildDate = "unknown"
)

func main() {
	manager.Main() // takes over in the helper process of a private manager
	root := rootCommand()
	root.SetArgs(arguments(os.Args))
	if cmd, err := root.ExecuteC(); err != nil {
		fmt.Fprintf(os.Stderr, "fleetd: %v\n", err)
		if isUsage(err) {
			fmt.Fprintf(os.Stderr, "Run '%s --help' for what there is.\n", cmd.CommandPath())
			os.Exit(2)
		}
		os.Exit(member.ExitCode(err))
	}
}

// usageError is for a flag that doesn't exist or has a bad value.
type usageError struct{ error }

func isUsage(err error) bool {
	return errors.As(err, new(usageError)) || errors.As(err, new(setup.UsageError)) || strings.HasPrefix(err.Error(), "unknown command")
}

func rootCommand() *cobra.Command {
	var opts runOptions
	root := &cobra.Command{
		Use:   "fleetd",
		Short: "One host's part of a fleet cluster: agent, engine and API",
		Long: `fleetd joins this host to the cluster whose state is in etcd: it drives the
host's systemd, takes part in the election of the engine that schedules, and
serves the API that fleetctl speaks.

Configuration: /etc/fleet/fleet.conf, over it the environment (FLEET_<KEY>).
To try fleet on this machine alone, run: fleetd dev`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
		RunE:          func(cmd *cobra.Command, _ []string) error { return runDaemon(cmd.Context(), opts) },
	}
	root.SetVersionTemplate(versionText())
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return usageError{err} })
	root.Flags().StringVar(&opts.config, "config", "", "configuration file (default /etc/fleet/fleet.conf, if there)")
	root.AddCommand(checkCommand(), devCommand(), setup.Command(version), discoveryCommand(), etcdCommand(), isolateCommand(), &cobra.Command{
		Use:   "version",
		Short: "Print the version",
		Args:  cobra.NoArgs,
		Run:   func(cmd *cobra.Command, _ []string) { fmt.Fprint(cmd.OutOrStdout(), versionText()) },
	})
	root.CompletionOptions.DisableDefaultCmd = true
	return root
}

func versionText() string {
	return fmt.Sprintf("fleetd version %s\ncommit %s\n%s %s/%s\nbuilt %s\n",
		version, commit, runtime.Version(), runtime.GOOS, runtime.GOARCH, buildDate)
}

// cloudinitNames are what fleetd is called by those who call coreos-cloudinit:
// a link of such a name to it is fleetd cloudinit.
var cloudinitNames = []string{"coreos-cloudinit", "flatcar-cloudinit"}

// arguments are the command line's as the commands here take them.
func arguments(args []string) []string {
	given := args[1:]
	if slices.Contains(cloudinitNames, filepath.Base(args[0])) {
		given = append([]string{"cloudinit"}, given...)
	}
	return doubleDashes(given)
}

// doubleDashes takes Go's single-dash flags, which deployed unit files use
// (fleetd -config F), as the double-dash ones they are; so did all of
// coreos-cloudinit's flags have one. What follows another subcommand is that
// command's own business.
func doubleDashes(args []string) []string {
	out := append([]string(nil), args...)
	cloudinit := false
	for i, a := range out {
		switch {
		case a == "--":
			return out
		case !strings.HasPrefix(a, "-"):
			if cloudinit || i > 0 && out[i-1] == "--config" { // a flag's value
				continue
			}
			if cloudinit = a == "cloudinit"; !cloudinit {
				return out
			}
		case len(a) > 2 && a[1] != '-' && !strings.HasPrefix(a, "-o="):
			out[i] = "-" + a
		}
	}
	return out
}
