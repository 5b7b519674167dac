package api

import (
	"context"
	"crypto/sha1" //nolint:gosec // it is how fleet 1.0 names unit files, no more
	"encoding/hex"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/fleet-project/fleet/unit"
)

// A fleet 1.0 server is served as well as its API allows. It knows no watch,
// no texts, no explanation and no restart; its units carry their options, and
// its states what a host reported up to a second or so ago.

// fleet1Lag is how old a state may be that fleet 1.0 tells: its hosts look at
// their units once a second, and write what they saw to etcd.
const fleet1Lag = 2 * time.Second

// Fleet1Error says that the server is fleet 1.0 or older, which can't do what
// was asked.
type Fleet1Error struct {
	Endpoint string
	Lacks    string // what it can't do
	Remedy   string
}

func (e *Fleet1Error) Error() string {
	return fmt.Sprintf("the fleetd at %s is fleet 1.0 or older, which can't %s\n%s", e.Endpoint, e.Lacks, e.Remedy)
}

// fleet1 is what a client knows of a server that is fleet 1.0 or older.
type fleet1 struct {
	mu       sync.Mutex
	found    bool
	restarts map[unit.Name]uint64 // done by this client
	changed  chan struct{}        // closed, and replaced, when this client changed something
}

// isFleet1 reports whether the server is known to be fleet 1.0 or older.
func (c *Client) isFleet1() bool {
	c.old.mu.Lock()
	defer c.old.mu.Unlock()
	return c.old.found
}

// recognise learns from an answer what kind of server it is. fleet 1.0 and older
// name themselves, and answer a path that they don't know with an error that has
// no message; here every error has one.
func (c *Client) recognise(h http.Header, mute bool) {
	version, named := strings.CutPrefix(h.Get("Server"), "fleetd/")
	major, _, _ := strings.Cut(strings.TrimPrefix(version, "v"), ".")
	n, err := strconv.Atoi(major)
	if named && err == nil && n < 2 || mute {
		c.old.mu.Lock()
		c.old.found = true
		c.old.mu.Unlock()
	}
}

// next gives what is closed when this client changes something, and the
// restarts that it has done so far.
func (o *fleet1) next() (changed <-chan struct{}, restarts map[unit.Name]uint64) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed == nil {
		o.changed = make(chan struct{})
	}
	restarts = make(map[unit.Name]uint64, len(o.restarts))
	for name, n := range o.restarts {
		restarts[name] = n
	}
	return o.changed, restarts
}

// wake tells those who ask now and then that asking pays.
func (o *fleet1) wake() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.changed != nil {
		close(o.changed)
		o.changed = nil
	}
}

func (o *fleet1) restarted(name unit.Name) uint64 {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.restarts == nil {
		o.restarts = map[unit.Name]uint64{}
	}
	o.restarts[name]++
	return o.restarts[name]
}

// forFleet1 is a unit as fleet 1.0 reads it: by its options.
func forFleet1(u Unit) (Unit, error) {
	if u.Text == "" {
		return u, nil
	}
	f, err := unit.Parse([]byte(u.Text))
	if err != nil {
		return u, err
	}
	u.Options, u.Text = f.WrittenOptions(), ""
	return u, nil
}

// fleet1Hash is the hash by which fleet 1.0 knows a unit: of a file that it
// writes out of the options, section by section.
func fleet1Hash(options []unit.Option) unit.Hash {
	var sections []string
	lines := map[string]string{}
	for _, o := range options {
		if _, known := lines[o.Section]; !known {
			sections = append(sections, o.Section)
		}
		lines[o.Section] += o.Name + "=" + o.Value + "\n"
	}
	for i, s := range sections {
		sections[i] = "[" + s + "]\n" + lines[s]
	}
	sum := sha1.Sum([]byte(strings.Join(sections, "\n"))) //nolint:gosec // see above
	return unit.Hash(hex.EncodeToString(sum[:]))
}

// complete gives a unit of fleet 1.0 the hash that its states name.
func (u *Unit) complete() {
	if u.Hash == "" && len(u.Options) > 0 {
		u.Hash = fleet1Hash(u.Options)
	}
}

