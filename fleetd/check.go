package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/fleet-project/fleet/fleetd/config"
	"github.com/spf13/cobra"
)

type checkOptions struct {
	config string
	pid    int
}

func checkCommand() *cobra.Command {
	var opts checkOptions
	cmd := &cobra.Command{
		Use:   "check [--config FILE | --pid PID]",
		Short: "Say whether fleetd takes its configuration",
		Long: `fleetd check reads the configuration as fleetd does when it starts, or is to reload: the
file, the environment (FLEET_<KEY>), and the files that api_certfile and the like name.
If fleetd would refuse it, it says why, with file and line, and ends with 1. Where it is
taken, what it makes of doubtful lines is said. Nothing is changed, and nobody asked.

With --pid it reads what the fleetd that is this process would, with its arguments and
its environment. 'systemctl reload fleet' does that, and so fails where fleetd refuses to
reload; the running configuration stays then.`,
		Example: `  fleetd check
  fleetd check --config /root/fleet.conf.new`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			switch pid := cmd.Flags().Changed("pid"); {
			case pid && cmd.Flags().Changed("config"):
				return usageError{errors.New("either --config or --pid: a process has been told its file")}
			case pid:
				return checkProcess(opts.pid)
			}
			cfg, err := check(opts.config, os.Environ())
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), w)
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&opts.config, "config", "", "configuration file (default /etc/fleet/fleet.conf, if there)")
	cmd.Flags().IntVar(&opts.pid, "pid", 0, "a running fleetd's process: what it would read")
	return cmd
}

// check reads a configuration, and the files that must be good when it is taken.
func check(path string, environ []string) (*config.Config, error) {
	cfg, err := config.Load(path, environ)
	if err == nil {
		_, err = apiPathsOf(cfg).read()
	}
	return cfg, err
}

// checkProcess says why a running fleetd refuses to reload. Its service may give it
// another file and another environment by now: what it was started with counts.
func checkProcess(pid int) error {
	proc := filepath.Join("/proc", strconv.Itoa(pid))
	var said [2][]string
	for i, name := range []string{"cmdline", "environ"} {
		b, err := os.ReadFile(filepath.Join(proc, name))
		if err != nil {
			return fmt.Errorf("how process %d was started: %w", pid, err)
		}
		said[i] = strings.Split(strings.TrimSuffix(string(b), "\x00"), "\x00")
	}
	root := rootCommand()
	cmd, args, err := root.Find(arguments(said[0]))
	if err == nil && cmd != root {
		err = fmt.Errorf("it is %s", cmd.CommandPath())
	}
	if err == nil {
		err = root.ParseFlags(args)
	}
	if err == nil {
		err = root.ValidateArgs(root.Flags().Args())
	}
	if err != nil {
		return fmt.Errorf("process %d is no fleetd that has a configuration: %w", pid, err)
	}
	if err := os.Chdir(filepath.Join(proc, "cwd")); err != nil { // what paths are relative to
		return err
	}
	_, err = check(root.Flag("config").Value.String(), said[1])
	return err
}
