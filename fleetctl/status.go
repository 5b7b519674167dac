package main

import (
	"context"

	"github.com/fleet-project/fleet/fleetctl/ssh"
	"github.com/spf13/cobra"
)

func (c *cli) statusCommand() *cobra.Command {
	var opts statusOptions
	cmd := &cobra.Command{
		Use:   "status UNIT...",
		Short: "Show what systemd says of units, on the machines that they are on",
		Long: `Runs 'systemctl status' for each unit on every machine that it is on: here, or by
SSH. A global unit is shown on each machine, or on the one that --machine names.

With --output it prints what the cluster knows instead, and asks no machine: one
entry for each unit on each machine, and one for a unit that is on none.`,
		Example: `  fleetctl status web.service
  fleetctl status --machine 29f8a1c3 metrics
  fleetctl status -o json 'web@*'`,
		Annotations:       exits("systemctl's: 0 for a unit that runs, 3 for one that doesn't; of several, the highest. 1 if a unit is on no machine. With --output 3 if a unit is not active somewhere, or on no machine."),
		ValidArgsFunction: c.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.status(cmd.Context(), args, opts)
		},
	}
	opts.hostOptions.addTo(c, cmd)
	opts.addOutput(cmd)
	return cmd
}

type statusOptions struct {
	hostOptions
	listing
}

// hostOptions are for commands that run on hosts.
type hostOptions struct {
	sshPort int
	machine string
}

func (o *hostOptions) addTo(c *cli, cmd *cobra.Command) {
	cmd.Flags().IntVar(&o.sshPort, "ssh-port", 22, "port of the hosts' SSH servers")
	addMachine(c, cmd, &o.machine)
}

func addMachine(c *cli, cmd *cobra.Command, machine *string) {
	cmd.Flags().StringVarP(machine, "machine", "m", "", "only on this machine (the beginning of its id)")
	_ = cmd.RegisterFlagCompletionFunc("machine", c.completeMachines) // the flag has just been made
}

func (c *cli) status(ctx context.Context, args []string, opts statusOptions) error {
	if err := opts.check(); err != nil {
		return err
	}
	subjects, err := c.subjectsOf(ctx, args)
	if err != nil {
		return err
	}
	all, err := c.settled(ctx, namesOf(subjects))
	if err != nil {
		return err
	}
	machines, err := c.machines(ctx)
	if err != nil {
		return err
	}
	if opts.output != "" {
		return c.statusData(all, machines, opts)
	}
	worst, first := 0, true
	for _, status := range all {
		places, err := locate(status, machines, opts.machine, "loaded")
		if err != nil {
			return err
		}
		for _, p := range places {
			if !first {
				c.printf("")
			}
			first = false
			if len(places) > 1 {
				c.printf("==> %s <==", legend(p.machine.ID, p.machine.PrimaryIP, false))
			}
			code, err := c.runOn(ctx, onHost{machine: p.machine, sshPort: opts.sshPort},
				with(systemctl(p.machine), "status", "-l", "--no-pager", string(p.unit)), c.streams())
			if err != nil {
				if err := c.unreached(ctx, err, len(places)); err != nil {
					return err
				}
				code = exitFailed
			}
			worst = max(worst, code)
		}
	}
	if worst > 0 {
		return &exitError{code: worst}
	}
	return nil
}

func (c *cli) streams() ssh.Streams { return ssh.Streams{Stdout: c.stdout, Stderr: c.stderr} }
