package simulation

import (
	"bytes"
	"context"
	"errors"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/unit"
)

// errNoFile is what a host without such a file says.
var errNoFile = errors.New("no such unit file")

// What the model of systemd says of files and states.

func (s *machineSystemd) Claim(_ context.Context, files []systemd.File) (map[unit.Name]error, error) {
	if err := s.call("claim"); err != nil {
		return nil, err
	}
	refused := map[unit.Name]error{}
	for _, f := range files {
		u := s.units[f.Name]
		if s.foreign[f.Name] || u != nil && u.file != nil && !bytes.Equal(u.file, f.Text) {
			refused[f.Name] = &systemd.ForeignError{Unit: f.Name, Path: "/usr/lib/systemd/system/" + string(f.Name)}
		}
	}
	return refused, nil
}

func (s *machineSystemd) Write(_ context.Context, files []systemd.File) (map[unit.Name]error, error) {
	if err := s.call("write"); err != nil {
		return nil, err
	}
	for _, f := range files {
		u := s.get(f.Name)
		u.file = f.Text
		if u.loaded != nil { // a reload that follows at once
			u.loaded = f.Text
		}
	}
	return nil, nil
}

func (s *machineSystemd) Text(name unit.Name) ([]byte, error) {
	if u := s.units[name]; u != nil && u.file != nil {
		return u.file, nil
	}
	return nil, errNoFile
}

func (s *machineSystemd) Remove(name unit.Name) error {
	if err := s.call("remove"); err != nil {
		return err
	}
	if u := s.get(name); u.active == "inactive" {
		delete(s.units, name)
	} else {
		u.file = nil
	}
	return nil
}

func (s *machineSystemd) Enable(_ context.Context, names []unit.Name) error {
	return s.links("enable", names)
}

func (s *machineSystemd) Disable(_ context.Context, names []unit.Name) error {
	return s.links("disable", names)
}

func (s *machineSystemd) links(verb string, names []unit.Name) error {
	if len(names) == 0 {
		return nil
	}
	return s.call(verb)
}

func (s *machineSystemd) Reload(context.Context) error { return s.call("reload") }

func (s *machineSystemd) States(_ context.Context, names []unit.Name) (map[unit.Name]systemd.State, error) {
	if len(names) == 0 {
		return nil, nil
	}
	if err := s.call("states"); err != nil {
		return nil, err
	}
	out := make(map[unit.Name]systemd.State, len(names))
	for _, name := range names {
		u := s.units[name]
		if u == nil {
			u = &service{active: "inactive", sub: "dead"}
		}
		out[name] = u.state()
	}
	return out, nil
}

func (s *machineSystemd) Invocation(_ context.Context, name unit.Name) (string, error) {
	if err := s.call("invocation"); err != nil {
		return "", err
	}
	if u := s.units[name]; u != nil && u.loaded != nil {
		return u.invocation, nil
	}
	return "", nil
}

func (s *machineSystemd) LoadError(context.Context, unit.Name) (string, error) { return "", nil }

func (s *machineSystemd) Logs(context.Context, []unit.Name) (map[unit.Name]string, error) {
	return nil, s.call("logs")
}

func (s *machineSystemd) Watch(names ...unit.Name) {
	for _, name := range names {
		s.watched[name] = true
	}
}

func (s *machineSystemd) Unwatch(names ...unit.Name) {
	for _, name := range names {
		delete(s.watched, name)
		delete(s.changes.States, name)
	}
}

func (s *machineSystemd) Changed() <-chan struct{} { return s.changed }

func (s *machineSystemd) Take() systemd.Changes {
	out := s.changes
	s.changes = systemd.Changes{}
	return out
}
