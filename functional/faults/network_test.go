package faults

import (
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
)

// networkRows are faults of the network between a host and the others.
var networkRows = []row{
	{
		name:     "partitioned",
		fault:    "a host is cut off from everything for three agent_ttl (of 12 s), then healed",
		promised: "its units run elsewhere agent_ttl later, and there as well until it is healed, but those with Isolation=stop never twice; then it stops its own at once",
		some:     true,
		run:      func(s *scene) { partitioned(s, func(h *platform.Host) error { return h.CutOff(s.ctx) }) },
	},
	{
		name:     "deaf",
		fault:    "a host hears nobody, but is heard, for three agent_ttl (of 12 s; asymmetric partition)",
		promised: "the same as when it is cut off both ways",
		run: func(s *scene) {
			partitioned(s, func(h *platform.Host) error { return h.CutOneWay(s.ctx, platform.Incoming) })
		},
	},
	{
		name:     "mute",
		fault:    "a host hears all, but nobody hears it, for three agent_ttl (of 12 s; asymmetric partition)",
		promised: "the same as when it is cut off both ways",
		run: func(s *scene) {
			partitioned(s, func(h *platform.Host) error { return h.CutOneWay(s.ctx, platform.Outgoing) })
		},
	},
	{
		name:     "lossy",
		fault:    "a host loses 30% of all packets, each way, for 90 s, with the stock agent_ttl",
		promised: "its lease holds: no unit is touched, and units can be started; but its own with Isolation=stop are stopped while no renewal has come through for two thirds of agent_ttl",
		limit:    5 * time.Minute,
		run:      lossy,
	},
	{
		name:     "slow-link",
		fault:    "a host's link carries 256 kbit/s, while 40 units of 8 KiB each are started on all hosts",
		promised: "all of them run, each started once; no other is touched; no lease ends",
		limit:    5 * time.Minute,
		run:      slowLink,
	},
	{
		name:     "slow-etcd",
		fault:    "etcd is behind a proxy that delays each answer by 500 ms, on all hosts, for 30 s, with the stock agent_ttl",
		promised: "no lease ends, though a request may take 1 s at most; no unit is touched, units can be started, and the same engine leads all the time",
		limit:    5 * time.Minute,
		run:      slowEtcd,
	},
}

// cutTTL is the shortest agent_ttl with which other hosts' leases are renewed in time
// for their units with Isolation=stop while etcd elects, for the host that is cut off
// may have led etcd, too; or while a fleetd starts anew.
const cutTTL = 12 * time.Second

// partitioned cuts the host off whose engine leads, in one way or another.
func partitioned(s *scene, cut func(*platform.Host) error) {
	s.ttl(cutTTL)
	s.start("w", 12, Witness())
	once := s.start("never-twice", 6, Witness("Isolation=stop"))
	h := s.leader()
	theirs := s.on(h)
	stops := 0
	for _, unit := range theirs {
		if slices.Contains(once, unit) {
			stops++
		}
	}
	if stops == 0 || stops == len(theirs) {
		s.t.Fatalf("%d of %v have Isolation=stop: that tests nothing", stops, theirs)
	}
	s.begin()
	healed := s.cut(h)
	s.must(cut(h))
	s.pass(3 * cutTTL)
	healed()
	s.must(h.Rejoin(s.ctx))
	a := s.account()
	s.expect(a, want{moved: len(theirs), apart: len(theirs) - stops})
	for _, d := range a.Doubles {
		if slices.Contains(once, d.A.Unit) {
			s.t.Errorf("a unit with Isolation=stop ran twice: %s", d)
		}
	}
	s.spread(a, theirs, s.others(h)...)
	seen := s.seen
	seen.Note = fmt.Sprintf("the host led; %d of its units have Isolation=stop", stops)
	s.stays(h, want{moved: len(theirs), apart: len(theirs) - stops})
	s.seen = seen
}

func lossy(s *scene) {
	s.ttl(30 * time.Second)
	s.start("w", 12, Witness())
	once := s.start("never-twice", 6, Witness("Isolation=stop"))
	h := s.Hosts[1]
	s.beginLeases()
	s.must(h.LosePackets(s.ctx, 30))
	s.pass(45 * time.Second)
	s.startMore(9)
	s.pass(45 * time.Second)
	s.must(h.Rejoin(s.ctx))
	a := s.account()
	s.expect(a, want{restarted: len(a.Restarted)})
	for _, life := range a.Restarted {
		if life.Host != h.Name() || !slices.Contains(once, life.Unit) {
			s.t.Errorf("it was to run on: %s", life)
		}
	}
	s.noLeaseEnded()
}

