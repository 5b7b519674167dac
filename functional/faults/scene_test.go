package faults

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// scene is one row's cluster, its units, and what became of them.
type scene struct {
	*World
	t   *testing.T
	ctx context.Context

	clock time.Time // the row began
	units []string  // that must run, each once
	began Moment    // the fault did
	cuts  []Cut
	ended float64 // leases, when the fault began
	seen  Seen
}

// fleetctl runs fleetctl on the first host that runs; it must succeed.
func (s *scene) fleetctl(args ...string) string {
	s.t.Helper()
	out, err := s.Fleetctl(s.ctx, args...)
	if err != nil {
		s.t.Fatal(err)
	}
	return out
}

// run runs a shell line on a host; it must succeed.
func (s *scene) run(h *platform.Host, line string) string {
	s.t.Helper()
	out, err := h.Run(s.ctx, "sh", "-ec", line)
	if err != nil {
		s.t.Fatal(err)
	}
	return strings.TrimSpace(out)
}

// must ends the row on an error.
func (s *scene) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// after has something done when the row has ended, however it ended, in time of
// its own.
func (s *scene) after(do func()) {
	s.t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		s.ctx = ctx
		do()
	})
}

// await waits for a condition.
func (s *scene) await(what string, holds func() (ok bool, saw string)) {
	s.t.Helper()
	s.must(cluster.Await(s.ctx, what, holds))
}

// awaitSaid waits until fleetd on a host has said something, since its boot.
func (s *scene) awaitSaid(h *platform.Host, words string) {
	s.t.Helper()
	s.await(fmt.Sprintf("fleetd on %s to say %q", h.Name(), words), func() (bool, string) {
		log := s.log(h)
		return strings.Contains(log, words), log
	})
}

// ttl gives all hosts another agent_ttl for the row's time.
func (s *scene) ttl(d time.Duration) {
	s.t.Helper()
	s.setTTL(d)
	s.after(func() { s.setTTL(agentTTL) })
}

func (s *scene) setTTL(d time.Duration) {
	s.t.Helper()
	s.must(s.Everywhere(func(h *platform.Host) error {
		_, err := h.Run(s.ctx, "sh", "-ec", fmt.Sprintf("sed -i s/^agent_ttl=.*/agent_ttl=%s/ /etc/fleet/fleet.conf; systemctl restart fleet.service", d))
		return err
	}))
	for _, h := range s.Hosts {
		s.awaitJoined(h)
	}
}

// status is what systemctl says of fleetd on a host.
func (s *scene) status(h *platform.Host) string {
	s.t.Helper()
	return s.run(h, "systemctl show -P StatusText fleet.service")
}

// awaitJoined waits until fleetd on a host has joined the cluster, as it is now.
func (s *scene) awaitJoined(h *platform.Host) {
	s.t.Helper()
	s.await("fleetd on "+h.Name()+" to have joined", func() (bool, string) {
		says := s.status(h)
		return strings.HasPrefix(says, "joined as"), says
	})
}

// leader is the host whose engine leads.
func (s *scene) leader() *platform.Host {
	s.t.Helper()
	var found *platform.Host
	s.await("a leader", func() (bool, string) {
		var says []string
		for _, h := range s.Hosts {
			if h.State() != platform.Running {
				continue
			}
			says = append(says, s.status(h))
			if strings.Contains(says[len(says)-1], "leads the cluster") {
				found = h
			}
		}
		return found != nil, strings.Join(says, "; ")
	})
	return found
}

// fleetd is the process id of a host's fleetd, on that host.
func (s *scene) fleetd(h *platform.Host) string {
	s.t.Helper()
	return s.run(h, "systemctl show -P MainPID fleet.service")
}

// others are the hosts but one.
func (s *scene) others(not *platform.Host) []*platform.Host {
	return slices.DeleteFunc(slices.Clone(s.Hosts), func(h *platform.Host) bool { return h == not })
}

// log is what fleetd on a host has said.
func (s *scene) log(h *platform.Host) string {
	s.t.Helper()
	return s.run(h, "journalctl -o cat -u fleet.service --since=@"+s.since())
}

// since is when the row began, for journalctl: not the second in which it did, for
// another row may have ended in that.
func (s *scene) since() string {
	return fmt.Sprintf("%d.%06d", s.clock.Unix(), s.clock.Nanosecond()/1000)
}

func (s *scene) now() Moment {
	s.t.Helper()
	now, err := Now()
	s.must(err)
	return now
}

// file puts a unit file on every host that runs, in /root/units.
func (s *scene) file(name, text string) {
	s.t.Helper()
	s.must(s.Everywhere(func(h *platform.Host) error {
		if h.State() != platform.Running {
			return nil
		}
		return h.WriteFile(s.ctx, "/root/units/"+name, platform.File{Content: text})
	}))
}

// start starts n instances of a unit, name@1 and so on, which must run from then
// on, each once, and awaits that they do.
func (s *scene) start(name string, n int, text string) []string {
	s.t.Helper()
	s.submit(name, text)
	units := instances(name, n)
	s.startOn(s.Any(), units...)
	s.units = append(s.units, units...)
	s.settle()
	return units
}

