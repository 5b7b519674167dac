package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/fleet-project/fleet/unit"
)

// subject is a unit that the command line names.
type subject struct {
	name unit.Name
	// given is the argument as it was typed.
	given string
	// file is where the unit's own file would be on this host, template where
	// its template's would be ("" if it is no instance).
	file, template string
}

// subjects reads the arguments as units, each once: a path's base name is the
// unit's, and ".service" is added to a name without a type.
func subjects(args []string) ([]subject, error) {
	var all []subject
	seen := map[unit.Name]bool{}
	for _, arg := range args {
		dir, base := filepath.Split(arg)
		if base == "" {
			return nil, failf("%s is a directory: name unit files, such as %s*.service", arg, arg)
		}
		name, err := unit.ParseName(unit.WithDefaultType(base))
		if err != nil {
			return nil, failf("%v", err)
		}
		if seen[name] {
			continue
		}
		seen[name] = true
		s := subject{name: name, given: arg, file: filepath.Join(dir, string(name))}
		if t, ok := name.Template(); ok {
			s.template = filepath.Join(dir, string(t))
		}
		all = append(all, s)
	}
	return all, nil
}

// namesOf gives the units' names.
func namesOf(all []subject) []unit.Name {
	out := make([]unit.Name, len(all))
	for i, s := range all {
		out[i] = s.name
	}
	return out
}

// expand replaces each quoted glob by the units of the registry that it matches
// and that fit the command.
func (c *cli) expand(ctx context.Context, args []string, fits func(unit.Name) bool) ([]string, error) {
	if !slices.ContainsFunc(args, isGlob) {
		return args, nil
	}
	client, err := c.client(ctx)
	if err != nil {
		return nil, err
	}
	units, err := client.Units(ctx)
	if err != nil {
		return nil, err
	}
	var out []string
	for _, arg := range args {
		if !isGlob(arg) {
			out = append(out, arg)
			continue
		}
		for _, u := range units {
			plain, err := path.Match(arg, string(u.Name))
			if err != nil {
				return nil, failf("%s: the pattern is malformed", arg)
			}
			typed, err := path.Match(unit.WithDefaultType(arg), string(u.Name))
			if (plain || err == nil && typed) && fits(u.Name) {
				out = append(out, string(u.Name))
			}
		}
	}
	return out, nil
}

// isGlob reports whether an argument is a pattern rather than a unit: none of
// these characters can be in a unit's name.
func isGlob(arg string) bool { return strings.ContainsAny(filepath.Base(arg), "*?[") }

// readUnit reads a unit file; nil if there is none.
func readUnit(path string) (*localFile, error) {
	if path == "" {
		return nil, nil
	}
	info, err := os.Stat(path)
	if err == nil && info.IsDir() {
		return nil, nil
	}
	var text []byte
	if err == nil && info.Size() <= unit.MaxFileSize {
		text, err = os.ReadFile(path)
	}
	switch {
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, syscall.ENAMETOOLONG): // a unit's name may be longer than a file's
		return nil, nil
	case err != nil:
		return nil, failf("%v", err)
	case info.Size() > unit.MaxFileSize:
		return nil, failf("%s: has %d bytes; a unit file may have %d", path, info.Size(), unit.MaxFileSize)
	}
	return &localFile{path: path, text: text}, nil
}

// localFile is a unit file of this host.
type localFile struct {
	path string
	text []byte
}

// check gives all that is wrong with the file as the file of that unit, one
// problem a line; "" if nothing is.
func (f *localFile) check(name unit.Name) string {
	file, err := unit.ParseFor(name, f.text)
	var all unit.Problems
	var one unit.Problem
	switch {
	case err == nil && len(file.Options()) == 0:
		all = unit.Problems{{Msg: "the unit file is empty", Remedy: "write at least one section with an option"}}
	case err == nil:
		return ""
	case errors.As(err, &all):
	case errors.As(err, &one):
		all = unit.Problems{one}
	default:
		all = unit.Problems{{Msg: err.Error()}}
	}
	return all.InFile(f.path)
}

// notFound says that there is no such unit, and where it was looked for.
func (s subject) notFound() error {
	msg := fmt.Sprintf("Error creating units: unable to find Unit(%s) in Registry or on filesystem", s.name)
	info, err := os.Stat(s.given)
	switch {
	case err == nil && info.IsDir():
		msg += fmt.Sprintf(": %s is a directory: name the files in it", s.given)
	case err == nil && filepath.Base(s.given) != string(s.name):
		msg += fmt.Sprintf(": %s is no unit file's name: it must end in .service, .timer or another type of systemd's", s.given)
	case filepath.Base(s.given) == s.given:
	case s.template != "":
		msg += fmt.Sprintf(": there is neither %s nor %s", s.file, s.template)
	default:
		msg += fmt.Sprintf(": there is no file %s", s.file)
	}
	return failf("%s", msg)
}
