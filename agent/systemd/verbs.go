package systemd

import (
	"context"
	"errors"
	"syscall"

	"github.com/godbus/dbus/v5"

	"github.com/fleet-project/fleet/unit"
)

// Results of a job, as systemd words them.
const (
	JobDone       = "done"
	JobFailed     = "failed"
	JobDependency = "dependency" // something that it requires failed
	JobTimeout    = "timeout"
	JobCanceled   = "canceled"
)

// Start has systemd start a unit. It returns when systemd has accepted the job;
// the job's result comes over the channel, which is closed without one if the
// connection breaks. A job for the unit that is in the way is cancelled.
//
// systemd looks for a file that it hasn't seen by itself. Should it answer that
// there is none though we wrote one, it is told to look, once.
func (c *Client) Start(ctx context.Context, name unit.Name) (<-chan string, error) {
	job, err := c.job(ctx, "start", name, "StartUnit")
	if err == nil || !notLoaded(err) || !exists(c.path(name)) {
		return job, err
	}
	c.log.WithField("unit", name).Warn("systemd didn't find a unit file that is there; reloading")
	if err := c.reload(ctx, reasonRescue); err != nil {
		return nil, err
	}
	return c.job(ctx, "start", name, "StartUnit")
}

// Restart stops a unit, if it runs, and starts it. See Start.
func (c *Client) Restart(ctx context.Context, name unit.Name) (<-chan string, error) {
	return c.job(ctx, "restart", name, "RestartUnit")
}

// Stop has systemd stop a unit. A unit that isn't there is stopped: its channel
// says done. See Start.
func (c *Client) Stop(ctx context.Context, name unit.Name) (<-chan string, error) {
	job, err := c.job(ctx, "stop", name, "StopUnit")
	if notLoaded(err) {
		stopped := make(chan string, 1)
		stopped <- JobDone
		close(stopped)
		return stopped, nil
	}
	return job, err
}

func (c *Client) job(ctx context.Context, verb string, name unit.Name, method string) (<-chan string, error) {
	conn, err := c.current()
	if err != nil {
		return nil, err
	}
	return conn.jobs.ask(func() (dbus.ObjectPath, error) {
		var job dbus.ObjectPath
		call, err := c.call(ctx, verb, name, method, string(name), "replace")
		if err == nil {
			err = call.Store(&job)
		}
		return job, err
	})
}

// Kill sends SIGKILL to all processes of a unit. A unit without any is no
// error.
func (c *Client) Kill(ctx context.Context, name unit.Name) error {
	_, err := c.call(ctx, "kill", name, "KillUnit", string(name), "all", int32(syscall.SIGKILL))
	var r *RefusedError
	if errors.As(err, &r) && (notLoaded(err) || r.Code == "org.freedesktop.systemd1.NoSuchProcess") {
		return nil
	}
	return err
}

// ResetFailed makes systemd forget that a unit failed, so that it drops the
// unit. One that it has dropped already is no error.
func (c *Client) ResetFailed(ctx context.Context, name unit.Name) error {
	_, err := c.call(ctx, "reset", name, "ResetFailedUnit", string(name))
	if notLoaded(err) {
		return nil
	}
	return err
}

// Enable makes the links that units' [Install] sections ask for, until reboot.
// systemd acts on them after the next Reload.
func (c *Client) Enable(ctx context.Context, names []unit.Name) error {
	return c.links(ctx, "enable", "EnableUnitFiles", names, true, false)
}

// Disable takes them away. The units' files must still be there.
func (c *Client) Disable(ctx context.Context, names []unit.Name) error {
	return c.links(ctx, "disable", "DisableUnitFiles", names, true)
}

func (c *Client) links(ctx context.Context, verb, method string, names []unit.Name, flags ...any) error {
	if len(names) == 0 {
		return nil
	}
	asked := make([]string, len(names))
	for i, name := range names {
		asked[i] = string(name)
	}
	_, err := c.call(ctx, verb, names[0], method, append([]any{asked}, flags...)...)
	return err
}

// Reload makes systemd act on links that Enable and Disable changed.
func (c *Client) Reload(ctx context.Context) error { return c.reload(ctx, reasonInstall) }

func (c *Client) reload(ctx context.Context, reason string) error {
	c.reloading.Lock()
	defer c.reloading.Unlock()
	c.metrics.reloads.WithLabelValues(reason).Inc()
	_, err := c.call(ctx, "reload", "", "Reload")
	return err
}