// startOn starts units by a host's fleetctl.
func (s *scene) startOn(h *platform.Host, units ...string) {
	s.t.Helper()
	_, err := h.Run(s.ctx, inUnits(append([]string{"fleetctl", "start"}, units...))...)
	s.must(err)
}

// submit hands a template in.
func (s *scene) submit(name, text string) {
	s.t.Helper()
	s.file(name+"@.service", text)
	_, err := s.Any().Run(s.ctx, inUnits([]string{"fleetctl", "submit", name + "@.service"})...)
	s.must(err)
}

func instances(name string, n int) []string {
	var units []string
	for i := 1; i <= n; i++ {
		units = append(units, fmt.Sprintf("%s@%d.service", name, i))
	}
	return units
}

// inUnits has a command run where the unit files are.
func inUnits(argv []string) []string {
	return append([]string{"sh", "-ec", `cd /root/units && exec "$@"`, "sh"}, argv...)
}

// ledger is what all hosts' witnesses have written.
func (s *scene) ledger() *Ledger {
	s.t.Helper()
	l, err := Read(s.Hosts, s.cuts...)
	s.must(err)
	return l
}

// begin marks the fault's beginning.
func (s *scene) begin() { s.began = s.now() }

// settle awaits that every unit that must run does so, once, and that nothing
// else of it is left; it tells since when that is certain.
func (s *scene) settle() Moment {
	s.t.Helper()
	var now Moment
	s.await("every unit to run once", func() (bool, string) {
		now = s.now()
		return s.once(now)
	})
	return now
}

// once says whether every unit runs once at a moment: one run writes after it,
// all others have ended or were silent for long before.
func (s *scene) once(at Moment) (bool, string) {
	s.t.Helper()
	if err := cluster.Await(s.ctx, "a beat", func() (bool, string) { return s.now().Sub(at) > 2*beat, "" }); err != nil {
		return false, err.Error()
	}
	l := s.ledger()
	for _, unit := range s.units {
		if n := len(l.Running(unit, at)); n != 1 {
			return false, fmt.Sprintf("%s runs %d times: %v", unit, n, l.Lives(unit))
		}
		for _, life := range l.Lives(unit) {
			if !life.Ended && life.Last() < at && at.Sub(life.Last()) < gap {
				return false, fmt.Sprintf("%s may still run on %s", unit, life.Host)
			}
		}
	}
	return true, ""
}

// account awaits that all units run once, and tells what became of them since
// the fault began. What fleetctl says must be what the hosts' disks say.
func (s *scene) account() *Account {
	s.t.Helper()
	to := s.settle()
	l := s.ledger()
	a := l.Account(s.units, s.began, to)
	s.seen = a.Seen()
	s.agrees(l, to)
	return a
}

// agrees awaits that fleetctl shows each unit as running where it runs.
func (s *scene) agrees(l *Ledger, at Moment) {
	s.t.Helper()
	var want []string
	for _, unit := range s.units {
		for _, life := range l.Running(unit, at) {
			want = append(want, fmt.Sprintf("%s active running /%s", unit, s.Platform.Host(life.Host).IP()))
		}
	}
	slices.Sort(want)
	s.await("fleetctl to say what the hosts do", func() (bool, string) {
		out, err := s.Fleetctl(s.ctx, "list-units", "--no-legend", "--full", "--fields", "unit,active,sub,machine")
		if err != nil {
			return false, err.Error()
		}
		var got []string
		for line := range strings.Lines(out) {
			f := strings.Fields(line)
			if len(f) == 4 && slices.Contains(s.units, f[0]) {
				_, ip, _ := strings.Cut(f[3], "/")
				got = append(got, fmt.Sprintf("%s %s %s /%s", f[0], f[1], f[2], ip))
			}
		}
		slices.Sort(got)
		return slices.Equal(got, want), out
	})
}

// want is what must have become of the units.
type want struct{ lost, doubled, apart, restarted, moved int }

// expect compares what became of the units with what was promised.
func (s *scene) expect(a *Account, w want) {
	s.t.Helper()
	seen := a.Seen()
	got := want{seen.Lost, seen.Doubled, seen.Apart, seen.Restarted, seen.Moved}
	if got != w {
		s.t.Errorf("of %d units %+v, promised was %+v\n%s", a.Units, got, w, a)
	}
}

// on gives the units that run on a host at this moment.
func (s *scene) on(h *platform.Host) []string {
	s.t.Helper()
	at := s.settle()
	l := s.ledger()
	var units []string
	for _, unit := range s.units {
		for _, life := range l.Running(unit, at) {
			if life.Host == h.Name() {
				units = append(units, unit)
			}
		}
	}
	return units
}

// cut notes that a host can't reach etcd, or that its fleetd does nothing, until
// end is called; what it has missed it may take a little to do.
func (s *scene) cut(h *platform.Host) (end func()) {
	s.t.Helper()
	s.cuts = append(s.cuts, Cut{Host: h.Name(), Span: Span{From: s.now(), To: Moment(1 << 62)}})
	i := len(s.cuts) - 1
	return func() { s.cuts[i].To = s.now().Add(Reaction) }
}

// pass lets a time go by that the fault needs by definition.
func (s *scene) pass(d time.Duration) {
	s.t.Helper()
	select {
	case <-time.After(d):
	case <-s.ctx.Done():
		s.t.Fatal(s.ctx.Err())
	}
}
