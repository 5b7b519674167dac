package server

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"mime"
	"net/http"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
)

func (s *Server) putUnit(w http.ResponseWriter, r *http.Request, given string) error {
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
	c := s.cache
	c.mu.RLock()
	old, exists := c.unit(name)
	var stored *unit.File
	if exists {
		stored = c.file(old.File)
	}
	c.mu.RUnlock()

	file, err := fileOf(name, in)
	if err != nil {
		return 0, invalid(err)
	}
	if file != nil && exists && same(file, stored, in) {
		file = nil // nothing new in it
	}
	if file == nil {
		if !exists {
			return 0, &api.Error{Code: http.StatusConflict, Message: "unit " + string(name) + " does not exist: send its text, or its options, to create it"}
		}
		switch {
		case in.DesiredState == "" && in.Text == "" && len(in.Options) == 0:
			return 0, &api.Error{Code: http.StatusConflict, Message: "nothing to change: send the unit's desiredState, or its file"}
		case in.DesiredState == "", old.Target == target:
			return http.StatusNoContent, nil
		}
		rev, err := s.opts.Registry.SetTarget(ctx, name, target)
		if err != nil {
			return 0, err
		}
		return http.StatusNoContent, s.seen(ctx, rev)
	}
	if err := unit.Validate(name, file); err != nil {
		return 0, invalid(err)
	}
	c.mu.RLock()
	err = c.cycle(name, file)
	c.mu.RUnlock()
	if err != nil {
		return 0, invalid(err)
	}
	_, rev, err := s.opts.Registry.SubmitUnit(ctx, name, file.Text(), target)
	if err != nil {
		return 0, err
	}
	return http.StatusCreated, s.seen(ctx, rev)
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
	if len(in.Options) > 0 && !sameOptions(f.Options(), in.Options) {
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
// already. The cache's lock must be held.
func (c *cache) cycle(name unit.Name, file *unit.File) error {
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
			if visit(leader, c.file(u.File)) {
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

// decodeBody reads a JSON body.
func decodeBody(r *http.Request, into any) error {
	if kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || kind != "application/json" {
		return &api.Error{Code: http.StatusUnsupportedMediaType, Message: "the body must be application/json"}
	}
	body, err := io.ReadAll(r.Body)
	var tooLarge *http.MaxBytesError
	switch {
	case errors.As(err, &tooLarge):
		return &api.Error{Code: http.StatusRequestEntityTooLarge, Message: "the body is larger than any unit may be"}
	case err != nil:
		return badRequest("reading the body: %v", err)
	case !utf8.Valid(body): // encoding/json would replace what isn't, and store that
		return badRequest("the body isn't UTF-8")
	}
	if err := json.Unmarshal(body, into); err != nil {
		return badRequest("the body isn't the JSON that is expected here: %v", err)
	}
	return nil
}