// fleet1Status sums up what fleet 1.0 says of a unit; u is nil if there is none.
func fleet1Status(name unit.Name, u *Unit, states []UnitState, addresses map[string]string, restarts uint64) UnitStatus {
	s := UnitStatus{Unit: name, Restart: restarts, Lag: fleet1Lag}
	if u == nil {
		// A host has the unit until it has stopped it.
		s.Destroying = len(states) > 0
	} else {
		f := unit.FromOptions(u.Options)
		req, _ := f.Requirements(name) // what fleet 1.0 took is read as far as it goes
		s.Exists, s.DesiredState, s.CurrentState, s.Hash = true, u.DesiredState, u.CurrentState, u.Hash
		s.Global, s.ServiceType, s.Options = req.Global, f.ServiceType(name), u.Options
	}
	for _, st := range states {
		s.States = append(s.States, MachineState{
			MachineID: st.MachineID, PrimaryIP: addresses[st.MachineID], Hash: st.Hash, Restart: restarts,
			Target: fleet1Done(s, st, u),
			SystemdState: unit.SystemdState{
				Load: st.SystemdLoadState, Active: st.SystemdActiveState, Sub: st.SystemdSubState,
			},
		})
		if s.Global && s.DesiredState.Wanted() { // its hosts place it themselves, and tell nobody
			s.Placements = append(s.Placements, Placement{
				MachineID: st.MachineID, PrimaryIP: addresses[st.MachineID], Target: s.DesiredState, Hash: s.Hash, Restart: restarts,
			})
		}
	}
	if u != nil && u.MachineID != "" {
		p := Placement{MachineID: u.MachineID, PrimaryIP: addresses[u.MachineID], Target: unit.TargetNone, Hash: s.Hash, Restart: restarts}
		if s.DesiredState.Wanted() {
			p.Target = s.DesiredState
		}
		s.Placements = append(s.Placements, p)
	}
	return s
}

// fleet1Done is what a host has carried out. fleet 1.0 calls a unit launched or
// loaded as soon as it has told systemd, so that one that is to be loaded counts
// only once systemd has it down; of global units it says nothing at all.
func fleet1Done(s UnitStatus, st UnitState, u *Unit) unit.Target {
	down := slices.Contains([]string{"inactive", "failed"}, st.SystemdActiveState)
	done := unit.TargetLaunched
	if u != nil && !s.Global && st.MachineID == u.MachineID {
		done = u.CurrentState
	} else if down {
		done = unit.TargetLoaded
		if s.Global && (st.SystemdActiveState == "failed" || s.ServiceType == "oneshot") {
			done = s.DesiredState
		}
	}
	if done == unit.TargetLoaded && !down {
		done = unit.TargetLaunched
	}
	return done
}

// restartFleet1 has a fleet 1.0 server stop a unit and start it again where it
// is. Who gives up waiting asked for a restart, not for a stop: the unit is told
// to start whatever happens on the way.
func (c *Client) restartFleet1(ctx context.Context, name unit.Name) (Restarted, error) {
	_, err := c.SetUnit(ctx, Unit{Name: name, DesiredState: unit.TargetLoaded})
	if refused := new(Error); errors.As(err, &refused) {
		return Restarted{}, err
	}
	if err == nil {
		err = c.awaitStopped(ctx, name)
	}
	if ctx.Err() != nil {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), lastWord)
		defer cancel()
		ctx = late
	}
	if _, startErr := c.SetUnit(ctx, Unit{Name: name, DesiredState: unit.TargetLaunched}); startErr != nil {
		err = errors.Join(err, fmt.Errorf("it may have been stopped, and could not be told to start again; try: fleetctl start %s: %w", name, startErr))
	}
	if err != nil {
		return Restarted{}, err
	}
	r := Restarted{Restart: c.old.restarted(name)}
	c.old.wake()
	return r, nil
}

// lastWord bounds a request that is made though nobody waits any more.
const lastWord = 5 * time.Second

// awaitStopped waits until no host has the unit launched.
func (c *Client) awaitStopped(ctx context.Context, name unit.Name) error {
	for {
		all, err := c.askFleet1(ctx, []unit.Name{name}, nil)
		if err != nil {
			return err
		}
		running := func(st MachineState) bool { return st.Target == unit.TargetLaunched }
		if !slices.ContainsFunc(all[name].States, running) {
			return nil
		}
		select {
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(pollFirst):
		}
	}
}
