package faults

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
)

// etcdRows are faults of etcd.
var etcdRows = []row{
	{
		name:     "member-lost",
		fault:    "the leading etcd member loses its data, the only one that fleetd on its host is told of (the default)",
		promised: "no unit is touched, and units can be started meanwhile; fleetd etcd replace makes the host a member again",
		some:     true,
		run:      memberLost,
	},
	{
		name:     "member-lost-restarted",
		fault:    "the same, and with the stock agent_ttl; fleetd on that host is killed, restarted, and reads its configuration anew meanwhile",
		promised: "the same: a fleetd remembers what an earlier one has learned of etcd's members",
		run:      memberLostRestarted,
	},
	{
		name:     "quorum-lost",
		fault:    "two of three etcd members are killed, and come back after 90 s",
		promised: "nothing stops and nothing moves, but units with Isolation=stop stop, and go on on their own hosts",
		limit:    5 * time.Minute,
		run:      quorumLost,
	},
	{
		name:     "etcd-restored",
		fault:    "all etcd data is lost, and restored from a snapshot that knows nothing of the last moves, starts and destroys",
		promised: "what runs stays as it is, where it is; what was handed in since is left alone, and is the cluster's again as soon as it is handed in again; what was destroyed since comes back",
		wrecks:   true,
		limit:    5 * time.Minute,
		run:      etcdRestored,
	},
	{
		name:     "etcd-full",
		fault:    "etcd's quota is full (alarm NOSPACE) for three agent_ttl (of 12 s)",
		promised: "no unit is touched; fleetctl and fleetd say that fleetd etcd free helps, and after that units can be started again",
		wrecks:   true,
		run:      etcdFull,
	},
	{
		name:     "etcd-compacted",
		fault:    "the leader's host is cut off from etcd, and what happened meanwhile is compacted away when it is back",
		promised: "it reads everything anew: what it was to start, it starts; nothing else is touched",
		some:     true,
		run:      etcdCompacted,
	},
}

// killEtcd ends etcd on a host from one moment to the next, for good.
func (s *scene) killEtcd(h *platform.Host) {
	s.t.Helper()
	s.run(h, "systemctl kill --signal=SIGKILL etcd2.service; systemctl stop etcd2.service")
}

// loseEtcd kills it, and takes its data away.
func (s *scene) loseEtcd(h *platform.Host) {
	s.t.Helper()
	s.killEtcd(h)
	s.run(h, "rm -r /var/lib/etcd2/*")
}

// etcd asks etcd on a host by HTTP.
func (s *scene) etcd(h *platform.Host, path, request string, answer any) {
	s.t.Helper()
	out := s.run(h, fmt.Sprintf("curl -sf http://127.0.0.1:2379/v3/%s -d '%s'", path, request))
	if err := json.Unmarshal([]byte(out), answer); err != nil {
		s.t.Fatalf("etcd's %s: %v: %s", path, err, out)
	}
}

// etcdLeader is the host whose etcd leads.
func (s *scene) etcdLeader() *platform.Host {
	s.t.Helper()
	for _, h := range s.Hosts {
		var status struct {
			Header struct {
				Member string `json:"member_id"`
			}
			Leader string
		}
		s.etcd(h, "maintenance/status", "{}", &status)
		if status.Leader == status.Header.Member {
			return h
		}
	}
	s.t.Fatal("no etcd member leads")
	return nil
}

func memberLost(s *scene) { losesMember(s, cutTTL, func(*platform.Host) {}) }

func memberLostRestarted(s *scene) {
	// A fleetd that begins must ask its own etcd first: with the stock agent_ttl that
	// is in time for units with Isolation=stop.
	losesMember(s, 30*time.Second, func(h *platform.Host) {
		killed := s.fleetd(h)
		s.run(h, "kill -KILL "+killed)
		s.await("another fleetd", func() (bool, string) {
			now := s.fleetd(h)
			return now != "0" && now != killed, now
		})
		s.awaitJoined(h)
		s.run(h, "systemctl restart fleet.service")
		s.awaitJoined(h)
		s.run(h, "systemctl reload fleet.service")
	})
}

