package main

import (
	"context"
	"fmt"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
	"github.com/spf13/cobra"
)

func (c *cli) startCommand() *cobra.Command {
	opts := ensureOptions{verb: "start", target: unit.TargetLaunched}
	var block blocking
	cmd := &cobra.Command{
		Use:   "start UNIT...",
		Short: "Start units somewhere in the cluster",
		Long: `Has each unit placed on a machine and started by its systemd, first storing it in
the cluster if need be. Waits until systemd says that it runs; a oneshot, until
it is done. A unit that no machine takes is explained, machine by machine, and
waited for. One that fails is told of with systemd's result and the last lines of
its log, on whatever machine it is. One that runs already stays as it is; with
--replace it gets the local file's text and is restarted once, where it is if it
still fits there.

A global unit is on every machine that it fits: fleetctl does not wait for it.`,
		Example: `  fleetctl start web.service
  fleetctl start web@{1..3}                 # of the template web@.service
  fleetctl start --replace units/web.service
  fleetctl start --block-attempts 30 db     # wait for a minute at most`,
		Annotations:       exits("0 if all units run (a oneshot: are done) or were asked to without waiting, else 1."),
		ValidArgsFunction: c.completeFilesAndUnits,
		RunE: func(cmd *cobra.Command, args []string) error {
			return c.ensure(cmd.Context(), args, opts, block)
		},
	}
	addReplace(cmd, &opts.replace)
	block.addTo(cmd)
	return cmd
}

// blocking says whether and how long a command waits.
type blocking struct {
	none     bool
	attempts int
}

func (b *blocking) addTo(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&b.none, "no-block", false, "don't wait")
	b.addAttempts(cmd)
}

func (b *blocking) addAttempts(cmd *cobra.Command) {
	cmd.Flags().IntVar(&b.attempts, "block-attempts", 0, "wait for at most that many times 2 seconds; 0: as long as it takes")
}

// ensure brings units into a state: submit, load and start.
func (c *cli) ensure(ctx context.Context, args []string, opts ensureOptions, block blocking) error {
	all, err := c.subjectsOf(ctx, args)
	if err != nil || len(all) == 0 {
		return err
	}
	s, err := c.follow(ctx, namesOf(all))
	if err != nil {
		return err
	}
	defer s.close()
	steps, err := c.plan(ctx, s, all, opts)
	if err != nil {
		return err
	}
	refused := c.carryOut(ctx, s, steps)
	if opts.target == unit.TargetInactive {
		return refused
	}
	for _, st := range steps {
		global := st.isGlobal(s)
		switch {
		case !st.await:
		case global:
			c.printf("Triggered global unit %s %s", st.name, opts.verb)
			st.await = false
		case block.none:
			c.printf("Triggered unit %s %s", st.name, opts.verb)
			st.await = false
		}
	}
	err = c.awaitStart(ctx, s, steps, opts, block)
	if err == nil {
		err = refused
	}
	return err
}

// awaitStart waits until the units are loaded or launched.
func (c *cli) awaitStart(ctx context.Context, s *session, steps []*step, opts ensureOptions, block blocking) error {
	w := &wait{
		cli: c, session: s, attempts: block.attempts,
		judge: func(st *step, status api.UnitStatus) outcome { return st.ensured(status, opts.target) },
		arrived: func(st *step, o outcome) {
			if o.failed != "" {
				c.sayFailed(ctx, st.name, o)
				return
			}
			c.printf("Unit %s %s on %s", st.name, opts.target, o.on)
			c.sayIdle(ctx, st.name, o)
		},
		undo: giveUp,
	}
	return w.run(ctx, steps)
}

// giveUp tells how to have fleet no longer try.
func giveUp(name unit.Name) string { return "To give it up: fleetctl unload " + string(name) }

// ensured judges whether the unit is what was asked for, with the text and the
// restart that were sent.
func (st *step) ensured(s api.UnitStatus, target unit.Target) outcome {
	if st.created && !s.Exists && !s.Destroying {
		return outcome{unseen: true, waiting: "the change to be seen"} // what was heard is older than what was sent
	}
	if st.send != nil && st.send.Text != "" && s.Hash == st.before.Hash && !s.IsOf([]byte(st.send.Text)) {
		return outcome{waiting: "the change to be seen"}
	}
	if s.Restart < st.restarts {
		return outcome{waiting: "the change to be seen"}
	}
	if target == unit.TargetLoaded {
		return st.news(loadOutcome(s))
	}
	return st.news(launchOutcome(s))
}

// news takes no trouble that was there before the command for the command's own,
// unless it stays.
func (st *step) news(o outcome) outcome {
	for _, was := range st.before.States {
		if was.MachineID == o.machine && was.Error != "" && was.Error == o.failed {
			o.done, o.settle = false, newsTime
			o.waiting = o.on + " to try again"
		}
	}
	return o
}

// isGlobal reports whether a unit, as it was sent or as it is, is global.
func (st *step) isGlobal(s *session) bool {
	if st.send == nil || st.send.Text == "" {
		return s.latest[st.name].Global
	}
	f, err := unit.Parse([]byte(st.send.Text))
	if err != nil {
		return false
	}
	req, err := f.Requirements(st.name)
	return err == nil && req.Global
}

// sayFailed says why a unit failed, with the last of its log.
func (c *cli) sayFailed(ctx context.Context, name unit.Name, o outcome) {
	where := ""
	if o.on != "" {
		where = " on " + o.on
	}
	c.errorf("Unit %s failed%s: %s", name, where, o.failed)
	if !o.untouched {
		c.sayLog(ctx, name, o)
	}
}

// sayIdle says that a unit doesn't run although it was started well: systemd
// skips a unit whose conditions don't hold.
func (c *cli) sayIdle(ctx context.Context, name unit.Name, o outcome) {
	if !o.idle {
		return
	}
	c.errorf("It does not run, though nothing failed: it has ended, or a condition in its file doesn't hold there.")
	c.sayLog(ctx, name, o)
}

// sayLog shows the end of a unit's log: what the machine said of it, or else (a
// fleet 1.0 says nothing) what its journal has.
func (c *cli) sayLog(ctx context.Context, name unit.Name, o outcome) {
	if o.machine == "" {
		return
	}
	if o.log != "" {
		c.errorf("%s", o.log)
	} else if lines := c.lastLogLines(ctx, name, o.machine); lines != "" {
		fmt.Fprint(c.stderr, lines)
	}
	c.errorf("See more: fleetctl status %s; fleetctl journal %s", name, name)
}

// subjectsOf reads the arguments as units, globs expanded: to units that can be
// loaded, not to templates.
func (c *cli) subjectsOf(ctx context.Context, args []string) ([]subject, error) {
	return c.allSubjectsOf(ctx, args, loadable)
}

// anyUnit and loadable say which units a glob stands for.
func anyUnit(unit.Name) bool    { return true }
func loadable(n unit.Name) bool { return !n.IsTemplate() }

// allSubjectsOf reads the arguments as units, globs expanded to those that the
// command is for.
func (c *cli) allSubjectsOf(ctx context.Context, args []string, fits func(unit.Name) bool) ([]subject, error) {
	if len(args) == 0 {
		c.errorf("No units given")
		return nil, nil
	}
	args, err := c.expand(ctx, args, fits)
	if err != nil {
		return nil, err
	}
	if len(args) == 0 {
		c.errorf("Units not found in registry")
		return nil, nil
	}
	return subjects(args)
}
