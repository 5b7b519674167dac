package main

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/spf13/cobra"
	"go.etcd.io/etcd/server/v3/etcdmain"
)

func etcdCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "etcd [etcd's own flags]",
		Short: "Run the etcd server that is built in, configured by ETCD_* and etcd's flags",
		Long: `fleetd etcd is the etcd server, complete: it takes etcd's own flags and the
ETCD_* environment. See all of them with: fleetd etcd --help`,
		DisableFlagParsing: true, // they are etcd's
		RunE: func(_ *cobra.Command, args []string) error {
			if err := refuseDiscovery(args, os.Environ()); err != nil {
				return err
			}
			os.Args = append([]string{"etcd"}, args...) // etcd's subcommands read it
			etcdmain.Main(os.Args)
			return nil
		},
	}
}

// refuseDiscovery keeps a discovery URL from being dropped: etcd 3.7 only warns
// of it, and with a name set each host then becomes a cluster of its own.
func refuseDiscovery(args, environ []string) error {
	const remedy = "etcd 3.7 cannot resolve a discovery URL and would form a cluster of one on each host: " +
		"set ETCD_INITIAL_CLUSTER=name1=http://ip1:2380,name2=... instead"
	for _, a := range args {
		if name := strings.TrimLeft(a, "-"); strings.HasPrefix(a, "-") && (name == "discovery" || strings.HasPrefix(name, "discovery=")) {
			return fmt.Errorf("%s: %s", a, remedy)
		}
	}
	for _, env := range environ {
		if value, ok := strings.CutPrefix(env, "ETCD_DISCOVERY="); ok && value != "" {
			return errors.New("ETCD_DISCOVERY is set: " + remedy)
		}
	}
	return nil
}
