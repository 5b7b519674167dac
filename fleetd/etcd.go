package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"syscall"

	"github.com/coreos/go-systemd/v22/daemon"
	"github.com/fleet-project/fleet/fleetd/config"
	"github.com/fleet-project/fleet/fleetd/member"
	"github.com/fleet-project/fleet/fleetd/setup"
	"github.com/fleet-project/fleet/machine"
	"github.com/sirupsen/logrus"
	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
)

func etcdCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "etcd [etcd's own flags]",
		Short: "Run the etcd server that is built in, configured by ETCD_* and etcd's flags",
		Long: `fleetd etcd is the etcd server, complete: it takes etcd's own flags and the
ETCD_* environment, etcd 2's as well. What etcd itself no longer does, it does:

A host that has no data yet and is given a discovery URL (ETCD_DISCOVERY)
registers there, waits until all members have, and starts as one of them. If the
cluster is full, it becomes a proxy of it on its client URLs. A host that has its
data never asks again. $private_ipv4, $public_ipv4, $private_ipv6 and
$public_ipv6 in ETCD_* are this host's addresses.

It ends with status 78 if trying again would not help.`,
		DisableFlagParsing:    true, // they are etcd's
		DisableFlagsInUseLine: true,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) > 0 && slices.Contains([]string{"gateway", "grpc-proxy", "--version", "-version"}, args[0]) {
				runEtcd(append([]string{"etcd"}, args...), nil)
				return nil
			}
			if slices.ContainsFunc(args, func(a string) bool { return a == "-h" || a == "--help" || a == "-help" }) {
				if err := cmd.Help(); err != nil {
					return err
				}
				fmt.Fprint(cmd.OutOrStdout(), "\netcd's own flags:\n\n")
				runEtcd([]string{"etcd", "--help"}, nil)
				return nil
			}
			return joinEtcd(cmd.Context(), args)
		},
	}
	cmd.AddCommand(replaceCommand(), freeCommand(), snapshotCommand(), restoreCommand())
	return cmd
}

// joinEtcd runs what this host is to its etcd cluster.
func joinEtcd(ctx context.Context, args []string) error {
	ctx, stop := signal.NotifyContext(ctx, syscall.SIGTERM, os.Interrupt)
	defer stop()
	log := newLog(&config.Config{})
	err := member.Run(ctx, member.Options{
		Args: args, Environ: os.Environ(), Log: log,
		Lookup:     lookupAddress,
		Configured: func() error { return setup.Applied("/") },
		Proxy:      serveProxy,
		Etcd: func(args []string, environ map[string]string) {
			stop() // from now on, signals are etcd's
			runEtcd(args, environ)
		},
		Status: func(text string) { tellSystemd(log, text) },
	})
	if usage := (*member.Usage)(nil); errors.As(err, &usage) {
		return usageError{err}
	}
	return err
}

// runEtcd is etcd's main program. It reads the environment and os.Args itself, and
// ends the process.
func runEtcd(args []string, environ map[string]string) {
	for name, value := range environ {
		if value == "" {
			os.Unsetenv(name)
		} else {
			os.Setenv(name, value)
		}
	}
	os.Args = args
	etcdmain.Main(args)
}

// tellSystemd has systemctl status say what fleetd etcd is doing.
func tellSystemd(log logrus.FieldLogger, text string) {
	if _, err := daemon.SdNotify(false, "STATUS="+text); err != nil {
		log.WithError(err).Debug("cannot tell systemd")
	}
}

// lookupAddress finds one of this host's addresses.
func lookupAddress(name string) (string, error) {
	found, err := machine.FindAddresses("/", os.Getenv)
	if err != nil {
		return "", err
	}
	if addr := found[name]; addr != "" {
		return addr, nil
	}
	return "", machine.NoAddress(name)
}
