package faults

import (
	"fmt"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/functional/platform"
)

// systemRows are faults of what a host gives fleet to live on.
var systemRows = []row{
	{
		name:     "dbus-restarted",
		fault:    "the system's D-Bus daemon is restarted on every host",
		promised: "no unit is touched; fleet starts units as before, and is told what becomes of them",
		some:     true,
		run: func(s *scene) {
			s.underneath("systemctl restart dbus.service && systemctl is-active dbus.service")
		},
	},
	{
		name:     "systemd-reexecuted",
		fault:    "systemd is re-executed on every host (systemctl daemon-reexec)",
		promised: "no unit is touched; fleet starts units as before, and is told what becomes of them",
		some:     true,
		run:      func(s *scene) { s.underneath("systemctl daemon-reexec") },
	},
	{
		name:  "run-full",
		fault: "/run is full on a host, where fleet keeps what it did; meanwhile fleetd is killed, and later the host cut off until it is given up",
		promised: "no unit is touched before the host is cut off: then one with Isolation=stop is stopped in time, and the others run elsewhere, and are stopped on the host " +
			"when it is back; what can't be started there says why; units can be destroyed; once there is space, all is carried out",
		some: true,
		run:  runFull,
	},
	{
		name:  "etcd-disk-full",
		fault: "the disk of a host's etcd member is full",
		promised: "no unit is touched, and units are started on that host, too: fleetd goes to the other members; " +
			"once there is space, the member is back",
		run: etcdDiskFull,
	},
}

// underneath does something to what lies under fleetd on every host, and wants
// fleet to work as before.
func (s *scene) underneath(line string) {
	s.start("w", 12, Witness())
	before := map[*platform.Host]string{}
	for _, h := range s.Hosts {
		before[h] = s.fleetd(h)
	}
	s.begin()
	s.must(s.Everywhere(func(h *platform.Host) error {
		_, err := h.Run(s.ctx, "sh", "-ec", line)
		return err
	}))
	s.expect(s.account(), want{})
	seen := s.seen
	for i, h := range s.Hosts {
		if now := s.fleetd(h); now != before[h] {
			s.t.Errorf("fleetd on %s was process %s, is %s", h.Name(), before[h], now)
		}
		// Units start there, and what becomes of them is told, without asking.
		units := s.units
		s.start(fmt.Sprintf("after%d", i), 2, Witness(fmt.Sprintf("MachineMetadata=index=%d", i)))
		s.units = units
		dies := fmt.Sprintf("after%d@1.service", i)
		s.run(h, "systemctl kill --signal=SIGKILL "+dies)
		s.await("fleetctl to say that "+dies+" has failed", func() (bool, string) {
			out := s.fleetctl("list-units", "--no-legend", "--fields", "unit,active,sub")
			return strings.Contains(strings.Join(strings.Fields(out), " "), dies+" failed failed"), out
		})
	}
	s.seen = seen
}

func runFull(s *scene) {
	s.ttl(cutTTL)
	h, pin := s.Hosts[1], "MachineMetadata=index=1"
	s.start("w", 12, Witness())
	s.start("doomed", 1, Witness(pin))
	s.start("never-twice", 1, Witness(pin, "Isolation=stop"))
	doomed := "doomed@1.service"
	s.units = append(instances("w", 12), "never-twice@1.service")
	s.submit("late", Witness(pin))
	pid := s.fleetd(h)
	s.begin()
	s.fill(h, "/run")
	s.after(func() { s.run(h, "mount -o remount,size=50% /run") })

	_, err := h.Run(s.ctx, inUnits([]string{"fleetctl", "start", "--no-block", "late@1.service"})...)
	s.must(err)
	s.await("fleetctl to say why it doesn't run", func() (bool, string) {
		out := s.fleetctl("list-units", "--no-legend", "--fields", "unit,error")
		return strings.Contains(out, "no space left on device"), out
	})
	s.run(h, "kill -KILL "+pid)
	s.await("another fleetd", func() (bool, string) {
		now := s.fleetd(h)
		return now != "0" && now != pid, now
	})
	s.awaitJoined(h)
	s.expect(s.account(), want{})
	s.awaitSaid(h, "no space left on device")
	s.fleetctl("destroy", doomed)
	s.await(doomed+" to have ended", func() (bool, string) {
		lives := s.ledger().Lives(doomed)
		return lives[0].Ended, fmt.Sprint(lives)
	})

	// A host that is cut off meanwhile stops what must never run twice, before
	// anything of it is started elsewhere.
	never := "never-twice@1.service"
	theirs := slices.DeleteFunc(s.on(h), func(unit string) bool { return unit == never })
	joins := s.cut(h)
	s.must(h.CutOff(s.ctx))
	s.must(s.AwaitMachines(s.ctx, len(s.Hosts)-1))
	for _, unit := range theirs {
		s.awaitLives(unit, 2)
	}
	joins()
	s.must(h.Rejoin(s.ctx))
	s.awaitLives(never, 2)

	s.run(h, "mount -o remount,size=50% /run")
	s.await("late@1.service to run", func() (bool, string) {
		lives := s.ledger().Lives("late@1.service")
		return len(lives) == 1, fmt.Sprint(lives)
	})
	s.units = append(s.units, "late@1.service")
	a := s.account()
	s.expect(a, want{restarted: 1, moved: len(theirs), apart: len(theirs)})
	stopped := s.ledger().Lives(never)[0].Last()
	for _, life := range a.Moved {
		if life.Start < stopped {
			s.t.Errorf("%s was stopped only %s after its host had been given up: %s", never, stopped.Sub(life.Start), life)
		}
	}
	s.seen.Note = "restarted is the unit with Isolation=stop"
}