// losesMember takes a member's data away, and does something more meanwhile.
func losesMember(s *scene, ttl time.Duration, meanwhile func(*platform.Host)) {
	s.ttl(ttl)
	s.start("w", 12, Witness())
	s.start("never-twice", 6, Witness("Isolation=stop"))
	h := s.etcdLeader()
	s.beginLeases()
	s.loseEtcd(h)
	s.awaitSaid(h, "asking its other members")
	meanwhile(h)
	s.startMore(9)
	s.pass(ttl) // by which a lease that isn't renewed has ended
	s.replaceMember(h)
	s.awaitSaid(h, "again: asking there")
	s.expect(s.account(), want{})
	s.noLeaseEnded()
}

// replaceMember makes a host a member again whose etcd has lost its data.
func (s *scene) replaceMember(h *platform.Host) {
	s.t.Helper()
	s.run(h, "systemctl start etcd2.service || true")
	s.await("etcd to refuse to start without its data", func() (bool, string) {
		is := s.run(h, "systemctl show -P ExecMainStatus etcd2.service")
		return is == "78", is
	})
	log := s.run(h, "journalctl -o cat -u etcd2.service -n 20")
	if !strings.Contains(log, "fleetd etcd replace") {
		s.t.Errorf("etcd2 doesn't say what to do:\n%s", log)
	}
	s.run(h, "fleetd etcd replace")
}

func quorumLost(s *scene) {
	s.start("w", 12, Witness())
	once := s.start("never-twice", 6, Witness("Isolation=stop"))
	s.begin()
	s.must(s.Everywhere(func(h *platform.Host) error {
		if h == s.Hosts[2] {
			return nil
		}
		_, err := h.Run(s.ctx, "sh", "-ec", "systemctl kill --signal=SIGKILL etcd2.service; systemctl stop etcd2.service")
		return err
	}))
	s.pass(90 * time.Second)
	for _, h := range s.Hosts[:2] {
		s.run(h, "systemctl start etcd2.service")
	}
	a := s.account()
	s.expect(a, want{restarted: len(once)})
	for _, life := range a.Restarted {
		if !slices.Contains(once, life.Unit) {
			s.t.Errorf("it was to run on: %s", life)
		}
	}
	s.seen.Note = fmt.Sprintf("%d units have Isolation=stop", len(once))
	seen := s.seen
	s.stays(s.Hosts[0], want{restarted: len(once)})
	s.seen = seen
}

func etcdRestored(s *scene) {
	s.start("w", 9, Witness())
	gone := s.start("gone", 3, Witness())
	s.submit("later", Witness())
	later := instances("later", 3)
	s.fleetctl(append([]string{"load"}, later...)...)
	first := s.Hosts[0]
	s.run(first, "fleetd etcd snapshot /root/etcd.db")

	// What the snapshot doesn't know.
	s.fleetctl(append([]string{"start"}, later...)...)
	s.fleetctl(append([]string{"destroy"}, gone...)...)
	s.units = append(slices.DeleteFunc(s.units, func(u string) bool { return slices.Contains(gone, u) }), later...)
	s.settle()
	since := s.start("since", 3, Witness())
	s.run(s.Hosts[2], "systemctl stop fleet.service") // hands its units over
	s.settle()
	s.run(s.Hosts[2], "systemctl start fleet.service")
	s.awaitJoined(s.Hosts[2])
	if on := s.on(s.Hosts[2]); len(on) != 0 {
		s.t.Fatalf("%v didn't move: that tests nothing", on)
	}

	s.begin()
	for _, h := range s.Hosts {
		s.loseEtcd(h)
	}
	s.pass(2 * agentTTL)
	s.run(first, "systemd-run --quiet --unit=restore -p StandardOutput=append:/root/restore -p StandardError=append:/root/restore fleetd etcd restore /root/etcd.db")
	s.await("etcd to run again, alone", func() (bool, string) {
		out := s.run(first, "cat /root/restore")
		return strings.Contains(out, "etcd runs on this host, alone"), out
	})
	for _, h := range s.Hosts[1:] {
		s.run(h, "fleetd etcd replace --add")
	}
	s.await("fleet to go on", func() (bool, string) {
		out := s.run(first, "cat /root/restore")
		return strings.Contains(out, "fleet goes on"), out
	})
	log := s.run(first, "cat /root/restore")
	for what, units := range map[string][]string{"had them stopped": later, "never heard of them": since, "started now": gone} {
		for _, unit := range units {
			if i := strings.Index(log, what); i < 0 || !strings.Contains(log[i:], unit) {
				s.t.Errorf("the restore doesn't say of %s %q:\n%s", unit, what, log)
			}
		}
	}
	_, err := first.Run(s.ctx, inUnits(append([]string{"fleetctl", "start"}, since...))...)
	s.must(err)
	s.expect(s.account(), want{})
	seen := s.seen
	s.units = append(s.units, gone...)
	s.settle()
	s.seen = seen
	s.seen.Note = fmt.Sprintf("%d had been destroyed since, and run again", len(gone))
}

