package setup

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/cloudinit"
	"github.com/fleet-project/fleet/cloudinit/apply"
	"golang.org/x/sys/unix"
)

// At boot, units' commands are for units that wait for fleet-cloudinit.service,
// which therefore can't wait for them: another service carries them out.
const (
	bootUnit     = "fleet-cloudinit.service"
	commandsUnit = "fleet-cloudinit-commands.service"
	// commandsFile tells that service what to do. Scripts may hold secrets: it
	// is root's alone.
	commandsFile = "/run/fleet-cloudinit/commands.json"
)

// leftover is what commandsFile holds.
type leftover struct {
	Commands []cloudinit.Command
	Scripts  []cloudinit.Script
}

func (l leftover) empty() bool { return len(l.Commands)+len(l.Scripts) == 0 }

// booted says whether systemd runs this host.
func booted() bool { _, err := os.Stat("/run/systemd/system"); return err == nil }

// noSystemd stands for the systemd of a host that runs without.
type noSystemd struct{}

var errNoSystemd = errors.New("systemd doesn't run this host: for the root directory of an image, or of a container, give --root DIR")

func (noSystemd) Reload(context.Context) error                          { return errNoSystemd }
func (noSystemd) Do(context.Context, string, string) (string, error)    { return "", errNoSystemd }
func (noSystemd) Run(context.Context, string, []string) (string, error) { return "", errNoSystemd }
func (noSystemd) Hostname() (string, error)                             { return os.Hostname() }
func (noSystemd) SetHostname(name string) error                         { return unix.Sethostname([]byte(name)) }

// needsSystemd names what of a config there is no way to do without systemd.
func needsSystemd(result cloudinit.Result) string {
	switch {
	case len(result.Config.Systemd.Units) > 0:
		return "unit " + result.Config.Systemd.Units[0].Name
	case len(result.Commands) > 0:
		return result.Commands[0].Unit + "'s command"
	case len(result.EnableRuntime) > 0:
		return "unit " + result.EnableRuntime[0]
	case len(result.Scripts) > 0:
		return "script"
	case result.RestartNetworkd:
		return "network"
	}
	return ""
}

// openManager connects to the running systemd. Of an image there is none.
func (r *run) openManager(ctx context.Context, result cloudinit.Result) (manager apply.Manager, done func(), err error) {
	done = func() {}
	switch need := needsSystemd(result); {
	case !r.live():
		return nil, done, nil
	case !booted() && need != "" && !r.diff:
		return nil, done, fmt.Errorf("the config's %s: %w", need, errNoSystemd)
	case !booted():
		return noSystemd{}, done, nil
	}
	client, err := systemd.Dial(ctx, systemd.Options{})
	if err != nil {
		return nil, done, err
	}
	return client, client.Close, nil
}

// leave hands commands to a service behind this one.
func leave(ctx context.Context, manager apply.Manager, left leftover) error {
	if left.empty() {
		return nil
	}
	client, ok := manager.(*systemd.Client)
	if !ok {
		return errNoSystemd
	}
	text, err := json.Marshal(left)
	if err == nil {
		err = writePrivate(commandsFile, text)
	}
	self, err2 := os.Executable()
	if err := errors.Join(err, err2); err != nil {
		return fmt.Errorf("leaving the units' commands to %s: %w", commandsUnit, err)
	}
	return client.Launch(ctx, commandsUnit, "The units' commands of this host's cloud-config", []string{self, "cloudinit", "--carry-out", commandsFile}, bootUnit)
}

// writePrivate replaces a file that only root reads.
func writePrivate(path string, text []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	next := path + ".new"
	if err := os.WriteFile(next, text, 0o600); err != nil {
		return err
	}
	return os.Rename(next, path)
}

// carryOut does what was left to commandsUnit: it waits for each, tells how it
// ended, and fails if one did.
func (r *run) carryOut(ctx context.Context) error {
	text, err := os.ReadFile(r.leftover)
	if err != nil {
		return err
	}
	var left leftover
	if err := json.Unmarshal(text, &left); err != nil {
		return fmt.Errorf("%s: %w", r.leftover, err)
	}
	if !booted() {
		return errNoSystemd
	}
	client, err := systemd.Dial(ctx, systemd.Options{})
	if err != nil {
		return err
	}
	defer client.Close()
	applier, err := apply.New(apply.Options{
		Manager: client, Workspace: r.workspace,
		Outcome: func(o apply.Outcome) { fmt.Fprintln(r.out, o) },
	})
	if err != nil {
		return err
	}
	defer func() { _ = applier.Close() }() // a directory that was read
	report, err := applier.Run(ctx, left.Commands, left.Scripts)
	if err != nil {
		return err
	}
	if err := os.Remove(r.leftover); err != nil {
		return err
	}
	return report.Err()
}
