package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
)

// mutation breaks a promise: in a file of the product's source, one text is
// replaced by another.
type mutation struct {
	name   string
	broken string // what is not done any more
	file   string
	was    string // exactly once in the file
	is     string
}

var mutations = []mutation{
	{
		name:   "fencing off",
		broken: "a deposed leader's writes are refused",
		file:   "registry/leader.go",
		was:    "	return []clientv3.Cmp{l.elected(), clientv3.Compare(clientv3.Version(l.term.key), \"=\", l.version)}\n",
		is:     "	return nil\n",
	},
	{
		name:   "grace off",
		broken: "a machine that is missing when a leader begins has agent_ttl to come back",
		file:   "engine/planner/planner.go",
		was:    "	until := p.now.Add(p.cfg.Grace)\n",
		is:     "	until := p.now\n",
	},
	{
		name:   "two-step move off",
		broken: "a unit is placed anew only when it has stopped where it was",
		file:   "engine/planner/consider.go",
		was:    "	case sit.blocked: // the acknowledgement wakes it\n",
		is:     "	case false:\n",
	},
	{
		name:   "adoption off",
		broken: "fleetd takes over what an earlier one has left",
		file:   "agent/agent.go",
		was:    "	a.core.restore(records)\n",
		is:     "	records = nil\n",
	},
	{
		name:   "missing is empty",
		broken: "a schedule key that merely vanishes stops nothing",
		file:   "agent/instruct.go",
		was:    "	h.want = nil\n",
		is:     "	h.want = &record.Spec{Target: unit.TargetNone}\n",
	},
	{
		name:   "lease by the wall",
		broken: "an agent knows its lease's end however its host's clock is set",
		file:   "agent/isolation.go",
		was:    "	renewed := a.opts.Presence.RenewedAt()\n",
		is:     "	renewed := a.opts.Presence.RenewedAt().Round(0)\n",
	},
}

// overlay writes what `go build -overlay` takes to build the mutant, into dir.
// It gives the line that is different.
func (m mutation) overlay(root, dir string) (path string, line int, err error) {
	file := filepath.Join(root, m.file)
	source, err := os.ReadFile(file)
	if err != nil {
		return "", 0, err
	}
	if n := bytes.Count(source, []byte(m.was)); n != 1 {
		return "", 0, fmt.Errorf("%s: what the mutation replaces is there %d times, and must be once: bring engine/simulation/mutants/mutations.go up to date with it:\n%s", m.file, n, m.was)
	}
	at := bytes.Index(source, []byte(m.was))
	mutant := bytes.Replace(source, []byte(m.was), []byte(m.is), 1)
	replacement := filepath.Join(dir, filepath.Base(m.file))
	if err := os.WriteFile(replacement, mutant, 0o644); err != nil {
		return "", 0, err
	}
	text, err := json.Marshal(map[string]map[string]string{"Replace": {file: replacement}})
	if err != nil {
		return "", 0, err
	}
	path = filepath.Join(dir, "overlay.json")
	return path, bytes.Count(source[:at], []byte("\n")) + 1, os.WriteFile(path, text, 0o644)
}
