package faults

import (
	"github.com/fleet-project/fleet/functional/platform"
)

// hostRows are faults of whole hosts.
var hostRows = []row{
	{
		name:     "host-killed",
		fault:    "a host dies from one moment to the next",
		promised: "its units run elsewhere after agent_ttl, on all that are left; no other is touched; none comes back with the host",
		some:     true,
		run:      hostKilled,
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
	s.spread(a, theirs, s.Hosts[0], s.Hosts[2])
	s.must(lost.Start(s.ctx))
	s.must(s.AwaitMachines(s.ctx, 3))
	s.awaitSaid(lost, "joined the cluster")
	s.start("probe", 3, Witness())
	s.units = s.units[:12]
	s.expect(s.account(), want{moved: len(theirs)})
}

// spread wants the units that moved on all of some hosts, and on no other, none
// with more than one above its share.
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
