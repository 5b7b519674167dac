package main

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-project/fleet/bench/figure"
	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

const (
	subjectFailover = "failover on real hosts"

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
	limit        string        // what keeps it from that
}

// extended is what limits the loss of etcd's leader.
const extended = "etcd elects a leader first, and that one gives every lease its full time again"

// losses, first those at the default agent_ttl.
var losses = []loss{
	{what: "power-off", planned: true, ttl: ttlLong, runs: 2, want: 2 * time.Second},
	{what: "power-off of the host that leads the engine", planned: true, engine: true, ttl: ttlLong, runs: 2, want: 2 * time.Second},
	{what: "power-off of the host that leads etcd", planned: true, etcd: true, ttl: ttlLong, runs: 2, want: 2 * time.Second},
	{what: "SIGKILL of a host", ttl: ttlLong, runs: 1, want: ttlLong + 1500*time.Millisecond},
	{what: "SIGKILL of a host", ttl: ttlShort, runs: 3, want: ttlShort + 1500*time.Millisecond},
	{what: "SIGKILL of the host that leads the engine", engine: true, ttl: ttlShort, runs: 2, want: ttlShort + 4500*time.Millisecond},
	{what: "SIGKILL of the host that leads etcd", etcd: true, ttl: ttlShort, runs: 3, want: ttlShort + 1500*time.Millisecond, limit: extended},
	{what: "SIGKILL of the host that leads both", engine: true, etcd: true, ttl: ttlShort, runs: 2, want: ttlShort + 4500*time.Millisecond, limit: extended},
}

// caseFailover loses hosts and waits until the others run their units.
func caseFailover(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 12*time.Minute)
	defer cancel()
	byHand, err := b.startByHand(ctx, lostUnits/len(b.Hosts)/2, b.Hosts[1:])
	if err != nil {
		return err
	}
	var replaced []time.Duration
	ttl := ttlLong
	for _, l := range losses {
		if l.ttl != ttl {
			if err := b.setTTL(ctx, l.ttl); err != nil {
				return err
			}
			ttl = l.ttl
		}
		runs, err := b.lose(ctx, l)
		if err != nil {
			return fmt.Errorf("%s: %w", l.what, err)
		}
		for _, r := range runs {
			if !l.planned {
				replaced = append(replaced, r.replaced)
			}
		}
	}
	b.report.Add(subjectFailover, figure.Figure{
		Name: "from the end of a killed host's lease until its 30 units are active, p50 of all kills", Unit: "s",
		Value:  figure.Quantile(replaced, 0.5).Seconds(),
		Beside: &figure.Beside{Name: "StartUnit by hand, 15 on each of two hosts", Value: byHand.Seconds()},
		Note:   "the longest " + listed([]time.Duration{figure.Quantile(replaced, 1)}),
	})
	return b.setTTL(ctx, ttlLong)
}

// startByHand starts n units on each of some hosts without fleet, and takes them
// away again.
func (b *bench) startByHand(ctx context.Context, n int, on []*platform.Host) (longest time.Duration, err error) {
	for _, verb := range []string{"start", "destroy"} {
		took := make([]time.Duration, len(b.Hosts))
		err := b.onAll(func(i int, h *platform.Host) (err error) {
			if slices.Contains(on, h) {
				took[i], err = floor[time.Duration](ctx, h, verb, "byhand", strconv.Itoa(n))
			}
			return err
		})
		if err != nil {
			return 0, err
		}
		if verb == "start" {
			longest = slices.Max(took)
		}
	}
	return longest, nil
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

// lost is how one loss went.
type lost struct {
	all      time.Duration // from the last keepalive, or the order to go, until all its units were active
	replaced time.Duration // from the end of its presence until then
}

// lose loses hosts in one way, as often as it says.
func (b *bench) lose(ctx context.Context, l loss) ([]lost, error) {
	var runs []lost
	var took []time.Duration
	for run := range l.runs {
		// Kills come early and late between two keepalives.
		r, err := b.loseOne(ctx, l, float64(2*run+1)/float64(2*l.runs))
		if err != nil {
			return nil, err
		}
		runs, took = append(runs, r), append(took, r.all)
	}
	name, note := l.what+": its 30 of 90 units active elsewhere", "after it was told to go; agent_ttl 30 s"
	if !l.planned {
		name = fmt.Sprintf("%s, agent_ttl %s", name, l.ttl)
		note = "after its last keepalive, as etcd's time-to-live shows it"
	}
	if l.limit != "" {
		note += "; " + l.limit
	}
	b.report.Add(subjectFailover, figure.Figure{
		Name: name, Unit: "s", Value: figure.Quantile(took, 1).Seconds(), Want: figure.AtMost(l.want.Seconds()),
		Note: fmt.Sprintf("%s; the longest of %s", note, listed(took)),
	})
	return runs, nil
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
func (b *bench) loseOne(ctx context.Context, l loss, part float64) (lost, error) {
	if err := b.startInstances(ctx, "lost", lostUnits); err != nil {
		return lost{}, err
	}
	victim, err := b.cast(ctx, l)
	if err != nil {
		return lost{}, err
	}
	var witness member
	for _, h := range b.Hosts {
		if h != victim {
			witness = member{h}
		}
	}
	var since, gone, ended time.Duration
	off := make(chan error, 1)
	if l.planned {
		// A host that is powered off hasn't just seen etcd's lead change hands.
		if err := b.settle(ctx, 3*time.Second); err != nil {
			return lost{}, err
		}
		since = monotonic()
		gone, ended = since, since
		go func() { off <- victim.PowerOff(ctx) }()
	} else {
		if since, err = witness.keepalive(ctx, victim); err != nil {
			return lost{}, err
		}
		if err := pause(ctx, since+time.Duration(part*float64(l.ttl)/3)-monotonic()); err != nil {
			return lost{}, err
		}
		gone = monotonic()
		off <- victim.Kill()
		if ended, err = witness.absence(ctx, victim); err != nil {
			return lost{}, err
		}
	}
	moved, err := b.moved(ctx, victim, gone)
	if err != nil {
		return lost{}, err
	}
	last := figure.Quantile(moved, 1)
	say("%s: %s; since it was gone, since its presence ended, since the first unit: %s", l.what, (last - since).Round(time.Millisecond),
		listed([]time.Duration{last - gone, last - ended, last - figure.Quantile(moved, 0)}))
	if err := <-off; err != nil {
		return lost{}, err
	}
	if err := victim.Start(ctx); err != nil {
		return lost{}, err
	}
	if err := b.AwaitMachines(ctx, len(b.Hosts)); err != nil {
		return lost{}, err
	}
	return lost{all: last - since, replaced: last - ended}, b.destroyAll(ctx)
}

// moved waits until all units are active without a host that is gone, and gives
// when each that was not there before became so.
func (b *bench) moved(ctx context.Context, without *platform.Host, gone time.Duration) (when []time.Duration, err error) {
	// systemd remembers when: to ask it meanwhile would cost what is measured.
	if err := pause(ctx, time.Second); err != nil {
		return nil, err
	}
	err = cluster.Await(ctx, "all units on the other two hosts", func() (bool, string) {
		active := 0
		when = nil
		for _, h := range b.Hosts {
			if h == without {
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
		return active == lostUnits, fmt.Sprintf("%d active", active)
	})
	if err == nil && len(when) != lostUnits/len(b.Hosts) {
		err = fmt.Errorf("%d units moved, want those of one host of %d", len(when), len(b.Hosts))
	}
	return when, err
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
