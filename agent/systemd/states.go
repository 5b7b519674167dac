package systemd

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"

	systemd "github.com/coreos/go-systemd/v22/dbus"

	"github.com/fleet-project/fleet/unit"
)

// listed is one row of ListUnitsByNames.
type listed struct {
	systemd.UnitStatus
	seq dbus.Sequence
}

// list asks how units are, in one call. systemd reads the files of those that
// it doesn't have in memory. The answer has a row for each name, in order.
func (c *Client) list(ctx context.Context, names []unit.Name) ([]listed, *conn, error) {
	conn, err := c.current()
	if err != nil {
		return nil, nil, err
	}
	asked := make([]string, len(names))
	for i, name := range names {
		asked[i] = string(name)
	}
	call, err := c.call(ctx, "list units", "", "ListUnitsByNames", asked)
	if err != nil {
		return nil, nil, err
	}
	var rows []struct {
		Name, Description, Load, Active, Sub, Following string
		Path                                            dbus.ObjectPath
		JobID                                           uint32
		JobType                                         string
		JobPath                                         dbus.ObjectPath
	}
	if err := call.Store(&rows); err != nil {
		return nil, nil, fmt.Errorf("reading systemd's list of units: %w", err)
	}
	if len(rows) != len(names) {
		return nil, nil, fmt.Errorf("systemd listed %d units of %d", len(rows), len(names))
	}
	out := make([]listed, len(rows))
	for i, r := range rows {
		out[i] = listed{seq: call.ResponseSequence, UnitStatus: systemd.UnitStatus{
			Name: r.Name, LoadState: r.Load, ActiveState: r.Active, SubState: r.Sub, JobId: r.JobID,
		}}
	}
	return out, conn, nil
}

// States asks systemd how units are. Of a unit that has no file it says that
// it is not found.
func (c *Client) States(ctx context.Context, names []unit.Name) (map[unit.Name]State, error) {
	out := make(map[unit.Name]State, len(names))
	if len(names) == 0 {
		return out, nil
	}
	rows, conn, err := c.list(ctx, names)
	if err != nil {
		return nil, err
	}
	for i, row := range rows {
		s := State{Job: row.JobId != 0, SystemdState: unit.SystemdState{
			Load: row.LoadState, Active: row.ActiveState, Sub: row.SubState,
		}}
		if s.Active == "failed" || s.Sub == "auto-restart" {
			if s.Result, err = c.result(ctx, names[i]); err != nil {
				return nil, err
			}
		}
		out[names[i]] = c.watch.answer(names[i], s, row.seq, conn)
	}
	return out, nil
}

// resultIface names the interface of the unit types that have a Result.
var resultIface = map[string]string{
	"service": "Service", "socket": "Socket", "timer": "Timer", "path": "Path", "mount": "Mount",
	"automount": "Automount", "swap": "Swap", "scope": "Scope",
}

// result says why a unit failed: exit-code, signal, timeout, … Empty if it
// didn't or nobody knows.
func (c *Client) result(ctx context.Context, name unit.Name) (string, error) {
	iface, ok := resultIface[name.Type()]
	if !ok {
		return "", nil
	}
	var result string
	err := c.property(ctx, name, "org.freedesktop.systemd1."+iface, "Result", &result)
	if result == "success" {
		result = ""
	}
	var r *RefusedError
	if errors.As(err, &r) {
		return "", nil // gone meanwhile, or never properly loaded
	}
	return result, err
}

// Invocation identifies the unit's current run, or its last one if systemd
// still remembers it: 32 hexadecimal digits, else empty.
func (c *Client) Invocation(ctx context.Context, name unit.Name) (string, error) {
	// Unlike Get on the object, GetUnit doesn't read a file into memory.
	if _, err := c.call(ctx, "find", name, "GetUnit", string(name)); err != nil {
		if notLoaded(err) {
			return "", nil
		}
		return "", err
	}
	var id []byte
	if err := c.property(ctx, name, unitIface, "InvocationID", &id); err != nil {
		if notLoaded(err) {
			return "", nil
		}
		return "", err
	}
	return hex.EncodeToString(id), nil
}

// LoadError gives systemd's reason for not having loaded a unit's file; empty
// if there is none.
func (c *Client) LoadError(ctx context.Context, name unit.Name) (string, error) {
	var reason struct{ Name, Message string }
	if err := c.property(ctx, name, unitIface, "LoadError", &reason); err != nil {
		return "", err
	}
	if reason.Message == "" {
		return reason.Name, nil
	}
	return reason.Message, nil
}
