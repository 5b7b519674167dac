package faults

import (
	"fmt"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
)

// hostRows are faults of whole hosts.
var hostRows = []row{
	{
		name:     "host-killed",
		fault:    "a host dies from one moment to the next",
		promised: "its units run elsewhere agent_ttl later, on all hosts that are left; nothing else is touched; none comes back with the host",
		some:     true,
		run:      hostKilled,
	},
	{
		name:     "host-powered-off",
		fault:    "a host is powered off",
		promised: "its units are handed over at once, long before agent_ttl: each starts elsewhere when it has stopped there; nothing else is touched",
		some:     true,
		run:      hostPoweredOff,
	},
	{
		name:     "host-rebooted",
		fault:    "a host is rebooted (systemctl reboot)",
		promised: "its units are handed over as at power-off, and stay where they went when it is back",
		run:      hostRebooted,
	},
	{
		name:     "host-reset",
		fault:    "a host loses power, and has booted again before agent_ttl",
		promised: "it keeps its units: they start anew there, and none moves",
		run:      hostReset,
	},
	{
		name:     "all-hosts-reset",
		fault:    "all three hosts lose power at once",
		promised: "every unit runs again, once, on its own host; none moves",
		run:      allHostsReset,
	},
	{
		name:     "host-frozen",
		fault:    "a host stands still for three agent_ttl (a stalled virtual machine) and goes on",
		promised: "its units run elsewhere agent_ttl later; when it goes on, it stops them at once",
		run:      hostFrozen,
	},
}

func hostKilled(s *scene) {
	s.start("w", 12, Witness())
	lost := s.Hosts[1]
	theirs := s.on(lost)
	s.begin()
	s.must(lost.Kill())
	a := s.account()
	s.expect(a, want{moved: len(theirs)})
	s.spread(a, theirs, s.others(lost)...)
	seen := s.seen
	s.must(lost.Start(s.ctx))
	s.stays(lost, want{moved: len(theirs)})
	s.seen = seen
}

// spread wants the units that moved on all of some hosts, none with more than one
// above its share, and on no other.
func (s *scene) spread(a *Account, moved []string, hosts ...*platform.Host) {
	s.t.Helper()
	count := map[string]int{}
	for _, life := range a.Moved {
		count[life.Host]++
	}
	for _, h := range hosts {
		if n := count[h.Name()]; n == 0 || n > len(moved)/len(hosts)+1 {
			s.t.Errorf("%d units moved: %v, not spread over the %d that are left", len(moved), count, len(hosts))
		}
	}
}

// stays wants nothing more to come of it that a host is back. Whatever the engine
// would do with the units, it does before it places another.
func (s *scene) stays(back *platform.Host, w want) {
	s.t.Helper()
	s.awaitJoined(back)
	s.must(s.AwaitMachines(s.ctx, len(s.Hosts)))
	units := s.units
	s.start("probe", len(s.Hosts), Witness())
	s.units = units
	s.expect(s.account(), w)
}

func hostPoweredOff(s *scene) {
	s.ttl(30 * time.Second)
	s.start("w", 12, Witness())
	off := s.Hosts[1]
	theirs := s.on(off)
	s.begin()
	s.must(off.PowerOff(s.ctx))
	a := s.account()
	s.handedOver(a, off, theirs)
	seen := s.seen
	s.must(off.Start(s.ctx))
	s.stays(off, want{moved: len(theirs)})
	s.seen = seen
}

// handedOver wants a host's units elsewhere, each begun when it had ended there,
// before the host's lease could have run out.
func (s *scene) handedOver(a *Account, from *platform.Host, theirs []string) {
	s.t.Helper()
	s.expect(a, want{moved: len(theirs)})
	s.spread(a, theirs, s.others(from)...)
	l := s.ledger()
	for _, unit := range theirs {
		lives := l.Lives(unit)
		if was := lives[len(lives)-2]; !was.Ended {
			s.t.Errorf("%s was not stopped: %s", unit, was)
		}
	}
	if took := a.Settled.Sub(a.From); took > 15*time.Second {
		s.t.Errorf("the units were handed over after %s: the host's lease may have run out by then", took)
	}
}

func hostRebooted(s *scene) {
	s.ttl(30 * time.Second)
	s.start("w", 12, Witness())
	h := s.Hosts[1]
	theirs, boot := s.on(h), h.BootID()
	s.begin()
	s.run(h, "systemctl reboot")
	s.await("the host to have booted again", func() (bool, string) {
		now := h.BootID()
		return now != "" && now != boot, now
	})
	s.await("its systemd to answer", func() (bool, string) {
		out, err := h.Run(s.ctx, "systemctl", "is-active", "fleet.service")
		return err == nil, out
	})
	a := s.account()
	s.handedOver(a, h, theirs)
	seen := s.seen
	s.stays(h, want{moved: len(theirs)})
	s.seen = seen
}

func hostReset(s *scene) {
	s.ttl(15 * time.Second)
	s.start("w", 12, Witness())
	h := s.Hosts[1]
	theirs := s.on(h)
	s.begin()
	s.must(h.Kill())
	s.must(h.Start(s.ctx))
	s.expect(s.account(), want{restarted: len(theirs)})
}

func allHostsReset(s *scene) {
	s.ttl(15 * time.Second)
	s.start("w", 12, Witness())
	s.begin()
	s.must(s.Everywhere((*platform.Host).Kill))
	s.must(s.Everywhere(func(h *platform.Host) error { return h.Start(s.ctx) }))
	s.must(s.AwaitMachines(s.ctx, len(s.Hosts)))
	s.expect(s.account(), want{restarted: 12})
}

func hostFrozen(s *scene) {
	s.start("w", 12, Witness())
	h := s.Hosts[1]
	theirs := s.on(h)
	s.begin()
	goesOn := s.cut(h)
	s.must(h.Freeze(s.ctx))
	s.pass(3 * agentTTL)
	goesOn()
	s.must(h.Thaw(s.ctx))
	for _, unit := range theirs {
		s.await(unit+" to be stopped where it stood still", func() (bool, string) {
			lives := s.ledger().Lives(unit)
			return lives[0].Ended, fmt.Sprint(lives)
		})
	}
	a := s.account()
	// How many wrote another line before they were stopped is a matter of luck.
	s.expect(a, want{moved: len(theirs), apart: s.seen.Apart})
	seen := s.seen
	s.stays(h, want{moved: len(theirs), apart: seen.Apart})
	s.seen = seen
}