// fill leaves no space on a file system of the host's in memory.
func (s *scene) fill(h *platform.Host, path string) {
	s.t.Helper()
	// Less than is used can't be: a page more than that, and that page is taken.
	s.run(h, fmt.Sprintf(`used=$(df --output=used -k %[1]s | tail -1)
mount -o remount,size=$((used + 64))k %[1]s
! dd if=/dev/zero of=%[1]s/filler bs=4k 2>/dev/null
[ "$(df --output=avail -k %[1]s | tail -1)" -eq 0 ]`, path))
}

func etcdDiskFull(s *scene) {
	h := s.Hosts[1]
	const dir = "/var/lib/etcd2"
	// Its disk: a small one, with what was there.
	s.run(h, fmt.Sprintf(`systemctl stop etcd2.service
mkdir /var/lib/etcd2.whole && cp -a %[1]s/. /var/lib/etcd2.whole/
mount -t tmpfs -o size=512m,mode=0700 tmpfs %[1]s && cp -a /var/lib/etcd2.whole/. %[1]s/
systemctl start etcd2.service`, dir))
	s.after(func() {
		s.run(h, fmt.Sprintf(`systemctl stop etcd2.service
rm -rf /var/lib/etcd2.whole && mkdir /var/lib/etcd2.whole && cp -a %[1]s/. /var/lib/etcd2.whole/
umount %[1]s && rm -rf %[1]s/* && cp -a /var/lib/etcd2.whole/. %[1]s/ && rm -rf /var/lib/etcd2.whole
systemctl start etcd2.service`, dir))
	})
	s.awaitMember(h)
	s.awaitJoined(h)
	s.start("w", 12, Witness())
	s.begin()
	s.fill(h, dir)
	s.put(s.Hosts[0], 32<<20)
	s.await("the member to have fallen", func() (bool, string) {
		restarts := s.run(h, "systemctl show -P NRestarts etcd2.service")
		return restarts != "0", restarts
	})
	s.start("more", 6, Witness("MachineMetadata=index=1"))
	s.expect(s.account(), want{})
	s.run(h, "rm "+dir+"/filler; mount -o remount,size=512m "+dir)
	s.awaitMember(h)
}

// put has etcd keep so many bytes of no meaning, and then delete them.
func (s *scene) put(h *platform.Host, bytes int) {
	s.t.Helper()
	s.run(h, fmt.Sprintf(`cd /tmp && head -c 512k /dev/zero | base64 -w0 >value
for i in $(seq %d); do
	{ printf '{"key":"%%s","value":"' "$(printf /filler/%%s $i | base64 -w0)"; cat value; printf '"}'; } >put
	curl -sf -X POST -d @put http://127.0.0.1:2379/v3/kv/put >/dev/null
done
curl -sf -X POST -d '{"key":"L2ZpbGxlci8=","range_end":"L2ZpbGxlcjA="}' http://127.0.0.1:2379/v3/kv/deleterange >/dev/null
rm value put`, bytes>>19))
}

// awaitMember waits until a host's etcd member is in touch with a leader.
func (s *scene) awaitMember(h *platform.Host) {
	s.t.Helper()
	s.await("the etcd member on "+h.Name(), func() (bool, string) {
		out, err := h.Run(s.ctx, "curl", "-sf", "http://127.0.0.1:2379/health")
		return err == nil && strings.Contains(out, `"health":"true"`), out
	})
}
