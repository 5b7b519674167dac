package faults

import (
	"fmt"
	"strings"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
)

// unitRows are units that are a fault themselves, and hosts that aren't what they
// say they are.
var unitRows = []row{
	{
		name:     "crash-loop",
		fault:    "a unit crashes every second and is restarted by systemd, for ever; another gives up",
		promised: "systemd's restarts are left to systemd: neither moves; the one that gave up is shown as failed, with its reason; nothing else is touched",
		some:     true,
		run:      crashLoop,
	},
	{
		name:     "slow-stop-drained",
		fault:    "fleet is stopped on a host, where a unit takes 90 s to stop",
		promised: "the unit starts elsewhere when it has ended, and not before; the host's others are handed over at once",
		limit:    5 * time.Minute,
		run:      slowStopDrained,
	},
	{
		name:     "slow-stop-destroyed",
		fault:    "a unit that takes 90 s to stop is destroyed, and started anew at once",
		promised: "the new one starts when the old one has ended, and not before",
		limit:    5 * time.Minute,
		run:      slowStopDestroyed,
	},
	{
		name:     "slow-stop-moved",
		fault:    "a unit that takes 90 s to stop no longer fits its host; meanwhile the leading engine is killed, and the unit fits there again",
		promised: "it never runs twice, and runs in the end",
		limit:    5 * time.Minute,
		run:      slowStopMoved,
	},
	{
		name:     "twin",
		fault:    "a host is cloned, with its machine-id, and the clone joins",
		promised: "the clone is refused, is told which host holds the id and how to get another, and joins when it has; no unit is touched",
		some:     true,
		run:      twin,
	},
}

func crashLoop(s *scene) {
	s.start("w", 12, Witness())
	s.submit("crashes", CrashingWitness(time.Second, "MachineMetadata=index=1"))
	s.submit("gives-up", GivingUpWitness(time.Second, "MachineMetadata=index=2"))
	s.begin()
	loop, gone := "crashes@1.service", "gives-up@1.service"
	_, err := s.Any().Run(s.ctx, inUnits([]string{"fleetctl", "start", "--no-block", loop, gone})...)
	s.must(err)
	s.await(gone+" to be shown as failed, with the reason", func() (bool, string) {
		out := s.fleetctl("list-units", "--no-legend", "--fields", "unit,active,result,error")
		return strings.Contains(strings.Join(strings.Fields(out), " "), gone+" failed signal"), out
	})
	s.await("twenty crashes", func() (bool, string) {
		n := len(s.ledger().Lives(loop))
		return n > 20, fmt.Sprint(n)
	})
	s.expect(s.account(), want{})
	l := s.ledger()
	for _, unit := range []string{loop, gone} {
		for _, life := range l.Lives(unit) {
			if life.Host != l.Lives(unit)[0].Host {
				s.t.Errorf("%s moved: %v", unit, l.Lives(unit))
			}
		}
	}
	s.seen.Note = fmt.Sprintf("it crashed %d times meanwhile, on one host; the other gave up after %d", len(l.Lives(loop))-1, len(l.Lives(gone)))
}

// stopTakes is what the slow units take to stop.
const stopTakes = 90 * time.Second

func slowStopDrained(s *scene) {
	s.start("w", 12, Witness())
	// Not on the first host, which is asked.
	s.start("slow", 1, SlowWitness(stopTakes, "MachineMetadata=index!=0"))
	h := s.HostOf(s.ctx, "slow@1.service")
	theirs := s.on(h)
	s.begin()
	stopped := make(chan error, 1)
	go func() {
		_, err := h.Run(s.ctx, "systemctl", "stop", "fleet.socket", "fleet.service")
		stopped <- err
	}()
	s.after(func() { s.run(h, "systemctl start fleet.socket fleet.service") })
	if err := <-stopped; err != nil {
		s.t.Error(err)
	}
	a := s.account()
	s.expect(a, want{moved: len(theirs)})
	s.oneAfterTheOther("slow@1.service", stopTakes)
	for _, life := range a.Moved {
		if after := life.Start.Sub(s.began); life.Unit != "slow@1.service" && after > stopTakes/2 {
			s.t.Errorf("%s was handed over only after %s", life.Unit, after)
		}
	}
}

// oneAfterTheOther wants each run of a unit to have begun after the end, in order,
// of the one before, which it took that long to come to.
func (s *scene) oneAfterTheOther(unit string, took time.Duration) {
	s.t.Helper()
	lives := s.ledger().Lives(unit)
	if len(lives) < 2 {
		s.t.Errorf("%s has never ended: %v", unit, lives)
		return
	}
	for i, life := range lives[1:] {
		before := lives[i]
		if !before.Ended || life.Start < before.Last() {
			s.t.Errorf("%s: began before the end of %s", life, before)
		}
	}
	if ended := lives[0].Last().Sub(s.began); ended < took-time.Second {
		s.t.Errorf("%s took only %s to stop", unit, ended)
	}
}

