package server

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

func (s *Server) putUnit(w http.ResponseWriter, r *http.Request, given string) error {
	if err := wantJSON(r); err != nil {
		return err
	}
	var in api.Unit
	if err := decodeBody(r, &in); err != nil {
		return err
	}
	name, target, err := checkPut(in, given)
	if err != nil {
		return err
	}
	if err := s.fresh(r.Context()); err != nil {
		return err
	}
	code, err := s.put(r.Context(), name, target, in)
	if err != nil {
		return s.failed(r.Context(), name, err)
	}
	w.WriteHeader(code)
	return nil
}

// put stores a unit, or changes what is wanted of it.
func (s *Server) put(ctx context.Context, name unit.Name, target unit.Target, in api.Unit) (code int, err error) {
	file, err := fileOf(name, in)
	if err != nil {
		return 0, invalid(err)
	}
	old, stored := s.cache.stored(name)
	switch {
	case file == nil && stored == nil:
		return 0, noFile(name)
	case file == nil && in.DesiredState == "":
		return 0, conflict("nothing to change: send the unit's desiredState, or its file")
	case file == nil && old.Target == target:
		return http.StatusNoContent, nil
	case file == nil:
		return s.setTarget(ctx, name, target)
	}
	code = http.StatusCreated
	if stored != nil && same(file, stored, in) {
		if in.DesiredState == "" || old.Target == target {
			return http.StatusNoContent, nil
		}
		// The file is written again with the new state: somebody may be
		// replacing it at this moment, and a unit must never be half one
		// request's and half the other's.
		code, file = http.StatusNoContent, stored
	} else if err := s.acceptable(name, file); err != nil {
		return 0, invalid(err)
	}
	if in.DesiredState == "" {
		target = "" // what is wanted of it may have changed since we looked
	}
	created, rev, err := s.opts.Registry.SubmitUnit(ctx, name, file.Text(), target)
	if err != nil {
		return 0, err
	}
	if created { // the one that was there was destroyed meanwhile
		code = http.StatusCreated
	}
	return code, s.seen(ctx, rev)
}

func (s *Server) setTarget(ctx context.Context, name unit.Name, target unit.Target) (code int, err error) {
	rev, err := s.opts.Registry.SetTarget(ctx, name, target)
	if errors.Is(err, registry.ErrNotFound) { // by now
		err = noFile(name)
	}
	if err != nil {
		return 0, err
	}
	return http.StatusNoContent, s.seen(ctx, rev)
}

// acceptable says what is wrong with a unit.
func (s *Server) acceptable(name unit.Name, file *unit.File) error {
	if err := unit.Validate(name, file); err != nil {
		return err
	}
	return s.cache.cycle(name, file)
}

// stored gives a unit and its file; nil if there is no such unit.
func (c *cache) stored(name unit.Name) (record.Unit, *unit.File) {
	c.mu.RLock()
	defer c.mu.RUnlock()
	u, exists := c.unit(name)
	if !exists {
		return u, nil
	}
	return u, c.file(u.File).File
}

func noFile(name unit.Name) error {
	return conflict("unit %s does not exist: send its text, or its options, to create it", name)
}

// checkPut checks what can be told without the cluster. A unit whose file comes
// without a desired state is to be inactive: fleet 1.0's fleetctl relies on it.
func checkPut(in api.Unit, given string) (unit.Name, unit.Target, error) {
	name, err := unit.ParseName(given)
	if err != nil {
		return "", "", invalid(err)
	}
	if in.Name != "" && in.Name != name {
		return "", "", badRequest("the body is of unit %q, the URL of %q", in.Name, name)
	}
	target := unit.TargetInactive
	if in.DesiredState != "" {
		target, err = unit.ParseTarget(string(in.DesiredState))
	}
	if err != nil {
		return "", "", badRequest("%v", err)
	}
	if name.IsTemplate() && target != unit.TargetInactive {
		return "", "", badRequest("cannot activate template %s: load or start an instance of it, such as %s", name, instanceOf(name))
	}
	return name, target, nil
}

func instanceOf(template unit.Name) unit.Name {
	return unit.Name(strings.Replace(string(template), "@.", "@1.", 1))
}

// fileOf gives the unit file that a body brings; nil if it brings none.
func fileOf(name unit.Name, in api.Unit) (*unit.File, error) {
	if in.Text == "" {
		if len(in.Options) == 0 {
			return nil, nil
		}
		return unit.FromOptions(in.Options), nil
	}
	f, err := unit.Parse([]byte(in.Text))
	if err != nil {
		_, err = unit.ParseFor(name, []byte(in.Text)) // what else is wrong with it
		return nil, err
	}
	if len(in.Options) > 0 && !sameOptions(f.Options(), unit.FromOptions(in.Options).Options()) {
		return nil, errors.New("the body's text and its options say different things: send only one of them")
	}
	return f, nil
}

// same reports whether a file that is sent is the one that is stored. A client
// that sends options knows nothing of comments.
func same(sent, stored *unit.File, in api.Unit) bool {
	return sent.Hash() == stored.Hash() || in.Text == "" && sameOptions(sent.Options(), stored.Options())
}

func sameOptions(a, b []unit.Option) bool {
	return slices.EqualFunc(a, b, func(a, b unit.Option) bool {
		return a.Section == b.Section && a.Name == b.Name && a.Value == b.Value
	})
}

// invalid tells all that is wrong with a unit.
func invalid(err error) error {
	e := &api.Error{Code: http.StatusBadRequest, Message: err.Error()}
	var one unit.Problem
	var all unit.Problems
	if errors.As(err, &one) {
		all = unit.Problems{one}
	} else {
		errors.As(err, &all)
	}
	for _, p := range all {
		e.Problems = append(e.Problems, api.Problem{Line: p.Line, Option: p.Option, Message: p.Msg, Remedy: p.Remedy})
	}
	return e
}

// cycle refuses a unit that would have to be where it is only if it is there
// already.
func (c *cache) cycle(name unit.Name, file *unit.File) error {
	c.mu.RLock()
	defer c.mu.RUnlock()
	seen := map[unit.Name]bool{}
	var path []unit.Name
	var visit func(of unit.Name, f *unit.File) bool
	visit = func(of unit.Name, f *unit.File) bool {
		req, err := f.Requirements(of)
		if err != nil {
			return false
		}
		for _, leader := range req.MachineOf {
			if leader == name {
				path = append(path, of)
				return true
			}
			u, exists := c.unit(leader)
			if seen[leader] || !exists {
				continue
			}
			seen[leader] = true
			if visit(leader, c.file(u.File).File) {
				path = append(path, of)
				return true
			}
		}
		return false
	}
	if !visit(name, file) || len(path) == 1 {
		return nil // a unit that names itself is Validate's to refuse
	}
	slices.Reverse(path)
	text := ""
	for _, n := range path {
		text += string(n) + " → "
	}
	return unit.Problems{{
		Option: "[X-Fleet] MachineOf", Msg: "goes in a circle: " + text + string(name),
		Remedy: "take MachineOf out of one of these units: the others follow it",
	}}
}
