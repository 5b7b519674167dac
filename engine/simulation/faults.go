package simulation

import (
	"time"
)

// faults are what is wrong at the moment, besides what is wrong with a link.
type faults struct {
	midBatch int // of a thousand of a leader's requests, the leader is stopped or killed in that
	over     bool
}

// faultNames are the kinds of faults that a plan may have.
var faultNames = []string{
	"host lost", "host rebooted", "host suspended", "fleetd killed", "fleetd killed in a call", "fleetd stopped",
	"cut off", "etcd can't be reached", "etcd isn't heard", "requests lost", "watch late",
	"etcd outage", "etcd slow", "compaction", "systemd away", "handed over",
	"schedule key deleted", "state deleted", "presence deleted", "cluster key deleted", "leader key deleted", "leader stopped in a batch",
}

// troubles draws faults, one after the other, until they are over.
func (w *world) troubles() {
	if len(w.plan.faults) == 0 {
		return
	}
	w.after(w.around(w.plan.every), func() {
		if w.faults.over {
			return
		}
		kind := w.plan.faults[w.rand.IntN(len(w.plan.faults))]
		if w.fault(kind) {
			w.count(kind)
		}
		w.troubles()
	})
}

// around draws a time of which the average is d.
func (w *world) around(d time.Duration) time.Duration {
	return time.Duration(w.rand.ExpFloat64() * float64(d))
}

// aWhile draws how long a fault lasts: moments, or longer than agent_ttl.
func (w *world) aWhile() time.Duration { return w.someTime(2*w.ttl + 10*time.Second) }

// fault makes one happen; false if it can't now.
func (w *world) fault(kind string) bool {
	n := w.hosts[w.rand.IntN(len(w.hosts))]
	id := n.Machine().ID
	switch kind {
	case "fleetd killed", "fleetd killed in a call", "fleetd stopped", "systemd away", "handed over":
		if w.now.Before(n.asleep) {
			return false // nothing runs there
		}
	}
	switch kind {
	case "host lost", "host rebooted":
		if !n.Up() {
			return false
		}
		off := 500*time.Millisecond + w.someTime(5*time.Second)
		if kind == "host lost" {
			off = w.aWhile()
		}
		w.note("", id, "%s for %s", kind, off)
		n.downUntil = w.now.Add(off)
		n.PowerOff(w.now)
	case "host suspended":
		if !n.Up() || w.now.Before(n.asleep) {
			return false
		}
		d := w.aWhile()
		w.note("", id, "the host is suspended for %s", d)
		n.Suspend(w.now, w.now.Add(d))
		n.link.slept += d
		n.poke()
	case "fleetd killed":
		if !n.Alive() {
			return false
		}
		away := w.someTime(2 * time.Second)
		if w.rand.IntN(4) == 0 {
			away = w.aWhile()
		}
		w.note("", id, "fleetd is killed, for %s", away)
		n.Kill()
		n.beginAt = w.now.Add(away)
	case "fleetd killed in a call":
		if !n.Alive() {
			return false
		}
		n.KillSoon(w.rand.IntN(12))
		w.note("", id, "fleetd is to be killed in a call of systemd")
	case "fleetd stopped":
		if !n.Alive() {
			return false
		}
		d := w.aWhile()
		w.note("", id, "fleetd is stopped for %s", d)
		n.Pause(w.now.Add(d))
	case "cut off", "etcd can't be reached", "etcd isn't heard", "requests lost", "watch late":
		w.breakLink(n, kind)
	case "etcd outage":
		if w.outage {
			return false
		}
		d := w.someTime(2 * time.Minute)
		w.note("", "", "etcd is away for %s", d)
		w.outage = true
		w.store.Freeze()
		w.after(d, w.etcdBack)
	case "etcd slow":
		d := w.aWhile()
		w.slowness = w.someTime(1500 * time.Millisecond)
		w.note("", "", "etcd takes %s for a message, for %s", w.slowness, d)
		w.after(d, func() { w.slowness = 0 })
	case "compaction":
		w.store.Compact(w.store.Revision())
	case "systemd away":
		if !n.Up() {
			return false
		}
		d := w.someTime(10 * time.Second)
		w.note("", id, "systemd can't be reached for %s", d)
		n.Disconnect(true)
		n.cripple(d)
		n.poke()
		w.after(d, func() { n.Disconnect(false); n.poke() })
	case "handed over":
		if !n.Alive() || n.stopped {
			return false
		}
		w.note("", id, "systemctl stop fleet")
		n.stopped, n.leaving = true, n.process
		n.Leave()
		n.poke()
		w.after(30*time.Second+w.aWhile(), func() { n.stopped = false })
	case "leader stopped in a batch":
		w.faults.midBatch = 300
		w.after(5*time.Second, func() { w.faults.midBatch = 0 })
		return false // it counts when it happens
	default:
		return w.byHand(kind)
	}
	return true
}

