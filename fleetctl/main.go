// Command fleetctl is the person's side of fleet: it submits units, starts and
// stops them, and shows what runs where. It speaks to a fleetd over the HTTP API
// (package api) and, for what only a host can show, over SSH (fleetctl/ssh).
//
// A command is a file of that name. What they share: names.go says which unit an
// argument means, ensure.go brings units into a state, session.go and wait.go
// follow them there, table.go prints lists.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"strings"
	"sync"
	"syscall"

	"github.com/spf13/cobra"
)

// Set by the build (make build).
var (
	version   = "unknown"
	commit    = "unknown"
	buildDate = "unknown"
)

func main() {
	// It lives for a moment: to collect what a long list leaves behind would cost
	// more than the memory is worth. An environment's GOGC still counts.
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(400)
	}
	c := &cli{stdin: os.Stdin, stdout: os.Stdout, stderr: os.Stderr, machineIDFile: "/etc/machine-id"}
	os.Exit(c.run(os.Args[1:]))
}

// Exit codes. What a command ran on a host says is passed on as it is.
const (
	exitFailed      = 1
	exitUsage       = 2
	exitInterrupted = 130 // as a shell has it for SIGINT
)

// exitError ends the program with a code. Its message is for standard error; it
// may be empty when all has been said.
type exitError struct {
	code int
	msg  string
}

func (e *exitError) Error() string { return e.msg }

// failed has been said already: only the code is left.
var failed = &exitError{code: exitFailed}

func failf(format string, args ...any) error {
	return &exitError{code: exitFailed, msg: fmt.Sprintf(format, args...)}
}

func usagef(format string, args ...any) error {
	return &exitError{code: exitUsage, msg: fmt.Sprintf(format, args...)}
}

// run is the whole program.
func (c *cli) run(args []string) int {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	cobra.EnablePrefixMatching = true
	root := c.rootCommand()
	root.SetArgs(args)
	root.SetIn(c.stdin)
	root.SetOut(c.stdout)
	root.SetErr(c.stderr)
	err := root.ExecuteContext(ctx)
	c.close()
	if err == nil {
		return 0
	}
	var exit *exitError
	switch {
	case errors.As(err, &exit):
	case ctx.Err() != nil:
		exit = &exitError{code: exitInterrupted, msg: "interrupted"}
	case strings.HasPrefix(err.Error(), "unknown command"):
		exit = &exitError{code: exitUsage, msg: strings.TrimSpace(err.Error()) + "\n\nRun 'fleetctl help' for all commands."}
	default:
		exit = &exitError{code: exitFailed, msg: err.Error()}
	}
	if exit.msg != "" {
		fmt.Fprintln(c.stderr, exit.msg)
	}
	return exit.code
}

func (c *cli) rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "fleetctl",
		Short: "Run systemd units across a cluster of hosts",
		Long: `fleetctl hands systemd unit files to fleet, which decides which host runs each,
keeps them running when hosts die, and says what runs where.

Every global flag can be set in the environment too: --request-timeout as
FLEETCTL_REQUEST_TIMEOUT, and so on.`,
		Example: `  fleetctl start web.service
  fleetctl list-units
  fleetctl journal --follow web.service`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Version:       version,
		Args:          cobra.ArbitraryArgs,
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(args) == 0 {
				return cmd.Help()
			}
			return unknownCommand(cmd, args[0])
		},
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return c.settle(cmd) },
	}
	root.SetVersionTemplate(versionText())
	root.SetFlagErrorFunc(flagError)
	root.SetHelpCommand(c.helpCommand())
	c.addGlobalFlags(root.PersistentFlags())
	root.AddCommand(
		c.submitCommand(), c.loadCommand(), c.startCommand(), c.stopCommand(), c.unloadCommand(), c.destroyCommand(),
		c.restartCommand(), c.catCommand(), c.statusCommand(), c.journalCommand(), c.sshCommand(), c.explainCommand(), c.doctorCommand(),
		c.listMachinesCommand(), c.listUnitsCommand(), c.listUnitFilesCommand(),
		c.backupCommand(), c.restoreCommand(),
		c.completionCommand(), c.versionCommand(), c.verifyCommand(), c.fdForwardCommand(),
	)
	return root
}

// cli is one run of fleetctl.
type cli struct {
	stdin  io.Reader
	stdout io.Writer
	stderr io.Writer
	// machineIDFile says who this host is.
	machineIDFile string

	flags   globalFlags
	clients clients
	tunnel  tunnel
	asking  sync.Mutex // the user something
	// completing: a shell asks for suggestions. The user must not be asked.
	completing bool
}

func (c *cli) printf(format string, args ...any) { fmt.Fprintf(c.stdout, format+"\n", args...) }
func (c *cli) errorf(format string, args ...any) { fmt.Fprintf(c.stderr, format+"\n", args...) }