func slowStopDestroyed(s *scene) {
	s.start("w", 6, Witness())
	s.start("slow", 1, SlowWitness(stopTakes))
	s.begin()
	s.fleetctl("destroy", "--no-block", "slow@1.service")
	_, err := s.Any().Run(s.ctx, inUnits([]string{"fleetctl", "start", "--no-block", "slow@1.service"})...)
	s.must(err)
	s.awaitLives("slow@1.service", 2)
	a := s.account()
	s.oneAnew(a)
	s.oneAfterTheOther("slow@1.service", stopTakes)
}

// oneAnew wants one unit to have begun anew, wherever, and nothing else.
func (s *scene) oneAnew(a *Account) {
	s.t.Helper()
	seen := a.Seen()
	s.expect(a, want{restarted: seen.Restarted, moved: 1 - seen.Restarted})
}

func (s *scene) awaitLives(unit string, n int) {
	s.t.Helper()
	s.await(fmt.Sprintf("%s to have begun %d times", unit, n), func() (bool, string) {
		lives := s.ledger().Lives(unit)
		return len(lives) >= n, fmt.Sprint(lives)
	})
}

func slowStopMoved(s *scene) {
	h := s.Hosts[1]
	s.start("w", 6, Witness())
	fit := func(index string) {
		s.awaitJoined(h)
		s.run(h, "sed -i s/^metadata=.*/metadata=index="+index+"/ /etc/fleet/fleet.conf; systemctl reload fleet.service")
	}
	s.run(s.Hosts[2], "sed -i s/^metadata=.*/metadata=index=1/ /etc/fleet/fleet.conf")
	s.after(func() {
		fit("1")
		s.run(s.Hosts[2], "sed -i s/^metadata=.*/metadata=index=2/ /etc/fleet/fleet.conf; systemctl reload fleet.service")
	})
	s.start("slow", 1, SlowWitness(stopTakes, "MachineMetadata=index=1"))
	s.run(s.Hosts[2], "systemctl reload fleet.service")
	s.begin()
	fit("7")
	s.await("the unit to be stopping", func() (bool, string) {
		out := s.run(h, "systemctl show -P ActiveState slow@1.service")
		return out == "deactivating", out
	})
	leads := s.leader()
	killed := s.fleetd(leads)
	s.run(leads, "kill -KILL "+killed)
	s.await("another fleetd", func() (bool, string) { // until systemd has noticed, the dead one's status is shown
		pid := s.fleetd(leads)
		return pid != killed && pid != "0", pid
	})
	fit("1")
	s.awaitLives("slow@1.service", 2)
	a := s.account()
	s.oneAnew(a)
	s.oneAfterTheOther("slow@1.service", stopTakes)
}

func twin(s *scene) {
	s.start("w", 12, Witness())
	first := s.Hosts[0]
	spec := s.Specs[0]
	spec.Name, spec.MachineID = "twin", first.MachineID()
	s.begin()
	clone, err := s.Platform.Boot(s.ctx, spec)
	s.must(err)
	s.after(func() { s.must(clone.Remove()) })
	var etcd []string
	for _, h := range s.Hosts {
		etcd = append(etcd, fmt.Sprintf("%q", "http://"+h.IP()+":2379"))
	}
	conf := strings.Join(append(conf(0), "public_ip="+clone.IP(), "etcd_servers=["+strings.Join(etcd, ",")+"]"), "\n") + "\n"
	s.must(clone.WriteFile(s.ctx, "/etc/fleet/fleet.conf", platform.File{Content: conf}))
	s.run(clone, "systemctl enable --quiet --now fleet.socket fleet.service || true")
	s.awaitSaid(clone, fmt.Sprintf("is held by another live host, %s at %s", first.Name(), first.IP()))
	s.awaitSaid(clone, "systemd-machine-id-setup")
	s.expect(s.account(), want{})
	s.must(s.AwaitMachines(s.ctx, 3))
	if log := s.log(first); strings.Contains(log, "joining anew") {
		s.t.Errorf("the first host was disturbed:\n%s", log)
	}

	// systemd-machine-id-setup takes what a container's manager says, the same as
	// before; elsewhere it makes a new id, as this does.
	s.run(clone, "tr -d - </proc/sys/kernel/random/uuid >/etc/machine-id; systemctl restart fleet.service")
	s.must(s.AwaitMachines(s.ctx, 4))
	s.expect(s.account(), want{})
	s.run(clone, "systemctl stop fleet.socket fleet.service")
	s.must(s.AwaitMachines(s.ctx, 3))
}
