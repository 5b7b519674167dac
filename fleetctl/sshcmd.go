package main

import (
	"context"
	"errors"
	"strings"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

type sshOptions struct {
	machine string
	unit    string
	forward bool
	port    int
}

func (c *cli) sshCommand() *cobra.Command {
	var opts sshOptions
	cmd := &cobra.Command{
		Use:   "ssh [flags] [MACHINE or UNIT] [COMMAND...]",
		Short: "Open a shell on a machine, or run a command there",
		Long: `Connects to a machine by SSH: the one named (by the beginning of its id, its
address or its name), or the one that a unit is on. Without a command it opens
a shell. Commands and arguments go to the machine's shell as they are.`,
		Example: `  fleetctl ssh web.service
  fleetctl ssh -m 29f8a1c3 uptime
  fleetctl ssh web.service docker ps --all`,
		Annotations:       exits("The remote command's, or the shell's. 1 if the machine can't be reached."),
		ValidArgsFunction: c.completeSSH,
		RunE: func(cmd *cobra.Command, args []string) error {
			if opts.machine == "" && opts.unit == "" && len(args) > 0 {
				// As with ssh, flags may follow the machine; and fleet 1.0 wanted
				// a -- there, before a command that has flags.
				if err := cmd.ParseFlags(args[1:]); errors.Is(err, pflag.ErrHelp) {
					return cmd.Help()
				} else if err != nil {
					return flagError(cmd, err)
				}
				args = append(args[:1:1], cmd.Flags().Args()...)
			}
			return c.ssh(cmd.Context(), args, opts)
		},
	}
	// What follows the machine is the remote command's, flags and all.
	cmd.Flags().SetInterspersed(false)
	cmd.Flags().StringVarP(&opts.machine, "machine", "m", "", "this machine")
	cmd.Flags().StringVarP(&opts.unit, "unit", "u", "", "the machine that this unit is on")
	cmd.Flags().BoolVarP(&opts.forward, "forward-agent", "A", false, "let the machine use the SSH agent")
	cmd.Flags().IntVar(&opts.port, "ssh-port", 22, "port of the host's SSH server")
	_ = cmd.RegisterFlagCompletionFunc("machine", c.completeMachines) // the flags have just been made
	_ = cmd.RegisterFlagCompletionFunc("unit", c.completeUnits)
	return cmd
}

func (c *cli) ssh(ctx context.Context, args []string, opts sshOptions) error {
	m, err := c.sshTarget(ctx, args, opts)
	if err != nil {
		return err
	}
	if opts.machine == "" && opts.unit == "" {
		args = args[1:]
	}
	client, err := c.sshTo(ctx, onHost{machine: m, sshPort: opts.port, forward: opts.forward})
	if err != nil {
		return err
	}
	defer client.Close()
	streams := c.streams()
	streams.Stdin = c.stdin
	var code int
	if len(args) > 0 {
		code, err = client.Run(ctx, strings.Join(args, " "), streams)
	} else {
		code, err = client.Shell(ctx, streams)
	}
	if err == nil && code != 0 {
		return &exitError{code: code}
	}
	return err
}

// sshTarget finds the machine that is meant.
func (c *cli) sshTarget(ctx context.Context, args []string, opts sshOptions) (api.Machine, error) {
	var byMachine, byUnit []api.Machine
	var given string
	var err error
	switch {
	case opts.machine != "" && opts.unit != "":
		return api.Machine{}, usagef("Both a machine and a unit are given: one of them says where")
	case opts.machine != "":
		given = opts.machine
		byMachine, err = c.findMachines(ctx, given)
	case opts.unit != "":
		given = opts.unit
		byUnit, err = c.machinesByUnit(ctx, given)
	case len(args) == 0:
		return api.Machine{}, usagef("Provide a machine or a unit: fleetctl ssh MACHINE")
	default:
		given = args[0]
		if byMachine, err = c.findMachines(ctx, given); err == nil {
			byUnit, err = c.machinesByUnit(ctx, given)
		}
	}
	switch {
	case err != nil:
		return api.Machine{}, err
	case len(byMachine) == 1 && len(byUnit) > 0:
		return api.Machine{}, failf("Unable to proceed: %s is both a machine and a unit: say --machine %[1]s or --unit %[1]s", given)
	case len(byMachine) == 1:
		return byMachine[0], nil
	case len(byUnit) == 1:
		return byUnit[0], nil
	case len(byUnit) > 1:
		return api.Machine{}, failf("Unable to proceed: unit %s is on %d machines: name one with --machine", given, len(byUnit))
	case len(byMachine) > 1:
		return api.Machine{}, failf("Unable to proceed: %s matches %d machines: give more of the machine's id", given, len(byMachine))
	}
	return api.Machine{}, failf("Unable to proceed: could not find matching unit or machine")
}

// machinesByUnit finds the machines that a unit is on, if that is a unit.
func (c *cli) machinesByUnit(ctx context.Context, arg string) ([]api.Machine, error) {
	name, err := unit.ParseName(unit.WithDefaultType(arg))
	if err != nil {
		return nil, nil // then it is none
	}
	all, err := c.settled(ctx, []unit.Name{name})
	if err != nil {
		return nil, err
	}
	ids := machinesOf(all[0])
	if len(ids) == 0 {
		return nil, nil
	}
	machines, err := c.machines(ctx)
	var out []api.Machine
	for _, id := range ids {
		if m, known := machines[id]; known {
			out = append(out, m)
		}
	}
	return out, err
}

func (c *cli) completeSSH(cmd *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	units, _ := c.completeUnits(cmd, given, begun)
	machines, directive := c.completeMachines(cmd, given, begun)
	return append(machines, units...), directive
}
