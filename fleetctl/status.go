package main

import (
	"context"

	"github.com/fleet-project/fleet/fleetctl/ssh"
	"github.com/spf13/cobra"
)

func (c *cli) statusCommand() *cobra.Command {
	var opts hostOptions
	cmd := &cobra.Command{
		Use:   "status UNIT...",
		Short: "Show what systemd says of units, on the machines that they are on",
		Long: `Runs 'systemctl status' for each unit on every machine that it is on: here, or by
SSH. A global unit is shown on each machine, or on the one that --machine names.`,
		Example: `  fleetctl status web.service
  fleetctl status --machine 29f8a1c3 metrics`,
		Annotations:       exits("systemctl's: 0 for a unit that runs, 3 for one that doesn't; of several, the highest. 1 if a unit is on no machine."),
		ValidArgsFunction: c.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.status(cmd.Context(), args, opts)
		},
	}
	opts.addTo(c, cmd)
	return cmd
}

// hostOptions are for commands that run on hosts.
type hostOptions struct {
	sshPort int
	machine string
}

func (o *hostOptions) addTo(c *cli, cmd *cobra.Command) {
	cmd.Flags().IntVar(&o.sshPort, "ssh-port", 22, "port of the hosts' SSH servers")
	cmd.Flags().StringVarP(&o.machine, "machine", "m", "", "only on this machine (the beginning of its id)")
	_ = cmd.RegisterFlagCompletionFunc("machine", c.completeMachines) // the flag has just been made
}

func (c *cli) status(ctx context.Context, args []string, opts hostOptions) error {
	all, err := c.subjectsOf(ctx, args)
	if err != nil {
		return err
	}
	worst, first := 0, true
	for _, subj := range all {
		places, err := c.locate(ctx, subj.name, opts.machine, "loaded")
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
				return err
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
