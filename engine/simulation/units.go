package simulation

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/fleet-project/fleet/unit"
)

// text is a unit file, and what a unit with it does.
type text struct {
	raw  []byte
	does Behaviour
	req  string // its [X-Fleet] section
}

// kind is a group of units that are alike, by their names.
type kind struct {
	name    string   // with %d for the number
	options []string // of which one is its [X-Fleet] section
	weight  int
}

// kinds are what operators submit. A steady unit is started before the first
// fault, and no operator touches it afterwards.
var kinds = []kind{
	{"plain%d.service", []string{""}, 4},
	{"web@%d.service", []string{"", "Conflicts=web@*.service", "MachineMetadata=region=eu"}, 3},
	{"db%d.service", []string{"Conflicts=db*.service", "MachineMetadata=disk=ssd", "Isolation=stop\nConflicts=db*.service"}, 2},
	{"side%d.service", []string{"MachineOf=db%d.service", "MachineOf=db%d.service\nConflicts=side*.service"}, 2},
	{"new%d.service", []string{"Replaces=old%d.service", ""}, 1},
	{"old%d.service", []string{"", "Conflicts=new*.service"}, 1},
	{"iso%d.service", []string{"Isolation=stop"}, 2},
	{"global%d.service", []string{"Global=true", "Global=true\nMachineMetadata=region=eu"}, 2},
}

const (
	steadyPlain = "steady%d.service"
	steadyAlone = "alone%d.service" // Isolation=stop
)

// drawUnit draws a unit that operators have to do with.
func (w *world) drawUnit(r *rand.Rand) (unit.Name, kind) {
	sum := 0
	for _, k := range kinds {
		sum += k.weight
	}
	at := r.IntN(sum)
	for _, k := range kinds {
		if at -= k.weight; at < 0 {
			return unit.Name(fmt.Sprintf(k.name, r.IntN(max(1, w.plan.units/4)))), k
		}
	}
	panic("unreachable")
}

// drawText draws a text for a unit.
func (w *world) drawText(r *rand.Rand, k kind) text {
	x := k.options[r.IntN(len(k.options))]
	if strings.Contains(x, "%d") {
		x = strings.ReplaceAll(x, "%d", fmt.Sprint(r.IntN(max(1, w.plan.units/4))))
	}
	b := Behaviour{
		Start: time.Duration(r.IntN(200)) * time.Millisecond,
		Stop:  time.Duration(r.IntN(300)) * time.Millisecond, Simple: r.IntN(2) == 0,
	}
	switch r.IntN(12) {
	case 0:
		b.Stop = time.Duration(r.IntN(8)) * time.Second // slow to stop
	case 1:
		b.Life, b.Restarts = w.ttl, true // flaps
	case 2:
		b.Refuses = 50
	case 3:
		b.Start = time.Duration(r.IntN(8)) * time.Second
	}
	return w.text(x, b, r.IntN(2))
}

// text makes a unit file that behaves so.
func (w *world) text(options string, does Behaviour, version int) text {
	typ := "notify"
	if does.Simple {
		typ = "simple"
	}
	raw := fmt.Appendf(nil, "[Service]\nType=%s\nExecStart=/bin/true %d %d %d %d %v\n", typ, version, does.Start, does.Stop, does.Life, does.Refuses)
	if options != "" {
		raw = append(raw, "[X-Fleet]\n"+options+"\n"...)
	}
	t := text{raw: raw, does: does, req: options}
	w.texts[unit.HashOf(raw)] = t
	return t
}

// requirements are a unit's by its text.
func (t text) requirements(name unit.Name) unit.Requirements {
	f, err := unit.Parse(t.raw)
	if err != nil {
		panic(err)
	}
	req, err := f.Requirements(name)
	if err != nil {
		panic(fmt.Sprintf("%s: %v", name, err))
	}
	return req
}