// startMore starts units in the midst of a fault, and awaits that they run, each once.
// What became of the others is another matter.
func (s *scene) startMore(n int) {
	s.t.Helper()
	units := s.units
	s.start("more", n, Witness())
	s.units = units
}

// beginLeases marks the fault's beginning, and how many leases have ended by then.
func (s *scene) beginLeases() {
	s.t.Helper()
	s.ended = s.sum("fleet_registry_lease_losses_total")
	s.begin()
}

// noLeaseEnded wants no host's lease to have ended since the fault began.
func (s *scene) noLeaseEnded() {
	s.t.Helper()
	if n := s.sum("fleet_registry_lease_losses_total") - s.ended; n != 0 {
		s.t.Errorf("%g leases ended", n)
	}
}

// sum adds a metric of fleetd's up over all hosts.
func (s *scene) sum(name string) (sum float64) {
	s.t.Helper()
	for _, h := range s.Hosts {
		out := s.run(h, "curl -sf --unix-socket /run/fleet.sock http://fleet/metrics | grep '^"+name+"' || true")
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			var v float64
			if _, err := fmt.Sscan(f[len(f)-1], &v); err != nil {
				s.t.Fatalf("%s: %q: %v", name, line, err)
			}
			sum += v
		}
	}
	return sum
}

func slowLink(s *scene) {
	s.start("w", 12, Witness())
	slow := s.Hosts[1]
	names := map[string]platform.File{}
	var argv []string
	for i := range 40 {
		name := fmt.Sprintf("large-%d.service", i)
		padding := fmt.Sprintf("# %s %d\n", strings.Repeat("x", 60), i)
		names["/root/units/"+name] = platform.File{Content: Witness() + strings.Repeat(padding, 8<<10/len(padding))}
		argv = append(argv, name)
	}
	s.must(s.Hosts[0].WriteFiles(s.ctx, names))
	s.beginLeases()
	s.must(slow.Slow(s.ctx, 256))
	_, err := s.Hosts[0].Run(s.ctx, inUnits(append([]string{"fleetctl", "start"}, argv...))...)
	s.must(err)
	s.units = append(s.units, argv...)
	a := s.account()
	s.expect(a, want{})
	s.noLeaseEnded()
	on := 0
	l := s.ledger()
	for _, unit := range argv {
		for _, life := range l.Lives(unit) {
			if life.Host == slow.Name() {
				on++
			}
		}
	}
	if on == 0 {
		s.t.Error("none of them runs on the host with the slow link")
	}
	s.seen.Note = fmt.Sprintf("%d of them on that host; all ran after %.1f s", on, seconds(a.Settled.Sub(a.From)))
	s.must(slow.Rejoin(s.ctx))
}

func slowEtcd(s *scene) {
	s.ttl(30 * time.Second)
	s.start("w", 12, Witness())
	s.start("never-twice", 6, Witness("Isolation=stop"))
	servers := map[*platform.Host]string{}
	for _, h := range s.Hosts {
		d, err := NewDelay(net.JoinHostPort(s.Platform.Gateway().String(), "0"), h.IP()+":2379", 500*time.Millisecond)
		s.must(err)
		s.t.Cleanup(d.Close)
		servers[h] = "http://" + d.Addr()
	}
	s.etcdServers(servers)
	s.beginLeases()
	leads := s.leader()
	s.pass(30 * time.Second)
	s.startMore(9)
	s.expect(s.account(), want{})
	s.noLeaseEnded()
	if now := s.leader(); now != leads {
		s.t.Errorf("%s led, and %s does", leads.Name(), now.Name())
	}
}

// etcdServers has fleetd on each host use another etcd for the row's time.
func (s *scene) etcdServers(servers map[*platform.Host]string) {
	s.t.Helper()
	s.setServers(servers)
	s.t.Cleanup(func() { s.setServers(nil) })
}

func (s *scene) setServers(servers map[*platform.Host]string) {
	s.t.Helper()
	s.must(s.Everywhere(func(h *platform.Host) error {
		line := ""
		if servers[h] != "" {
			line = fmt.Sprintf("; echo etcd_servers=%s >>/etc/fleet/fleet.conf", servers[h])
		}
		_, err := h.Run(s.ctx, "sh", "-ec", "sed -i /^etcd_servers=/d /etc/fleet/fleet.conf"+line+"; systemctl restart fleet.service")
		return err
	}))
	for _, h := range s.Hosts {
		s.awaitJoined(h)
	}
}
