package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/unit"
)

// picture is what etcd wants and what systemds run, at about one moment.
type picture struct {
	hosts int
	units map[unit.Name]stored
	where map[unit.Name][]string // the hosts that run a unit
}

// look takes one.
func (s *soak) look(ctx context.Context) (picture, error) {
	p := picture{hosts: len(s.Hosts), where: map[unit.Name][]string{}}
	all, err := keys(ctx, s.Hosts[0])
	if err != nil {
		return p, err
	}
	if p.units, err = unitsOf(all); err != nil {
		return p, err
	}
	for _, h := range s.Hosts {
		here, err := running(ctx, h)
		if err != nil {
			return p, err
		}
		for _, name := range here {
			p.where[name] = append(p.where[name], h.Name())
		}
	}
	return p, nil
}

// times is how often a unit must run.
func (p picture) times(name unit.Name) int {
	switch {
	case p.units[name].Target != unit.TargetLaunched:
		return 0
	case global(name):
		return p.hosts
	}
	return 1
}

// lost are the units that must run more often than they do, doubled those that
// run too often.
func (p picture) lost() []unit.Name {
	return p.that(func(name unit.Name) bool { return len(p.where[name]) < p.times(name) })
}

func (p picture) doubled() []unit.Name {
	return p.that(func(name unit.Name) bool { return len(p.where[name]) > max(p.times(name), 1) })
}

// that are the units, wanted or running, of which something holds.
func (p picture) that(holds func(unit.Name) bool) []unit.Name {
	all := map[unit.Name]bool{}
	for name := range p.units {
		all[name] = true
	}
	for name := range p.where {
		all[name] = true
	}
	return slices.DeleteFunc(slices.Sorted(maps.Keys(all)), func(name unit.Name) bool { return !holds(name) })
}

// wrong says what isn't as it is wanted.
func (p picture) wrong() error {
	var all []string
	for _, name := range p.that(func(name unit.Name) bool { return len(p.where[name]) != p.times(name) }) {
		target := p.units[name].Target
		if target == "" {
			target = "not there"
		}
		all = append(all, fmt.Sprintf("%s is %s and runs on %v", name, target, p.where[name]))
	}
	if len(all) == 0 {
		return nil
	}
	return errors.New(strings.Join(all, "; "))
}

// accounted is how many keys the base set accounts for, if it is all that there is, by
// room.
func (p picture) accounted() map[string]int {
	files, seats := map[unit.Hash]bool{}, 0
	for name, u := range p.units {
		files[u.File] = true
		seats += p.times(name)
	}
	return map[string]int{
		"cluster": 1, "files": len(files), "units": len(names(bases)), "schedule": seats, "states": seats,
		"machines": p.hosts, "leader": p.hosts, // each stands for election
	}
}
