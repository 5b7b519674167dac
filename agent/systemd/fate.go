package systemd

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/godbus/dbus/v5"
)

// Fate is what becomes of the service that this process runs in.
type Fate string

const (
	// Stopping means that it is being stopped, or nobody would start it again.
	Stopping Fate = "stopping"
	// Restarting means that another process takes over at once.
	Restarting Fate = "restarting"
)

// OwnFate tells, while this process is being ended, whether systemd will start
// it again: it is being restarted (a restart is one job, which stops and then
// starts), or no job ends it and its Restart= setting brings it back. A process
// that is no service of this systemd is Stopping.
func (c *Client) OwnFate(ctx context.Context) (Fate, error) {
	conn, err := c.current()
	if err != nil {
		return "", err
	}
	ctx, cancel := bounded(ctx)
	defer cancel()
	var path dbus.ObjectPath
	err = conn.manager.CallWithContext(ctx, managerIface+".GetUnitByPID", 0, uint32(os.Getpid())).Store(&path)
	var refusal dbus.Error
	if errors.As(err, &refusal) && refusal.Name == "org.freedesktop.systemd1.NoUnitForPID" {
		return Stopping, nil
	}
	if err != nil {
		return "", fmt.Errorf("asking systemd for this process's unit: %w", err)
	}
	job, err := conn.jobOf(ctx, path)
	if err != nil {
		return "", err
	}
	switch job {
	case "restart", "try-restart":
		return Restarting, nil
	case "stop":
		return Stopping, nil
	}
	restart, err := conn.get(ctx, path, "org.freedesktop.systemd1.Service", "Restart")
	switch {
	case errors.As(err, &refusal):
		return Stopping, nil // a scope: somebody's session
	case err != nil:
		return "", fmt.Errorf("asking systemd for this service's Restart=: %w", err)
	case restart.Value() == "no":
		return Stopping, nil
	}
	return Restarting, nil
}

// jobOf gives the type of the job that a unit has, "" when it has none.
func (c *conn) jobOf(ctx context.Context, path dbus.ObjectPath) (string, error) {
	v, err := c.get(ctx, path, unitIface, "Job")
	if err != nil {
		return "", fmt.Errorf("asking systemd for this service's job: %w", err)
	}
	var job struct {
		ID   uint32
		Path dbus.ObjectPath
	}
	if err := v.Store(&job); err != nil {
		return "", fmt.Errorf("systemd's answer about this service's job: %w", err)
	}
	if job.ID == 0 {
		return "", nil
	}
	kind, err := c.get(ctx, job.Path, "org.freedesktop.systemd1.Job", "JobType")
	if err != nil {
		return "", fmt.Errorf("asking systemd for a job's type: %w", err)
	}
	s, _ := kind.Value().(string)
	return s, nil
}
