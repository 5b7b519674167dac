package faults

import (
	"fmt"
	"strings"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
)

// processRows are faults of fleet's own processes.
var processRows = []row{
	{
		name:     "leader-killed",
		fault:    "the leading engine is killed (SIGKILL) while 100 units are being started",
		promised: "all 100 run, each started once; the command succeeds",
		some:     true,
		run:      leaderKilled,
	},
	{
		name:     "fleetd-killed",
		fault:    "every fleetd is killed (SIGKILL), at once, five times",
		promised: "no unit is touched",
		some:     true,
		run:      fleetdKilled,
	},
	{
		name:     "fleetd-hangs",
		fault:    "a fleetd does nothing any more (SIGSTOP), with the stock service file and agent_ttl",
		promised: "systemd's watchdog restarts it before agent_ttl; no unit is touched, but those with Isolation=stop may be stopped and started again",
		run:      func(s *scene) { s.fleetdHangs(30 * time.Second) },
	},
	{
		name:     "fleetd-hangs-short-ttl",
		fault:    "the same with an agent_ttl of 12 s, the shortest for which that can be promised",
		promised: "the same, for fleetd has made systemd's watchdog shorter",
		run:      func(s *scene) { s.fleetdHangs(12 * time.Second) },
	},
	{
		name:  "fleetd-stopped",
		fault: "a fleetd does nothing for three agent_ttl (of 12 s; SIGSTOP, no watchdog) and goes on (SIGCONT)",
		promised: "its host counts as lost: its units run elsewhere agent_ttl later, twice until it goes on, when it stops them at once; " +
			"those with Isolation=stop never run twice; nothing else is touched",
		some: true,
		run:  fleetdStopped,
	},
}

func leaderKilled(s *scene) {
	const n = 100
	s.submit("w", Witness())
	s.units = instances("w", n)
	leads := s.leader()
	pid := s.fleetd(leads)
	s.begin()
	started := make(chan error, 1)
	go func() {
		_, err := s.others(leads)[0].Run(s.ctx, inUnits(append([]string{"fleetctl", "start"}, s.units...))...)
		started <- err
	}()
	s.await("the first units to run", func() (bool, string) { return s.begun() >= 5, fmt.Sprint(s.begun()) })
	s.run(leads, "kill -KILL "+pid)
	at := s.begun()
	if at == n {
		s.t.Errorf("all %d units ran when the leader was killed: that tests nothing", n)
	}
	if err := <-started; err != nil {
		s.t.Error(err)
	}
	s.expect(s.account(), want{})
	s.seen.Note = fmt.Sprintf("killed with %d of %d begun", at, n)
	if again := s.fleetd(leads); again == pid {
		s.t.Errorf("fleetd is still process %s: it was not killed", pid)
	}
}

// begun counts the units of which a run has begun.
func (s *scene) begun() int {
	s.t.Helper()
	l, n := s.ledger(), 0
	for _, unit := range s.units {
		if len(l.Lives(unit)) > 0 {
			n++
		}
	}
	return n
}

func fleetdKilled(s *scene) {
	s.ttl(cutTTL)
	s.start("w", 12, Witness())
	s.start("never-twice", 6, Witness("Isolation=stop"))
	s.begin()
	for range 5 {
		was := map[*platform.Host]string{}
		for _, h := range s.Hosts {
			was[h] = s.fleetd(h)
		}
		s.must(s.Everywhere(func(h *platform.Host) error {
			_, err := h.Run(s.ctx, "kill", "-KILL", was[h])
			return err
		}))
		for _, h := range s.Hosts {
			s.await("another fleetd", func() (bool, string) {
				pid := s.fleetd(h)
				return pid != "0" && pid != was[h], pid
			})
			s.awaitJoined(h)
		}
	}
	s.expect(s.account(), want{})
}

func (s *scene) fleetdHangs(ttl time.Duration) {
	s.ttl(ttl)
	s.start("w", 12, Witness())
	s.start("never-twice", 6, Witness("Isolation=stop"))
	h := s.Hosts[1]
	pid := s.fleetd(h)
	s.begin()
	s.run(h, "kill -STOP "+pid)
	s.await("systemd to start another fleetd", func() (bool, string) {
		now := s.fleetd(h)
		return now != "0" && now != pid, now
	})
	s.awaitJoined(h)
	again := s.now().Sub(s.began)
	if log := s.log(h); !strings.Contains(log, "the lease of an earlier fleetd") {
		s.t.Errorf("the lease had run out:\n%s", log)
	}
	a := s.account()
	s.expect(a, want{restarted: s.seen.Restarted})
	for _, life := range a.Restarted {
		if !strings.HasPrefix(life.Unit, "never-twice") {
			s.t.Errorf("%s was restarted", life.Unit)
		}
	}
	s.seen.Note = fmt.Sprintf("it was back after %.1f s", again.Seconds())
}

func fleetdStopped(s *scene) {
	s.ttl(cutTTL)
	h := s.Hosts[1]
	const dropIn = "/run/systemd/system/fleet.service.d/50-no-watchdog.conf"
	s.must(h.WriteFile(s.ctx, dropIn, platform.File{Content: "[Service]\nWatchdogSec=0\n"}))
	s.run(h, "systemctl daemon-reload; systemctl restart fleet.service")
	s.after(func() { s.run(h, "rm "+dropIn+"; systemctl daemon-reload; systemctl restart fleet.service") })
	s.awaitJoined(h)
	s.start("w", 12, Witness())
	theirs := s.on(h)
	s.start("never-twice", 6, Witness("Isolation=stop"))
	both := s.on(h)
	if len(both) == len(theirs) {
		s.t.Fatalf("none of %v has Isolation=stop: that tests nothing", both)
	}
	pid := s.fleetd(h)
	s.begin()
	goesOn := s.cut(h)
	s.run(h, "kill -STOP "+pid)
	s.pass(3 * cutTTL)
	goesOn()
	s.run(h, "kill -CONT "+pid)
	a := s.account()
	s.expect(a, want{moved: len(both), apart: len(theirs)})
	for _, d := range a.Doubles {
		if strings.HasPrefix(d.A.Unit, "never-twice") {
			s.t.Error(d)
		}
	}
	if now := s.fleetd(h); now != pid {
		s.t.Errorf("fleetd was process %s, is %s: it was to be the same", pid, now)
	}
	seen := s.seen
	s.stays(h, want{moved: len(both), apart: len(theirs)})
	s.seen = seen
}
