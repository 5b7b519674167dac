package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/godbus/dbus/v5"
	"golang.org/x/sys/unix"

	"github.com/fleet-project/fleet/unit"
)

// jobMethods are systemctl's verbs that make a job.
var jobMethods = map[string]string{
	"start":                 "StartUnit",
	"stop":                  "StopUnit",
	"restart":               "RestartUnit",
	"reload":                "ReloadUnit",
	"try-restart":           "TryRestartUnit",
	"reload-or-restart":     "ReloadOrRestartUnit",
	"reload-or-try-restart": "ReloadOrTryRestartUnit",
}

// Do runs one of systemctl's verbs (start, stop, restart, reload, try-restart,
// reload-or-restart, reload-or-try-restart) for any unit of the host and waits
// for the job's result: JobDone, JobFailed and so on.
func (c *Client) Do(ctx context.Context, name, verb string) (string, error) {
	method, ok := jobMethods[verb]
	if !ok {
		return "", fmt.Errorf("there is no verb %s for %s", verb, name)
	}
	job, err := c.job(ctx, verb, unit.Name(name), method)
	if err != nil {
		return "", err
	}
	return waitFor(ctx, job)
}

func waitFor(ctx context.Context, job <-chan string) (string, error) {
	select {
	case result, ok := <-job:
		if !ok {
			return "", ErrDisconnected
		}
		return result, nil
	case <-ctx.Done():
		return "", context.Cause(ctx)
	}
}

// Run runs a program as a transient service of its own, as systemd-run --wait
// does, and waits for the result: JobDone if the program ended well. What it
// prints is in the journal under the service's name.
func (c *Client) Run(ctx context.Context, name string, argv []string) (string, error) {
	job, err := c.startTransient(ctx, unit.Name(name), argv, []property{
		{"Description", dbus.MakeVariant("A script of this host's config")},
		{"Type", dbus.MakeVariant("oneshot")}, // the job lasts as long as the program
		{"CollectMode", dbus.MakeVariant("inactive-or-failed")},
	})
	if err != nil {
		return "", err
	}
	return waitFor(ctx, job)
}

// Launch has systemd start a program as a transient service once another unit
// has started, and waits for nothing: the caller may be that unit. One that
// failed stays in systemd's memory, to be looked at.
func (c *Client) Launch(ctx context.Context, name, description string, argv []string, after string) error {
	_, err := c.startTransient(ctx, unit.Name(name), argv, []property{
		{"Description", dbus.MakeVariant(description)},
		{"Type", dbus.MakeVariant("exec")},
		{"After", dbus.MakeVariant([]string{after})},
	})
	var r *RefusedError
	if errors.As(err, &r) && r.Code == unitExists {
		return fmt.Errorf("%s is at work already: wait for it, or `systemctl stop %[1]s`: %w", name, err)
	}
	return err
}

const unitExists = "org.freedesktop.systemd1.UnitExists"

// property is one of a transient unit's, as D-Bus has it: (sv).
type property struct {
	Name  string
	Value dbus.Variant
}

// execStart is a command, as D-Bus has it: (sasb).
type execStart struct {
	Path   string
	Argv   []string
	Ignore bool
}

func (c *Client) startTransient(ctx context.Context, name unit.Name, argv []string, properties []property) (<-chan string, error) {
	if err := c.ResetFailed(ctx, name); err != nil { // it would be in the way
		return nil, err
	}
	type auxiliary struct {
		Name       string
		Properties []property
	}
	properties = append(properties, property{"ExecStart", dbus.MakeVariant([]execStart{{argv[0], argv, false}})})
	conn, err := c.current()
	if err != nil {
		return nil, err
	}
	return conn.jobs.ask(func() (dbus.ObjectPath, error) {
		var job dbus.ObjectPath
		call, err := c.call(ctx, "run", name, "StartTransientUnit", string(name), "fail", properties, []auxiliary{})
		if err == nil {
			err = call.Store(&job)
		}
		return job, err
	})
}

// Hostname is the name that the kernel has for this host.
func (c *Client) Hostname() (string, error) { return os.Hostname() }

// SetHostname sets it, until reboot. systemd-hostnamed, which may not run yet
// when a host is being set up, notices by itself.
func (c *Client) SetHostname(name string) error {
	if err := unix.Sethostname([]byte(name)); err != nil {
		return os.NewSyscallError("sethostname", err)
	}
	return nil
}
