package systemd

import (
	"context"
	"path/filepath"
	"slices"

	"github.com/fleet-project/fleet/unit"
)

// few is up to how many units are looked for one by one.
const few = 8

// plainTypes are the types of units that are there only if they have a file, or
// are in systemd's memory.
var plainTypes = []string{"service", "socket", "timer", "path", "target"}

// vacant finds those of a few units that are surely not there: systemd has them not
// in memory, and none of its directories has a file for them. That spares systemd
// to look for them, before which it reads all its directories anew whenever one of
// them has changed: after every start.
func (c *Client) vacant(ctx context.Context, files []File) (map[unit.Name]bool, error) {
	if len(files) > few {
		return nil, nil
	}
	var path []string
	if err := c.managerProperty(ctx, "UnitPath", &path); err != nil {
		return nil, err
	}
	found := map[unit.Name]bool{}
	for _, f := range files {
		if !slices.Contains(plainTypes, f.Name.Type()) || slices.ContainsFunc(path, func(dir string) bool { return holds(dir, f.Name) }) {
			continue
		}
		_, err := c.call(ctx, "find", f.Name, "GetUnit", string(f.Name))
		switch {
		case notLoaded(err):
			found[f.Name] = true
		case err != nil:
			return nil, err
		}
	}
	return found, nil
}

// holds reports whether a directory has what systemd would make a unit of: a file,
// a link or a mask of its name, or its template's.
func holds(dir string, name unit.Name) bool {
	template, instance := name.Template()
	return exists(filepath.Join(dir, string(name))) || instance && exists(filepath.Join(dir, string(template)))
}