// cripple notes that nothing on the host can ask systemd to stop a unit for a while.
func (n *node) cripple(d time.Duration) {
	if t := n.world.now.Add(d); t.After(n.helpless) {
		n.helpless = t
	}
}

// breakLink has a host's way to etcd be broken for a while.
func (w *world) breakLink(n *node, kind string) {
	d, l := w.aWhile(), n.link
	w.note("", n.Machine().ID, "%s for %s", kind, d)
	switch kind {
	case "cut off":
		l.deaf, l.mute = true, true
	case "etcd can't be reached":
		l.mute = true
	case "etcd isn't heard":
		l.deaf = true
	case "requests lost":
		l.loss = 10 + w.rand.IntN(40)
	case "watch late":
		l.lag = w.someTime(20 * time.Second)
	}
	w.after(d, func() { w.mend(n) })
}

func (w *world) mend(n *node) {
	l := n.link
	l.deaf, l.mute, l.loss, l.lag = false, false, 0, 0
	w.note("", n.Machine().ID, "its way to etcd is whole")
	if n.process != nil {
		w.heal(n.process)
	}
}

func (w *world) etcdBack() {
	if !w.outage {
		return
	}
	w.note("", "", "etcd is back")
	w.outage = false
	w.store.Advance(w.now)
	w.store.Elect()
	for _, n := range w.hosts {
		if n.process != nil {
			w.heal(n.process)
		}
	}
	for _, p := range w.users {
		w.heal(p)
	}
}

// interruptLeader stops or kills a leader that is about to send a write.
func (w *world) interruptLeader(p *process) {
	n := w.byID[h(p)]
	w.count("leader stopped in a batch")
	w.faults.midBatch = 0
	d := w.someTime(20 * time.Second)
	w.note("", n.Machine().ID, "the leader is stopped for %s in the middle of its writes", d)
	if w.rand.IntN(2) == 0 {
		w.after(0, func() { n.Kill(); n.beginAt = w.now.Add(d) })
		return
	}
	n.Pause(w.now.Add(d))
}

// byHand deletes a key as somebody with etcdctl does.
func (w *world) byHand(kind string) bool {
	key := w.judge.someKey(kind)
	if key == "" || w.outage {
		return false
	}
	w.note("", "", "%s: %s", kind, key)
	value := w.store.Get(key).Value
	w.store.Delete(key)
	w.judge.deleted(key)
	if kind == "cluster key deleted" { // and puts it back, as the log says
		w.after(w.someTime(20*time.Second), func() { w.putBack(key, string(value)) })
	}
	return true
}

// putBack puts a key as soon as etcd is there.
func (w *world) putBack(key, value string) {
	if w.outage {
		w.after(time.Second, func() { w.putBack(key, value) })
		return
	}
	w.store.Put(key, value)
}

// calm ends all faults, and sees to it that all hosts are there.
func (w *world) calm() {
	w.faults = faults{over: true}
	w.slowness = 0
	w.note("", "", "all faults are over")
	w.etcdBack()
	for _, n := range w.hosts {
		n.stopped = false
		if !n.Up() {
			n.boot()
		}
		n.KillSoon(-1)
		n.Disconnect(false)
		w.mend(n)
		n.poke()
	}
}
