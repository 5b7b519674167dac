package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/faults"
	"github.com/fleet-project/fleet/functional/platform"
	"github.com/fleet-project/fleet/unit"
)

const (
	// settling is how long the cluster has to become as it is wanted once there are
	// no faults any more: leases of dead hosts run out, etcd finds its leader.
	settling = time.Minute
	// resting is how long all are left alone before figures are taken: fleetd gives
	// memory back within 30 s of coming to rest, and dead processes' leases run out.
	resting = agentTTL + 15*time.Second
)

// mark is what was found at one mark.
type mark struct {
	after   time.Duration // of the soak
	units   int           // that were there, before all but the base set were destroyed
	tally   tally
	faults  int // so far
	settled time.Duration
	lost    int
	doubled int           // while both hosts were in touch
	apart   int           // while one wasn't, which is no promise broken
	longest time.Duration // how long that was at most
	figures figures
	wrong   []string
}

// mark has the cluster come to rest and looks at it.
func (s *soak) mark(ctx context.Context) (*mark, error) {
	m := &mark{tally: s.promises.tally(), faults: s.faultsNow()}
	s.mu.Lock()
	m.wrong, s.wrong = s.wrong, nil
	s.mu.Unlock()
	began := time.Now()
	if err := s.awaitWhole(ctx); err != nil {
		return nil, err
	}
	var p picture
	err := s.await(ctx, settling, func(ctx context.Context) error {
		var err error
		if p, err = s.look(ctx); err != nil {
			return err
		}
		return p.wrong()
	})
	m.settled = time.Since(began)
	if err != nil {
		m.wrong = append(m.wrong, err.Error())
		m.lost = len(p.lost())
		m.doubled = len(p.doubled())
	}
	m.units = len(p.units)
	m.wrong = append(m.wrong, s.promises.broken(p.units)...)
	if err := s.account(ctx, m); err != nil {
		return nil, err
	}
	if err := s.clear(ctx); err != nil {
		m.wrong = append(m.wrong, err.Error())
	}
	if err := s.compact(ctx, s.Hosts[0]); err != nil { // and once more later: pages come free one compaction after
		return nil, err
	}
	pause(ctx, resting)
	if m.figures, err = s.measure(ctx, len(s.marks)+1); err != nil {
		return nil, err
	}
	m.wrong = append(m.wrong, m.figures.wrong()...)
	s.since = now()
	return m, nil
}

// await asks until there is no error left.
func (s *soak) await(ctx context.Context, d time.Duration, ask func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, d)
	defer cancel()
	var last error
	if err := cluster.Await(ctx, "", func() (bool, string) {
		// What was found last counts, not that the time was over meanwhile.
		if err := ask(context.WithoutCancel(ctx)); err != nil {
			last = err
			return false, ""
		}
		return true, ""
	}); err != nil {
		return fmt.Errorf("for %s: %w", d, last)
	}
	return nil
}

// awaitWhole waits until hosts, members and machines are back.
func (s *soak) awaitWhole(ctx context.Context) error {
	return s.await(ctx, 2*time.Minute, func(ctx context.Context) error {
		for _, h := range s.Hosts {
			if state := h.State(); state != platform.Running {
				return fmt.Errorf("%s is %s", h.Name(), state)
			}
			if _, err := sh(ctx, h, "curl -sf -m 5 http://127.0.0.1:2379/health"); err != nil {
				return err
			}
			is, err := sh(ctx, h, "systemctl show -P StatusText fleet")
			if err != nil {
				return err
			}
			if !strings.HasPrefix(is, "joined as") {
				return fmt.Errorf("fleetd on %s: %s", h.Name(), is)
			}
			// It has its API awake, as at every mark.
			machines, err := sh(ctx, h, "fleetctl list-machines --no-legend --fields machine")
			if err != nil {
				return err
			}
			if len(strings.Fields(machines)) != len(s.Hosts) {
				return fmt.Errorf("fleetd on %s knows the machines %s", h.Name(), machines)
			}
		}
		return nil
	})
}

// account asks the witnesses what became of the units since the last mark.
func (s *soak) account(ctx context.Context, m *mark) error {
	at := now()
	pause(ctx, time.Second) // for what runs to have said so
	cuts, frozen := s.cutsNow()
	ledger, err := faults.Read(s.Hosts, cuts...)
	if err != nil {
		return err
	}
	var single []string
	for _, name := range append(names(bases), names(guests)...) {
		if !global(name) {
			single = append(single, string(name))
		}
	}
	for _, d := range ledger.Account(single, s.since, at).Doubles {
		s.detail("doubled: %s", d)
		switch {
		case d.InTouch > 0 || stopping(unit.Name(d.A.Unit)) && !within(d, frozen):
			m.doubled++
			m.wrong = append(m.wrong, "doubled: "+d.String())
		default:
			m.apart++
			m.longest = max(m.longest, d.Together)
		}
	}
	return nil
}

// within says whether two runs at a time were while one of their hosts was frozen
// or came to.
func within(d faults.Double, frozen []faults.Cut) bool {
	return slices.ContainsFunc(frozen, func(c faults.Cut) bool {
		from := max(d.A.Start, d.B.Start)
		return (c.Host == d.A.Host || c.Host == d.B.Host) && from >= c.From && from.Add(d.Together) <= c.To
	})
}

// clear destroys all but the base set, and returns when nothing of it is left,
// neither in etcd nor on the hosts.
func (s *soak) clear(ctx context.Context) error {
	s.do(ctx, s.Hosts[0], fleetctl("destroy", names(guests)))
	return s.await(ctx, settling, func(ctx context.Context) error {
		left, err := s.left(ctx)
		if err == nil && len(left) > 0 {
			err = fmt.Errorf("left over: %s", strings.Join(left, "; "))
		}
		return err
	})
}

// left is what there is in etcd and on the hosts beyond what the base set
// accounts for, or what there isn't.
func (s *soak) left(ctx context.Context) ([]string, error) {
	p, err := s.look(ctx)
	if err != nil {
		return nil, err
	}
	all, err := keys(ctx, s.Hosts[0])
	if err != nil {
		return nil, err
	}
	var left []string
	if d := p.wrong(); d != nil {
		left = append(left, d.Error())
	}
	rooms := map[string]int{}
	for key := range all {
		room, _, _ := strings.Cut(key, "/")
		rooms[room]++
	}
	for room, want := range p.accounted() {
		if rooms[room] != want {
			left = append(left, fmt.Sprintf("%d keys in %s, not %d", rooms[room], room, want))
		}
		delete(rooms, room)
	}
	for room, n := range rooms {
		left = append(left, fmt.Sprintf("%d keys in %s", n, room))
	}
	for _, h := range s.Hosts {
		// What fleet has a record of, what systemd knows, what lies in its directory.
		out, err := sh(ctx, h, "{ ls /run/fleet/units/ | sed 's/\\.json$//'; systemctl list-units --all --plain --no-legend '"+ours+
			"*' | awk '{print $1}'; ls /run/systemd/system/ | grep '^"+ours+"' || true; } | sort -u")
		if err != nil {
			return nil, err
		}
		for _, name := range strings.Fields(out) {
			if len(p.where[unit.Name(name)]) == 0 || !slices.Contains(p.where[unit.Name(name)], h.Name()) {
				left = append(left, fmt.Sprintf("%s on %s", name, h.Name()))
			}
		}
	}
	return left, nil
}
