package main

import (
	"fmt"
	"path"
	"strings"

	"github.com/fleet-project/fleet/functional/faults"
	"github.com/fleet-project/fleet/functional/platform"
	"github.com/fleet-project/fleet/unit"
)

// ours is what the names of all units here begin with, on hosts that have others.
const ours = "soak-"

// A kind is units that are alike.
type kind struct {
	name    string // between ours and the number
	count   int
	options []string // of [X-Fleet]; %d is the number
}

func (k kind) unit(i int) unit.Name { return unit.Name(fmt.Sprintf("%s%s%d.service", ours, k.name, i)) }

// bases are there at every mark, and operators only ever restart them.
var bases = []kind{
	{name: "base-", count: 8},
	{name: "base-stop-", count: 2, options: []string{"Isolation=stop"}},
	{name: "base-global-", count: 1, options: []string{"Global=true"}},
	{name: "base@", count: 3, options: []string{"Conflicts=" + ours + "base@*.service"}},
}

// guests come and go. On three hosts all of them have a place.
var guests = []kind{
	{name: "guest-", count: 24},
	{name: "many@", count: 16},
	{name: "global-", count: 2, options: []string{"Global=true"}},
	{name: "apart-", count: 3, options: []string{"Conflicts=" + ours + "apart-*.service"}},
	{name: "stop-", count: 4, options: []string{"Isolation=stop"}},
	{name: "pinned-", count: 3, options: []string{"MachineMetadata=index=%d"}},
	{name: "follower-", count: 3, options: []string{"MachineOf=" + ours + "base-%d.service"}},
}

// names are the units of some kinds.
func names(kinds []kind) []unit.Name {
	var all []unit.Name
	for _, k := range kinds {
		for i := range k.count {
			all = append(all, k.unit(i))
		}
	}
	return all
}

// is says whether a unit is of a kind that has an option.
func is(name unit.Name, option string) bool {
	for _, kinds := range [][]kind{bases, guests} {
		for _, k := range kinds {
			for i := range k.count {
				if k.unit(i) == name {
					return strings.Contains(strings.Join(k.options, " "), option)
				}
			}
		}
	}
	return false
}

func global(name unit.Name) bool   { return is(name, "Global=true") }
func stopping(name unit.Name) bool { return is(name, "Isolation=stop") }

// edition is one of the texts that each unit has, for it to be replaced.
type edition string

var editions = []edition{"first", "second"}

// text is a unit's text.
func (e edition) text(name unit.Name) []byte {
	for _, kinds := range [][]kind{bases, guests} {
		for _, k := range kinds {
			for i := range k.count {
				if k.unit(i) == name {
					return e.textOf(k, i)
				}
			}
		}
	}
	panic("no text for " + name) // all names come from there
}

func (e edition) textOf(k kind, i int) []byte {
	var lines []string
	for _, o := range k.options {
		if strings.Contains(o, "%d") {
			o = fmt.Sprintf(o, i)
		}
		lines = append(lines, o)
	}
	return []byte("[Unit]\nDescription=a witness, " + string(e) + " edition\n\n" + faults.Witness(lines...))
}

// dir is where an edition's files lie on every host.
func (e edition) dir() string { return "/root/units/" + string(e) }

// files are what every host needs: the witness, and all units' texts.
func files() map[string]platform.File {
	all := faults.Files()
	for _, kinds := range [][]kind{bases, guests} {
		for _, k := range kinds {
			for i := range k.count {
				name := string(k.unit(i))
				if before, _, template := strings.Cut(name, "@"); template {
					name = before + "@.service"
				}
				for _, e := range editions {
					all[path.Join(e.dir(), name)] = platform.File{Content: string(e.textOf(k, i))}
				}
			}
		}
	}
	return all
}
