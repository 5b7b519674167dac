package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"strconv"
	"sync"

	"github.com/fleet-project/fleet/fleetctl/ssh"
	"github.com/spf13/cobra"
)

type journalOptions struct {
	hostOptions
	lines  int
	follow bool
	output string
	sudo   bool
}

func (c *cli) journalCommand() *cobra.Command {
	var opts journalOptions
	cmd := &cobra.Command{
		Use:   "journal UNIT...",
		Short: "Print the last lines of units' logs",
		Long: `Runs 'journalctl' for each unit on every machine that it is on: here, or by SSH.
With --follow it goes on as lines come, of all of them at once.`,
		Example: `  fleetctl journal web.service
  fleetctl journal --follow 'web@*'
  fleetctl journal --lines 1000 --output json web | jq .MESSAGE`,
		Annotations:       exits("journalctl's; of several, the highest. 1 if a unit is on no machine."),
		ValidArgsFunction: c.completeUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return failf("One unit file must be provided.")
			}
			return c.journal(cmd.Context(), args, opts)
		},
	}
	cmd.Flags().IntVar(&opts.lines, "lines", 10, "how many lines")
	cmd.Flags().BoolVarP(&opts.follow, "follow", "f", false, "go on as lines come")
	cmd.Flags().StringVar(&opts.output, "output", "short", "journalctl's format: short, cat, json, ...")
	cmd.Flags().BoolVar(&opts.sudo, "sudo", false, "run journalctl by sudo")
	opts.addTo(c, cmd)
	return cmd
}

func (c *cli) journal(ctx context.Context, args []string, opts journalOptions) error {
	all, err := c.subjectsOf(ctx, args)
	if err != nil {
		return err
	}
	var places []place
	statuses, err := c.settled(ctx, namesOf(all))
	if err != nil {
		return err
	}
	machines, err := c.machines(ctx)
	if err != nil {
		return err
	}
	for _, status := range statuses {
		found, err := locate(status, machines, opts.machine, "running")
		if err != nil {
			return err
		}
		places = append(places, found...)
	}
	if opts.follow && len(places) > 1 {
		return c.followAll(ctx, places, opts)
	}
	worst := 0
	for _, p := range places {
		if len(places) > 1 {
			c.printf("==> %s on %s <==", p.unit, legend(p.machine.ID, p.machine.PrimaryIP, false))
		}
		code, err := c.journalOf(ctx, p, opts, c.streams())
		if err != nil {
			if err := c.unreached(ctx, err, len(places)); err != nil {
				return err
			}
			code = exitFailed
		}
		worst = max(worst, code)
	}
	if worst > 0 {
		return &exitError{code: worst}
	}
	return nil
}

func (c *cli) journalOf(ctx context.Context, p place, opts journalOptions, streams ssh.Streams) (int, error) {
	argv := with(journalctl(p.machine), "--unit", string(p.unit), "--no-pager", "-n", strconv.Itoa(opts.lines), "--output", opts.output)
	if opts.follow {
		argv = append(argv, "-f")
	}
	return c.runOn(ctx, onHost{machine: p.machine, sshPort: opts.sshPort, sudo: opts.sudo}, argv, streams)
}

// followAll follows several logs at once, each line with its origin. One that
// ends is told of at once; the others go on.
func (c *cli) followAll(ctx context.Context, places []place, opts journalOptions) error {
	var mu sync.Mutex // of the output, and worst
	var all sync.WaitGroup
	worst := 0
	for _, p := range places {
		all.Go(func() {
			r, w := io.Pipe()
			var copying sync.WaitGroup
			copying.Go(func() {
				for lines := bufio.NewReader(r); ; {
					line, err := lines.ReadString('\n')
					if line != "" {
						mu.Lock()
						fmt.Fprintf(c.stdout, "%s %s: %s", legend(p.machine.ID, p.machine.PrimaryIP, false), p.unit, line)
						mu.Unlock()
					}
					if err != nil {
						return
					}
				}
			})
			code, err := c.journalOf(ctx, p, opts, ssh.Streams{Stdout: w, Stderr: c.stderr})
			w.Close()
			copying.Wait()
			mu.Lock()
			defer mu.Unlock()
			if err != nil && ctx.Err() == nil {
				c.errorf("%v", err)
				code = exitFailed
			}
			worst = max(worst, code)
		})
	}
	all.Wait()
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if worst > 0 {
		return &exitError{code: worst}
	}
	return nil
}
