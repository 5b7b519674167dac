package systemd

import (
	"errors"
	"fmt"

	"github.com/godbus/dbus/v5"

	"github.com/fleet-project/fleet/unit"
)

// ErrDisconnected says that there is no connection to systemd now. The client keeps
// trying; [Changes.Resync] tells when it is back.
var ErrDisconnected = errors.New("not connected to systemd")

// RefusedError is systemd's own no.
type RefusedError struct {
	Verb    string // "start"
	Unit    unit.Name
	Code    string // the D-Bus error's name: org.freedesktop.systemd1.NoSuchUnit
	Message string // systemd's words
}

// Error gives systemd's words after what was asked of it.
func (e *RefusedError) Error() string {
	if e.Unit == "" {
		return fmt.Sprintf("systemd refuses to %s: %s", e.Verb, e.Message)
	}
	return fmt.Sprintf("systemd refuses to %s %s: %s", e.Verb, e.Unit, e.Message)
}

// NoSuchUnit reports whether that is because systemd knows of no such unit.
func (e *RefusedError) NoSuchUnit() bool { return e.Code == noSuchUnit }

// ForeignError says that a unit of this name is on the host already, and not by fleet.
type ForeignError struct {
	Unit unit.Name
	Path string // where the host has it from; empty if from no file
	Load string // systemd's word for the file: masked, not-found (it runs, and its file was deleted)
}

// Error says what to do: the host's unit stays as it is.
func (e *ForeignError) Error() string {
	from := e.Path
	switch {
	case e.Load == "masked":
		return fmt.Sprintf("%s is masked on this host (%s): unmask it there, or give the fleet unit another name", e.Unit, from)
	case e.Load == "not-found":
		return fmt.Sprintf("%[1]s runs on this host already, from a file that was deleted: systemctl stop %[1]s there, or give the fleet unit another name", e.Unit)
	case from == "":
		from = "made by systemd itself"
	}
	return fmt.Sprintf("%s belongs to this host (%s): give the fleet unit another name", e.Unit, from)
}

const (
	noSuchUnit = "org.freedesktop.systemd1.NoSuchUnit"
	// A property of an object that isn't there.
	unknownObject = "org.freedesktop.DBus.Error.UnknownObject"
)

// refused turns an error of a call into one of this package's.
func refused(verb string, name unit.Name, err error) error {
	var e dbus.Error
	switch {
	case err == nil:
		return nil
	case errors.As(err, &e):
		r := &RefusedError{Verb: verb, Unit: name, Code: e.Name, Message: e.Name}
		if len(e.Body) > 0 {
			if text, ok := e.Body[0].(string); ok {
				r.Message = text
			}
		}
		return r
	case errors.Is(err, dbus.ErrClosed):
		return ErrDisconnected
	}
	return fmt.Errorf("asking systemd to %s %s: %w", verb, name, err)
}

// notLoaded reports whether systemd has no such unit in memory.
func notLoaded(err error) bool {
	var r *RefusedError
	return errors.As(err, &r) && (r.Code == noSuchUnit || r.Code == unknownObject)
}
