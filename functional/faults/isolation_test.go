package faults

import (
	_ "embed"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// isolatedScript is a witness for units that must never run twice.
//
//go:embed isolation.sh
var isolatedScript string

const isolatedPath = "/usr/local/bin/isolated"

// isolationRuns are how often the units must move without an overlap; in make test
// one time is enough for each way of hanging.
const isolationRuns, someIsolationRuns = 20, 3

// isolationTTL gives what is killed, a tenth of it before the lease ends, the time to
// die on a busy machine; it is below what systemd's watchdog takes to restart a fleetd
// that does nothing, which is to lose its lease.
const isolationTTL = 8 * time.Second

var isolationRows = []row{
	{
		name:     "isolation",
		fault:    "a host with units that say Isolation=stop is cut off, in eight ways, one after the other",
		promised: "each has ended there, children and all, before it begins elsewhere: never two at one time",
		some:     true,
		limit:    8 * time.Minute,
		run:      isolation,
	},
}

// severance is a way in which a host loses its lease.
type severance struct {
	name  string
	begin func(s *scene, h *platform.Host)
	end   func(s *scene, h *platform.Host)
	// but is a unit that may overlap for a moment: docs/reliability.md says why.
	but string
}

// severances are all ways; those of make test come first.
var severances = []severance{
	{name: "cut off; fleetd killed, and unable to start", begin: func(s *scene, h *platform.Host) {
		s.run(h, "cp /etc/fleet/fleet.conf /root/fleet.conf; echo nonsense >/etc/fleet/fleet.conf")
		s.must(h.CutOff(s.ctx))
		s.run(h, "systemctl kill --signal=KILL fleet.service")
	}, end: func(s *scene, h *platform.Host) {
		s.run(h, "cp /root/fleet.conf /etc/fleet/fleet.conf")
		s.must(h.Rejoin(s.ctx))
	}},
	{name: "cut off; fleetd stopped by SIGSTOP, continued later", begin: func(s *scene, h *platform.Host) {
		s.must(h.CutOff(s.ctx))
		s.run(h, "systemctl kill --signal=STOP --kill-whom=main fleet.service")
	}, end: func(s *scene, h *platform.Host) {
		s.must(h.Rejoin(s.ctx))
		s.run(h, "systemctl kill --signal=CONT --kill-whom=main fleet.service")
	}},
	{name: "cut off; systemd hangs", begin: func(s *scene, h *platform.Host) {
		s.must(h.CutOff(s.ctx))
		s.must(h.Hang())
	}, end: func(s *scene, h *platform.Host) {
		s.must(h.Unhang())
		s.must(h.Rejoin(s.ctx))
	}, but: "never-after.service"},
	{name: "cut off", begin: func(s *scene, h *platform.Host) { s.must(h.CutOff(s.ctx)) }, end: func(s *scene, h *platform.Host) { s.must(h.Rejoin(s.ctx)) }},
	{name: "etcd alone is out of reach", begin: func(s *scene, h *platform.Host) { s.must(h.CutPorts(s.ctx, 2379, 2380)) }, end: func(s *scene, h *platform.Host) { s.must(h.Rejoin(s.ctx)) }},
	{name: "cut off; fleetd killed", begin: func(s *scene, h *platform.Host) {
		s.must(h.CutOff(s.ctx))
		s.run(h, "systemctl kill --signal=KILL fleet.service")
	}, end: func(s *scene, h *platform.Host) { s.must(h.Rejoin(s.ctx)) }},
	{name: "fleetd stopped by SIGSTOP", begin: func(s *scene, h *platform.Host) {
		s.run(h, "systemctl kill --signal=STOP --kill-whom=main fleet.service")
	}, end: func(s *scene, h *platform.Host) {
		s.run(h, "systemctl kill --signal=CONT --kill-whom=main fleet.service")
	}},
	{name: "cut off; etcd's leader killed meanwhile", begin: func(s *scene, h *platform.Host) {
		s.must(h.CutOff(s.ctx))
		for _, other := range s.Hosts {
			if other != h {
				s.run(other, "curl -s http://127.0.0.1:2379/metrics | grep -qx 'etcd_server_is_leader 1' && systemctl kill --signal=KILL etcd2.service || :")
			}
		}
	}, end: func(s *scene, h *platform.Host) { s.must(h.Rejoin(s.ctx)) }},
}

// isolated is the text of a unit of a kind. They all run on one machine. What
// systemd itself would give them to stop is longer than any of it.
func isolated(kind string) string {
	service := map[string]string{
		"parent": "KillMode=process\n",
		"after":  "ExecStopPost=" + isolatedPath + " %n after\n",
	}[kind]
	group := ""
	if kind != "quick" {
		group = "MachineOf=never-quick.service\n"
	}
	return fmt.Sprintf("[Service]\nExecStart=%s %%n %s\nTimeoutStopSec=5min\n%s\n[X-Fleet]\nIsolation=stop\n%s", isolatedPath, kind, service, group)
}

func isolation(s *scene) {
	s.ttl(isolationTTL)
	units := s.startIsolated()
	defer s.endIsolated(units)
	runs := isolationRuns
	if *chosen == "some" {
		runs = someIsolationRuns
	}
	least, where := time.Hour, ""
	for i := range runs {
		cut := severances[i%len(severances)]
		h := s.aloneOn(units, nil)
		if i == 0 {
			s.begin()
		}
		at := s.now()
		cut.begin(s, h)
		s.aloneOn(units, h)
		cut.end(s, h)
		s.must(s.AwaitMachines(s.ctx, len(s.Hosts)))
		if gap := s.apart(units, at, cut); gap < least {
			least, where = gap, cut.name
		}
	}
	s.aloneOn(units, nil)
	s.seen.Units, s.seen.Moved, s.seen.Converged, s.seen.Uncounted = len(units), runs*len(units), seconds(s.now().Sub(s.began)), true
	s.seen.Note = fmt.Sprintf("%d runs; least gap between the last sign of life on the host and the first elsewhere %.2f s (%s)", runs, least.Seconds(), where)
}

// startIsolated starts a unit of each kind.
func (s *scene) startIsolated() (units []string) {
	s.t.Helper()
	s.must(s.Everywhere(func(h *platform.Host) error {
		return h.WriteFile(s.ctx, isolatedPath, platform.File{Content: isolatedScript, Mode: 0o755})
	}))
	for _, kind := range []string{"quick", "slow", "deaf", "parent", "after"} {
		unit := "never-" + kind + ".service"
		s.file(unit, isolated(kind))
		units = append(units, unit)
	}
	_, err := s.Any().Run(s.ctx, inUnits(append([]string{"fleetctl", "start"}, units...))...)
	s.must(err)
	return units
}

// endIsolated takes them away. None would go for minutes by itself.
func (s *scene) endIsolated(units []string) {
	_, err := s.Fleetctl(s.ctx, append([]string{"destroy", "--no-block"}, units...)...)
	s.must(err)
	s.must(s.Everywhere(func(h *platform.Host) error {
		return cluster.Await(s.ctx, "the units' end on "+h.Name(), func() (bool, string) {
			// The brackets keep it from killing the shell that runs it.
			out, err := h.Run(s.ctx, "sh", "-c", "pkill -KILL -f '[/]"+isolatedPath[1:]+"'; ls /run/fleet/units/")
			return err == nil && out == "", fmt.Sprint(out, err)
		})
	}))
}

// aloneOn awaits that all units run on one host, which isn't but, and nowhere else.
func (s *scene) aloneOn(units []string, but *platform.Host) (on *platform.Host) {
	s.t.Helper()
	s.await("the units to run together on one host", func() (bool, string) {
		now := s.now() // before the disks are read, for that may take longer than a beat
		l := s.ledger()
		hosts := map[string]bool{}
		var saw []string
		for _, unit := range units {
			running := false
			for _, life := range l.Lives(unit) {
				if now.Sub(life.Last()) < beat {
					hosts[life.Host], running = true, true
					saw = append(saw, life.String())
				}
			}
			if !running {
				return false, unit + " doesn't run; " + strings.Join(saw, "; ")
			}
		}
		for name := range hosts {
			on = s.Platform.Host(name)
		}
		return len(hosts) == 1 && on != but, strings.Join(saw, "; ")
	})
	return on
}

// apart gives the shortest time that the units took, since a moment, from the last
// sign of life on a host to the first on another; no two may overlap.
func (s *scene) apart(units []string, since Moment, cut severance) time.Duration {
	s.t.Helper()
	least := time.Hour
	l := s.ledger()
	for _, unit := range units {
		lives := l.Lives(unit)
		for _, two := range overlaps(lives) {
			if two[1].Start >= since && unit != cut.but {
				s.seen.Doubled++
				s.t.Errorf("%s: %s, and %s", cut.name, two[0], two[1])
			}
		}
		for _, life := range lives {
			if gap, moved := cameAfter(lives, life); moved && life.Start >= since && unit != cut.but {
				least = min(least, gap)
				s.t.Logf("%s: %s began on %s %.2f s after the last of it elsewhere", cut.name, unit, life.Host, gap.Seconds())
			}
		}
	}
	return least
}

// overlaps are the pairs of runs that were on two hosts at one time.
func overlaps(lives []*Life) (pairs [][2]*Life) {
	for i, life := range lives { // in the order of their starts
		for _, other := range lives[:i] {
			if other.Host != life.Host && other.Last() >= life.Start {
				pairs = append(pairs, [2]*Life{other, life})
			}
		}
	}
	return pairs
}

// cameAfter is how long after the last sign of life on other hosts a run began, if
// it is the first there since.
func cameAfter(lives []*Life, life *Life) (gap time.Duration, moved bool) {
	i := slices.Index(lives, life)
	if i == 0 || lives[i-1].Host == life.Host {
		return 0, false
	}
	var last Moment
	for _, other := range lives[:i] {
		if other.Host != life.Host {
			last = max(last, other.Last())
		}
	}
	return life.Start.Sub(last), true
}