func etcdFull(s *scene) {
	const quota = 32 << 20
	s.must(s.Everywhere(func(h *platform.Host) error {
		text := fmt.Sprintf("[Service]\nEnvironment=ETCD_QUOTA_BACKEND_BYTES=%d\n", quota)
		if err := h.WriteFile(s.ctx, "/etc/systemd/system/etcd2.service.d/50-quota.conf", platform.File{Content: text}); err != nil {
			return err
		}
		_, err := h.Run(s.ctx, "sh", "-ec", "systemctl daemon-reload; systemctl restart etcd2.service")
		return err
	}))
	s.ttl(cutTTL)
	s.start("w", 12, Witness())
	s.start("never-twice", 6, Witness("Isolation=stop"))
	s.submit("refused", Witness())
	s.beginLeases()
	first := s.Hosts[0]
	// The same key again and again: all but the last is history.
	s.run(first, `printf '{"key":"anVuaw==","value":"%s"}' "$(head -c 1000000 /dev/zero | base64 -w 0)" >/root/junk
for i in $(seq 200); do
	curl -s http://127.0.0.1:2379/v3/kv/put -d @/root/junk | grep -q 'space exceeded' && exit 0
done
exit 1`)
	_, err := s.Fleetctl(s.ctx, "start", "refused@1.service")
	if err == nil || !strings.Contains(err.Error(), "fleetd etcd free") {
		s.t.Errorf("fleetctl says of an etcd that is full: %v", err)
	}
	s.await("fleetd to say what helps", func() (bool, string) {
		says := s.status(first)
		return strings.Contains(says, "fleetd etcd free"), says
	})
	s.pass(3 * cutTTL)
	s.run(first, "fleetd etcd free")
	s.startMore(6)
	s.expect(s.account(), want{})
	s.noLeaseEnded()
	s.await("fleetd to say that all is well", func() (bool, string) {
		says := s.status(first)
		return !strings.Contains(says, "stays as it is"), says
	})
}

func etcdCompacted(s *scene) {
	s.ttl(30 * time.Second)
	s.start("w", 12, Witness())
	h := s.leader()
	other := s.others(h)[0]
	s.submit("more", Witness())
	more := instances("more", 9)
	s.begin()
	s.must(h.CutOff(s.ctx))
	s.killEtcd(h)
	s.await("the others to take units", func() (bool, string) {
		_, err := other.Run(s.ctx, append([]string{"fleetctl", "start", "--no-block"}, more...)...)
		return err == nil, fmt.Sprint(err)
	})
	s.await("all of them to be placed", func() (bool, string) {
		out, err := other.Run(s.ctx, "fleetctl", "list-unit-files", "--no-legend", "--full", "--fields", "tmachine,unit")
		placed := 0
		for line := range strings.Lines(out) {
			if f := strings.Fields(line); len(f) == 2 && f[0] != "-" && slices.Contains(more, f[1]) {
				placed++
			}
		}
		return err == nil && placed == len(more), out
	})
	var now struct {
		Header struct{ Revision string }
	}
	s.etcd(other, "kv/range", `{"key":"Lw=="}`, &now)
	s.etcd(other, "kv/compaction", fmt.Sprintf(`{"revision":%s,"physical":true}`, now.Header.Revision), &struct{}{})
	s.must(h.Rejoin(s.ctx))
	s.run(h, "systemctl start etcd2.service")
	s.units = append(s.units, more...)
	s.expect(s.account(), want{})
	out, err := h.Run(s.ctx, "curl", "-sf", "--unix-socket", "/run/fleet.sock", "http://fleet/metrics")
	s.must(err)
	if !strings.Contains(out, `fleet_registry_watch_restarts_total{reason="compacted"}`) || strings.Contains(out, `fleet_registry_watch_restarts_total{reason="compacted"} 0`) {
		s.t.Error("no watch was compacted: that tests nothing")
	}
	if on := len(s.on(h)); on == 0 {
		s.t.Error("nothing runs on that host")
	}
}
