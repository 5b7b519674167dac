package main

import (
	"context"
	"strings"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
	"github.com/spf13/cobra"
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
	if opts.machine != "" && opts.unit != "" {
		return usagef("Both a machine and a unit are given: one of them says where")
	}
	var m *api.Machine
	var err error
	switch {
	case opts.machine != "":
		m, err = c.findMachine(ctx, opts.machine)
	case opts.unit != "":
		m, err = c.machineOf(ctx, opts.unit)
	case len(args) == 0:
		return usagef("Provide a machine or a unit: fleetctl ssh MACHINE")
	default:
		if m, err = c.findMachine(ctx, args[0]); m == nil && err == nil {
			m, err = c.machineOf(ctx, args[0])
		}
		args = args[1:]
	}
	if err != nil {
		return err
	}
	if m == nil {
		return failf("Unable to proceed: could not find matching unit or machine")
	}
	client, err := c.sshTo(ctx, onHost{machine: *m, sshPort: opts.port, forward: opts.forward})
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

// machineOf finds the machine that a unit is on; nil if there is none.
func (c *cli) machineOf(ctx context.Context, arg string) (*api.Machine, error) {
	name, err := unit.ParseName(unit.WithDefaultType(arg))
	if err != nil {
		return nil, nil // then it is no unit either
	}
	client, err := c.client(ctx)
	if err != nil {
		return nil, err
	}
	states, err := client.States(ctx, api.StateFilter{Unit: name})
	if err != nil || len(states) == 0 {
		return nil, err
	}
	if len(states) > 1 {
		return nil, failf("Unit %s is on %d machines: name one with --machine", name, len(states))
	}
	machines, err := c.machines(ctx)
	if m, known := machines[states[0].MachineID]; known {
		return &m, err
	}
	return nil, err
}

func (c *cli) completeSSH(cmd *cobra.Command, given []string, begun string) ([]string, cobra.ShellCompDirective) {
	if len(given) > 0 {
		return nil, cobra.ShellCompDirectiveNoFileComp
	}
	units, _ := c.completeUnits(cmd, given, begun)
	machines, directive := c.completeMachines(cmd, given, begun)
	return append(machines, units...), directive
}
