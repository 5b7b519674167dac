package cloudinit

import (
	"errors"

	"github.com/fleet-project/fleet/unit"
)

// unitFile checks a unit file inside of a config; at tells where its lines are.
func (r *reader) unitFile(text, path string, at func(line int) int) {
	_, err := unit.Parse([]byte(text))
	if err == nil {
		return
	}
	var all unit.Problems
	if !errors.As(err, &all) {
		r.problems.add(at(1), Error, "%s: %v", path, err)
	}
	for _, p := range all {
		line := max(p.Line, 1)
		p.Line = 0 // told in the config's own lines
		r.problems.add(at(line), Error, "%s: %v", path, p)
	}
}
