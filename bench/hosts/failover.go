package main

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-project/fleet/bench/figure"
	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
	"golang.org/x/sys/unix"
)

const (
	lostUnits = 90 // 30 on each host
	ttlLong   = 30 * time.Second
	ttlShort  = 5 * time.Second
)

// loss is one way in which a host goes, and what it led.
type loss struct {
	what         string
	planned      bool // powered off, rather than killed
	engine, etcd bool // it led the cluster; its member led etcd
	ttl          time.Duration
	runs         int
	want         time.Duration // until all of its units are active elsewhere
}

// losses, first those at the default agent_ttl.
var losses = []loss{
	{what: "power-off", planned: true, ttl: ttlLong, runs: 2, want: 2 * time.Second},
	{what: "power-off of the host that leads the engine", planned: true, engine: true, ttl: ttlLong, runs: 2, want: 2 * time.Second},
	{what: "power-off of the host that leads etcd", planned: true, etcd: true, ttl: ttlLong, runs: 2, want: 2 * time.Second},
	{what: "SIGKILL of a host", ttl: ttlLong, runs: 1, want: ttlLong + 1500*time.Millisecond},
	{what: "SIGKILL of a host", ttl: ttlShort, runs: 3, want: ttlShort + 1500*time.Millisecond},
	{what: "SIGKILL of the host that leads the engine", engine: true, ttl: ttlShort, runs: 2, want: ttlShort + 4500*time.Millisecond},
	{what: "SIGKILL of the host that leads etcd", etcd: true, ttl: ttlShort, runs: 3, want: ttlShort + 1500*time.Millisecond},
	{what: "SIGKILL of the host that leads both", engine: true, etcd: true, ttl: ttlShort, runs: 2, want: ttlShort + 4500*time.Millisecond},
}

// caseFailover loses hosts and waits until the others run their units.
func caseFailover(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 12*time.Minute)
	defer cancel()
	ttl := ttlLong
	for _, l := range losses {
		if l.ttl != ttl {
			if err := b.setTTL(ctx, l.ttl); err != nil {
				return err
			}
			ttl = l.ttl
		}
		if err := b.lose(ctx, l); err != nil {
			return fmt.Errorf("%s: %w", l.what, err)
		}
	}
	return b.setTTL(ctx, ttlLong)
}

// setTTL has all agents take leases of that time.
func (b *bench) setTTL(ctx context.Context, ttl time.Duration) error {
	err := b.onAll(func(_ int, h *platform.Host) error {
		_, err := h.Run(ctx, "sh", "-ec", "sed -i /^agent_ttl/d /etc/fleet/fleet.conf; echo agent_ttl="+ttl.String()+
			" >>/etc/fleet/fleet.conf; systemctl restart fleet.service")
		return err
	})
	if err != nil {
		return err
	}
	return cluster.Await(ctx, "leases of "+ttl.String(), func() (bool, string) {
		machines, _, err := member{b.Any()}.list(ctx, "machines/")
		if err != nil || len(machines) < len(b.Hosts) {
			return false, fmt.Sprint(len(machines), " machines: ", err)
		}
		for _, m := range machines {
			var lease struct{ GrantedTTL string }
			if err := (member{b.Any()}).ask(ctx, "/v3/lease/timetolive", map[string]any{"ID": m.Lease}, &lease); err != nil {
				return false, err.Error()
			}
			if lease.GrantedTTL != strconv.Itoa(int(ttl.Seconds())) {
				return false, lease.GrantedTTL
			}
		}
		return true, ""
	})
}

// lose loses hosts in one way, as often as it says.
func (b *bench) lose(ctx context.Context, l loss) error {
	var took, spread []time.Duration
	for run := range l.runs {
		all, each, err := b.loseOne(ctx, l, float64(2*run+1)/float64(2*l.runs))
		if err != nil {
			return err
		}
		took, spread = append(took, all), append(spread, each)
	}
	name, note := l.what+", 30 of 90 units: all active elsewhere", "after it was asked to; agent_ttl 30 s"
	if !l.planned {
		name = fmt.Sprintf("%s, agent_ttl %s", name, l.ttl)
		note = "after its last keepalive"
	}
	b.report.Add("failover on real hosts", figure.Figure{
		Name: name, Unit: "s", Value: figure.Quantile(took, 1).Seconds(), Want: figure.AtMost(l.want.Seconds()),
		Note: fmt.Sprintf("%s; the longest of %s, of which from the first of them to the last %s",
			note, listed(took), listed(spread)),
	})
	return nil
}

func listed(all []time.Duration) string {
	words := make([]string, len(all))
	for i, d := range all {
		words[i] = d.Round(time.Millisecond).String()
	}
	return strings.Join(words, ", ")
}

