package main

import (
	"context"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/fleet-project/fleet/fleetctl/backup"
	"github.com/fleet-project/fleet/unit"
	"github.com/spf13/cobra"
)

// restoreOptions are restore's flags.
type restoreOptions struct {
	dryRun bool
	yes    bool
	prune  bool
	listing
}

func (c *cli) restoreCommand() *cobra.Command {
	var opts restoreOptions
	cmd := &cobra.Command{
		Use:   "restore FILE",
		Short: "Make the cluster's units what a backup has",
		Long: `Compares a backup ('fleetctl backup') with the cluster, prints what would change, and
after a yes changes that: into an empty cluster or a running one. A unit whose text and
desired state are the same is not touched; one whose text changes is restarted where it
runs. What the file doesn't have stays, unless --prune. - stands for standard input.

Nothing is changed before the whole file was checked (one that was cut off, by its last
line, is refused), and nothing without a terminal to
ask on, unless --yes. If something fails half-way, what was done and what was not is
said; the same command again does the rest. It doesn't wait for units to start:
'fleetctl list-units' shows how they come up.`,
		Example: `  fleetctl restore --dry-run cluster.yaml
  fleetctl restore --yes --prune cluster.yaml
  gpg --decrypt cluster.yaml.gpg | fleetctl restore --yes -`,
		Annotations:       exits("With --dry-run: 0 nothing would change, 1 something would, 2 it could not be told. Otherwise 0 done, or nothing to do; 1 refused, not confirmed, or not all of it done; 2 wrong usage."),
		ValidArgsFunction: c.completeFiles,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) != 1 {
				return usagef("Give the one file to restore, or -\nRun '%s --help' for its usage.", cmd.CommandPath())
			}
			err := c.restore(cmd.Context(), args[0], opts)
			if exit := new(exitError); opts.dryRun && err != nil && (!errors.As(err, &exit) || exit != failed) {
				return &exitError{code: exitUsage, msg: err.Error()}
			}
			return err
		},
	}
	f := cmd.Flags()
	f.BoolVar(&opts.dryRun, "dry-run", false, "only print what would change")
	f.BoolVarP(&opts.yes, "yes", "y", false, "don't ask")
	f.BoolVar(&opts.prune, "prune", false, "destroy units that the file doesn't have, and take back what was said of other machines")
	opts.addOutput(cmd)
	return cmd
}

func (c *cli) restore(ctx context.Context, path string, opts restoreOptions) error {
	if err := opts.check(); err != nil {
		return err
	}
	if path == "-" && !opts.yes && !opts.dryRun {
		return usagef("The backup comes from standard input, so nobody can be asked there: add --yes, or --dry-run to see what would change")
	}
	wanted, err := c.readBackup(path)
	if err != nil {
		return err
	}
	now, _, err := c.takeBackup(ctx)
	if err != nil {
		return err
	}
	d := compare(wanted, now, opts.prune)
	if p := d.circles(path); p != "" {
		return failf("%s", p)
	}
	if opts.output != "" {
		err = c.printData(opts.output, d)
	} else {
		err = d.print(c.stdout)
	}
	todo := d.todo()
	switch {
	case err != nil:
		return err
	case len(todo) == 0:
		return nil
	case opts.dryRun:
		return failed
	case !opts.yes:
		if err := c.confirmRestore(ctx, d, wanted, opts.prune); err != nil {
			return err
		}
	}
	return c.carryOutRestore(ctx, todo, opts.output == "")
}

// readBackup reads the file, and refuses it if anything in it is wrong.
func (c *cli) readBackup(path string) (*backup.File, error) {
	var text []byte
	var err error
	if path == "-" {
		text, err = io.ReadAll(c.stdin)
	} else {
		text, err = os.ReadFile(path)
	}
	if err != nil {
		return nil, failf("%v", err)
	}
	f, warnings, err := backup.Read(text)
	if len(warnings) > 0 {
		c.errorf("%s", warnings.InFile(path))
	}
	var all unit.Problems
	if errors.As(err, &all) {
		return nil, failf("%s\nNothing was changed.", all.InFile(path))
	}
	return f, err
}

// confirmRestore asks, and sees to it that what was shown still is what is to be
// done: people take their time to answer.
func (c *cli) confirmRestore(ctx context.Context, shown *difference, wanted *backup.File, prune bool) error {
	if !c.terminal() {
		return failf("Nothing was changed: there is no terminal to ask on. Add --yes to change what is listed.")
	}
	if !c.ask(ctx, "Change that (yes/no)? ") {
		return failf("Nothing was changed.")
	}
	now, _, err := c.takeBackup(ctx)
	if err != nil {
		return err
	}
	if d := compare(wanted, now, prune); !slices.EqualFunc(shown.Changes, d.Changes, change.equal) {
		return failf("Nothing was changed: the cluster has changed meanwhile, so that what is listed above is no longer what there is to do. Run it again.")
	}
	return nil
}
