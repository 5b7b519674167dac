package faults

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"
)

// Ledger is what all hosts' witnesses have written down.
type Ledger struct {
	lives map[string][]*Life // by unit, in the order of their starts
	cuts  []Cut
}

// Reaction is what a host that is in touch again may take to do what it has
// missed: to read its schedule, and to stop what others have got. A row's cuts
// end so much later.
const Reaction = 5 * time.Second

// Cut is a time in which a host could not reach etcd, or its fleetd did nothing.
type Cut struct {
	Host string
	Span
}

// Read reads the disks of hosts, whatever state those are in. Cuts say when a
// host could not reach etcd, for two runs at a time to be told apart.
func Read[D Disk](disks []D, cuts ...Cut) (*Ledger, error) {
	ledger := &Ledger{lives: map[string][]*Life{}, cuts: cuts}
	for _, d := range disks {
		found, err := lives(d)
		if err != nil {
			return nil, err
		}
		for _, l := range found {
			ledger.lives[l.Unit] = append(ledger.lives[l.Unit], l)
		}
	}
	for _, all := range ledger.lives {
		slices.SortFunc(all, func(a, b *Life) int { return cmp.Compare(a.Start, b.Start) })
	}
	return ledger, nil
}

// Lives are a unit's runs on all hosts, in the order of their starts.
func (l *Ledger) Lives(unit string) []*Life { return l.lives[unit] }

// Running are the runs of a unit that began before a moment, wrote anything at or
// after it and haven't ended: it is certain that they were there then.
func (l *Ledger) Running(unit string, at Moment) []*Life {
	var running []*Life
	for _, life := range l.lives[unit] {
		if life.Start <= at && !life.Ended && life.Last() >= at {
			running = append(running, life)
		}
	}
	return running
}

// Double is two runs of one unit at one time.
type Double struct {
	A, B *Life
	// Together is for how long, as far as both have written it down.
	Together time.Duration
	// InTouch is how much of it both hosts could reach etcd. With neither cut off
	// it is all of it.
	InTouch time.Duration
}

func (d Double) String() string {
	return fmt.Sprintf("%s on %s and %s for %.1f s from %.2f (%.1f s of it both in touch with etcd)", d.A.Unit, d.A.Host, d.B.Host,
		d.Together.Seconds(), time.Duration(max(d.A.Start, d.B.Start)).Seconds(), d.InTouch.Seconds())
}

// Account is what became of some units between two moments.
type Account struct {
	Units int
	Span
	// Lost are the units that ran nowhere at the end.
	Lost []string
	// Doubles are the units that ran twice at one time.
	Doubles []Double
	// Restarted are the runs that followed one on the same host, Moved those
	// that followed one on another.
	Restarted, Moved []*Life
	// Settled is when the last run started or ended.
	Settled Moment
	// Away is the longest time that a unit didn't run, and Longest is which.
	Away    time.Duration
	Longest string
}

// Account tells what became of units between two moments. What runs at the end
// must have written that down: read the ledger when it has.
func (l *Ledger) Account(units []string, from, to Moment) *Account {
	a := &Account{Units: len(units), Span: Span{from, to}, Settled: from}
	for _, unit := range units {
		if len(l.Running(unit, to)) == 0 {
			a.Lost = append(a.Lost, unit)
		}
		a.add(l, unit)
	}
	return a
}

// add accounts for one unit.
func (a *Account) add(l *Ledger, unit string) {
	var before *Life // the run that the next one follows
	for i, life := range l.lives[unit] {
		if life.Start > a.To {
			break
		}
		switch {
		case before == nil || life.Start < a.From:
		case before.Host == life.Host:
			a.Restarted = append(a.Restarted, life)
		default:
			a.Moved = append(a.Moved, life)
		}
		before = life
		a.settled(life.Start)
		if end := life.Last(); life.Ended || end < a.To {
			a.settled(end)
		}
		for _, other := range l.lives[unit][:i] {
			a.double(l, other, life)
		}
	}
	if away := a.away(l.lives[unit]); away > a.Away {
		a.Away, a.Longest = away, unit
	}
}

func (a *Account) settled(at Moment) {
	if at >= a.From && at <= a.To {
		a.Settled = max(a.Settled, at)
	}
}

// double notes for how long two runs of a unit were there together.
func (a *Account) double(l *Ledger, one, other *Life) {
	d := Double{A: one, B: other}
	for _, x := range one.Spans {
		for _, y := range other.Spans {
			both := Span{max(x.From, y.From, a.From), min(x.To, y.To, a.To)}
			if both.To <= both.From {
				continue
			}
			d.Together += both.To.Sub(both.From)
			d.InTouch += both.To.Sub(both.From) - l.cut(both, one.Host, other.Host)
		}
	}
	if d.Together > 0 {
		a.Doubles = append(a.Doubles, d)
	}
}

// cut is how much of a span any of some hosts was cut off.
func (l *Ledger) cut(s Span, hosts ...string) time.Duration {
	var within []Span
	for _, c := range l.cuts {
		if both := (Span{max(s.From, c.From), min(s.To, c.To)}); slices.Contains(hosts, c.Host) && both.To > both.From {
			within = append(within, both)
		}
	}
	return covered(within)
}

// covered is how long it is that at least one of some spans covers.
func covered(spans []Span) time.Duration {
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.From, b.From) })
	var sum time.Duration
	var end Moment
	for _, s := range spans {
		if from := max(s.From, end); s.To > from {
			sum += s.To.Sub(from)
			end = s.To
		}
	}
	return sum
}

// away is the longest time, between two moments, in which none of a unit's runs
// was there.
func (a *Account) away(lives []*Life) time.Duration {
	var spans []Span
	for _, l := range lives {
		spans = append(spans, l.Spans...)
	}
	slices.SortFunc(spans, func(a, b Span) int { return cmp.Compare(a.From, b.From) })
	var longest time.Duration
	end := a.From
	for _, s := range spans {
		if s.From > a.To {
			break
		}
		longest = max(longest, s.From.Sub(end))
		end = max(end, s.To)
	}
	return max(longest, a.To.Sub(end))
}

// InTouch are the doubles of which some was while both hosts could reach etcd.
func (a *Account) InTouch() []Double {
	var all []Double
	for _, d := range a.Doubles {
		if d.InTouch > 0 {
			all = append(all, d)
		}
	}
	return all
}

// String says in lines what there is to say of single units.
func (a *Account) String() string {
	var b strings.Builder
	for _, unit := range a.Lost {
		fmt.Fprintf(&b, "lost: %s\n", unit)
	}
	for _, d := range a.Doubles {
		fmt.Fprintf(&b, "doubled: %s\n", d)
	}
	for _, l := range a.Restarted {
		fmt.Fprintf(&b, "restarted: %s\n", l)
	}
	for _, l := range a.Moved {
		fmt.Fprintf(&b, "moved: %s\n", l)
	}
	return b.String()
}
