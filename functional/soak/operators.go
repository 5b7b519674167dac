package main

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path"
	"strings"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
	"github.com/fleet-project/fleet/unit"
)

const (
	// operators work at the same time.
	operators = 4
	// patience is how long an operator waits for a command, which faults may hold
	// up, before he gives it up.
	patience = 15 * time.Second
)

// command is something that an operator does.
type command struct {
	units []unit.Name
	// becomes are the states that the units may have once it has succeeded; none:
	// it changes no state.
	becomes []unit.Target
	// text is what they get for a text if they have none or, if it replaces, in any
	// case; nil: it touches none.
	text     func(unit.Name) []byte
	replaces bool

	shell string // what is typed on a host
}

// operator is one of those who work on the cluster.
type operator struct {
	soak *soak
	rng  *rand.Rand
}

// work does one thing after the other until ctx ends. What is under way then is
// done first.
func (o *operator) work(ctx context.Context) {
	for ctx.Err() == nil {
		c := o.command()
		if h := o.host(); h != nil {
			o.soak.do(context.WithoutCancel(ctx), h, c)
		}
		pause(ctx, 300*time.Millisecond+rand.N(1200*time.Millisecond))
	}
}

// pause waits, but not longer than ctx.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// do carries a command out and notes what came of it.
func (s *soak) do(ctx context.Context, h *platform.Host, c command) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	began := time.Now()
	_, err := h.Run(ctx, "sh", "-ec", c.shell)
	s.promises.note(c, began, err)
	if err == nil {
		s.detail("%s, %.2f s: %s", h.Name(), time.Since(began).Seconds(), c.shell)
	} else {
		s.detail("%s, %.2f s: %v", h.Name(), time.Since(began).Seconds(), err)
	}
}

// host is any on which he can type, or nil.
func (o *operator) host() *platform.Host {
	if up := o.soak.typable(); len(up) > 0 {
		return pick(o.rng, up)
	}
	return nil
}

func pick[E any](rng *rand.Rand, from []E) E { return from[rng.IntN(len(from))] }

// command draws what is done next.
func (o *operator) command() command {
	one := []unit.Name{pick(o.rng, names(guests))}
	e := pick(o.rng, editions)
	switch n := o.rng.IntN(100); {
	case n < 14:
		return fleetctlFile("start", e, one)
	case n < 20:
		return fleetctlFile("start --no-block", e, o.some())
	case n < 24:
		return fleetctlFile("start --replace", e, one)
	case n < 28:
		return fleetctlFile("submit", e, one)
	case n < 32:
		return fleetctlFile("load", e, one)
	case n < 38:
		return fleetctl("stop", one)
	case n < 40:
		return fleetctl("unload", one)
	case n < 48:
		return fleetctl("destroy", one)
	case n < 51:
		return fleetctl("destroy --no-block", o.some())
	case n < 53:
		return fleetctl("restart", one)
	case n < 65:
		return put(one[0], unit.TargetLaunched, e)
	case n < 70:
		return put(one[0], pick(o.rng, []unit.Target{unit.TargetInactive, unit.TargetLoaded, unit.TargetLaunched}), e)
	case n < 77:
		return aim(one[0], pick(o.rng, []unit.Target{unit.TargetInactive, unit.TargetLoaded, unit.TargetLaunched}))
	case n < 85:
		return api("DELETE", one[0], "", command{becomes: []unit.Target{unit.TargetDestroyed}})
	case n < 90:
		return restart(pick(o.rng, append(names(guests), names(bases)...)))
	default:
		return command{shell: pick(o.rng, []string{
			"fleetctl list-units", "fleetctl list-unit-files -o json", "fleetctl list-machines",
			"fleetctl explain " + string(one[0]), "fleetctl cat " + string(one[0]),
			"timeout 3 fleetctl list-units --watch || [ $? = 124 ]",
			"curl -sf --unix-socket /run/fleet.sock http://fleet/metrics",
		})}
	}
}

// some are several guests in a row.
func (o *operator) some() []unit.Name {
	all := names(guests)
	from := o.rng.IntN(len(all))
	return all[from:min(len(all), from+2+o.rng.IntN(8))]
}

// fleetctlFile is a command that submits the files of units that aren't there.
func fleetctlFile(verb string, e edition, units []unit.Name) command {
	c := command{units: units, text: e.text, replaces: strings.Contains(verb, "--replace")}
	switch strings.Fields(verb)[0] {
	case "start":
		c.becomes = []unit.Target{unit.TargetLaunched}
	case "load": // what is launched stays so
		c.becomes = []unit.Target{unit.TargetLoaded, unit.TargetLaunched}
	default: // submit: what is there stays as it is
		c.becomes = []unit.Target{unit.TargetInactive, unit.TargetLoaded, unit.TargetLaunched}
	}
	c.shell = fmt.Sprintf("cd %s; fleetctl %s %s", e.dir(), verb, words(units))
	return c
}

// fleetctl is a command on units that are there; others are no failure.
func fleetctl(verb string, units []unit.Name) command {
	c := command{units: units, shell: fmt.Sprintf("cd /; fleetctl %s %s", verb, words(units))}
	switch strings.Fields(verb)[0] {
	case "stop":
		c.becomes = []unit.Target{unit.TargetLoaded, unit.TargetInactive, unit.TargetDestroyed}
	case "unload":
		c.becomes = []unit.Target{unit.TargetInactive, unit.TargetDestroyed}
	case "restart": // what is loaded is started
		c.becomes = []unit.Target{unit.TargetLaunched}
	case "destroy":
		c.becomes = []unit.Target{unit.TargetDestroyed}
	}
	return c
}

func words(units []unit.Name) string {
	all := make([]string, len(units))
	for i, u := range units {
		all[i] = string(u)
	}
	return strings.Join(all, " ")
}

// put creates or replaces a unit by the API.
func put(name unit.Name, target unit.Target, e edition) command {
	body, err := json.Marshal(map[string]any{"desiredState": target, "text": string(e.text(name))})
	if err != nil {
		panic(err) // strings always can
	}
	return api("PUT", name, string(body), command{becomes: []unit.Target{target}, text: e.text, replaces: true})
}

// aim changes by the API what is wanted of a unit that is there.
func aim(name unit.Name, target unit.Target) command {
	return api("PUT", name, fmt.Sprintf(`{"desiredState":%q}`, target), command{becomes: []unit.Target{target}})
}

// restart restarts a unit by the API.
func restart(name unit.Name) command {
	c := api("POST", name, "", command{})
	c.shell = strings.Replace(c.shell, string(name), path.Join(string(name), "restart"), 1)
	return c
}

// api is a request about a unit. What a body holds has no single quotes.
func api(method string, name unit.Name, body string, c command) command {
	c.units = []unit.Name{name}
	argv := []string{"curl -sf -m 10 --unix-socket /run/fleet.sock -X", method, "http://fleet/fleet/v1/units/" + string(name)}
	if body != "" {
		argv = append(argv, "-H 'Content-Type: application/json' -d '"+body+"'")
	}
	c.shell = strings.Join(argv, " ")
	return c
}