// loseOne loses one host and brings it back. A kill comes when that part of the
// time between two keepalives is over.
func (b *bench) loseOne(ctx context.Context, l loss, part float64) (all, each time.Duration, err error) {
	if err := b.startInstances(ctx, "lost", lostUnits); err != nil {
		return 0, 0, err
	}
	victim, err := b.cast(ctx, l)
	if err != nil {
		return 0, 0, err
	}
	var witness member
	for _, h := range b.Hosts {
		if h != victim {
			witness = member{h}
		}
	}
	var since, gone time.Duration
	off := make(chan error, 1)
	if l.planned {
		since = monotonic()
		gone = since
		go func() { off <- victim.PowerOff(ctx) }()
	} else {
		if since, err = witness.keepalive(ctx, victim); err != nil {
			return 0, 0, err
		}
		if err := pause(ctx, since+time.Duration(part*float64(l.ttl)/3)-monotonic()); err != nil {
			return 0, 0, err
		}
		gone = monotonic()
		off <- victim.Kill()
		// Asking systemd costs what fleet is to be measured with.
		if err := pause(ctx, since+l.ttl-monotonic()); err != nil {
			return 0, 0, err
		}
	}
	var moved []time.Duration
	err = cluster.Await(ctx, "all units on the other two hosts", func() (bool, string) {
		active, when := 0, []time.Duration(nil)
		for _, h := range b.Hosts {
			if h == victim {
				continue
			}
			entered, err := activeSince(ctx, h, "lost@*")
			if err != nil {
				return false, err.Error()
			}
			active += len(entered)
			for _, at := range entered {
				if at > gone {
					when = append(when, at)
				}
			}
		}
		moved = when
		return active == lostUnits, fmt.Sprintf("%d active", active)
	})
	if err != nil {
		return 0, 0, err
	}
	if len(moved) != lostUnits/len(b.Hosts) {
		return 0, 0, fmt.Errorf("%d units moved, want those of one host of %d", len(moved), len(b.Hosts))
	}
	all, each = figure.Quantile(moved, 1)-since, figure.Quantile(moved, 1)-figure.Quantile(moved, 0)
	say("%s: %s, %s after it was gone", l.what, all.Round(time.Millisecond), (all - (gone - since)).Round(time.Millisecond))
	if err := <-off; err != nil {
		return 0, 0, err
	}
	if err := victim.Start(ctx); err != nil {
		return 0, 0, err
	}
	if err := b.AwaitMachines(ctx, len(b.Hosts)); err != nil {
		return 0, 0, err
	}
	return all, each, b.destroyAll(ctx)
}

// cast chooses the host that is to be lost, and sees to it that it leads what it
// shall and nothing else.
func (b *bench) cast(ctx context.Context, l loss) (victim *platform.Host, err error) {
	leader, err := b.engineLeader(ctx)
	if err != nil {
		return nil, err
	}
	other := leader
	for _, h := range b.Hosts {
		if (h == leader) == l.engine {
			victim = h
		} else {
			other = h
		}
	}
	lead := other
	if l.etcd {
		lead = victim
	}
	if err := b.leadEtcd(ctx, lead); err != nil {
		return nil, err
	}
	return victim, cluster.Await(ctx, "the host to lead what it shall", func() (bool, string) {
		id, etcd, err := member{lead}.status(ctx)
		if err != nil {
			return false, err.Error()
		}
		now, err := b.engineLeader(ctx)
		return id == etcd && now == leader, fmt.Sprint(etcd, " leads etcd ", err)
	})
}

// keepalive waits for a host's lease to be renewed, and gives a moment that was
// just before: while etcd counts whole seconds, a renewal shows as a step up. Of
// two steps the first may be that of a new leader of etcd's.
func (m member) keepalive(ctx context.Context, of *platform.Host) (at time.Duration, err error) {
	machines, _, err := m.list(ctx, "machines/"+of.MachineID())
	if err != nil {
		return 0, err
	}
	if len(machines) != 1 {
		return 0, fmt.Errorf("%s has %d presence keys", of.Name(), len(machines))
	}
	last := -1
	for steps := 0; steps < 2; {
		asked := monotonic()
		left, err := m.remaining(ctx, machines[0].Lease)
		if err != nil {
			return 0, err
		}
		if last >= 0 && left > last {
			steps++
		} else {
			at = asked
		}
		last = left
		if err := pause(ctx, 10*time.Millisecond); err != nil {
			return 0, err
		}
	}
	return at, nil
}

// activeSince tells since when units of a host are active, by the clock that all
// hosts share: one kernel runs them.
func activeSince(ctx context.Context, h *platform.Host, pattern string) ([]time.Duration, error) {
	out, err := h.Run(ctx, "systemctl", "show", "--state=active", "--property=ActiveState,ActiveEnterTimestampMonotonic", pattern)
	if err != nil {
		return nil, err
	}
	var all []time.Duration
	for block := range strings.SplitSeq(out, "\n\n") {
		if !strings.Contains(block, "ActiveState=active") {
			continue
		}
		_, rest, _ := strings.Cut(block, "ActiveEnterTimestampMonotonic=")
		micros, err := strconv.ParseInt(strings.Fields(rest + " -")[0], 10, 64)
		if err != nil {
			return nil, fmt.Errorf("systemctl show on %s: %q: %w", h.Name(), block, err)
		}
		all = append(all, time.Duration(micros)*time.Microsecond)
	}
	return all, nil
}

// monotonic is the kernel's clock, by which systemd notes when units became
// active.
func monotonic() time.Duration {
	var now unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_MONOTONIC, &now); err != nil {
		panic(err) // it is always there
	}
	return time.Duration(now.Nano())
}

func pause(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
