package simulation

import (
	"math"
	"time"
)

// What goes wrong with a host, its systemd and its fleetd.

// asleepNow reports whether nothing runs on the host, as it is suspended.
func (n *node) asleepNow() bool { return n.world.now.Before(n.asleep) }

func hostLost(w *world, n *node) bool { return n.lose("lost", w.aWhile) }

func hostRebooted(w *world, n *node) bool {
	return n.lose("rebooted", func() time.Duration { return 500*time.Millisecond + w.someTime(5*time.Second) })
}

func (n *node) lose(how string, off func() time.Duration) bool {
	if !n.Up() {
		return false
	}
	w, d := n.world, off()
	w.note("", n.Machine().ID, "host %s for %s", how, d)
	n.downUntil = w.now.Add(d)
	n.PowerOff(w.now)
	return true
}

func hostSuspended(w *world, n *node) bool {
	if !n.Up() || n.asleepNow() {
		return false
	}
	d := w.aWhile()
	w.note("", n.Machine().ID, "the host is suspended for %s", d)
	n.Suspend(w.now, w.now.Add(d))
	n.link.slept += d
	n.poke()
	return true
}

func fleetdKilled(w *world, n *node) bool {
	if !n.Alive() || n.asleepNow() {
		return false
	}
	away := w.someTime(2 * time.Second)
	if w.rand.IntN(4) == 0 {
		away = w.aWhile()
	}
	w.note("", n.Machine().ID, "fleetd is killed, for %s", away)
	n.Kill()
	n.beginAt = w.now.Add(away)
	return true
}

func fleetdKilledInACall(w *world, n *node) bool {
	if !n.Alive() || n.asleepNow() {
		return false
	}
	n.KillSoon(w.rand.IntN(12))
	w.note("", n.Machine().ID, "fleetd is to be killed in a call of systemd")
	return true
}

func fleetdStopped(w *world, n *node) bool {
	if !n.Alive() || n.asleepNow() {
		return false
	}
	d := w.aWhile()
	w.note("", n.Machine().ID, "fleetd is stopped for %s", d)
	n.Pause(w.now.Add(d))
	return true
}

func systemdAway(w *world, n *node) bool {
	if !n.Up() || n.asleepNow() {
		return false
	}
	d := w.someTime(10 * time.Second)
	w.note("", n.Machine().ID, "systemd can't be reached for %s", d)
	n.Disconnect(true)
	n.cripple(d)
	n.poke()
	w.after(d, func() { n.Disconnect(false); n.poke() })
	return true
}

// cripple notes that nothing on the host can ask systemd to stop a unit for a while.
func (n *node) cripple(d time.Duration) {
	if t := n.world.now.Add(d); t.After(n.helpless) {
		n.helpless = t
	}
}

// clockSet has a host's wall clock be set, and a few more times in the moments after:
// what sets a clock wrong is seldom alone with it.
func clockSet(w *world, n *node) bool {
	if !n.Up() || n.asleepNow() {
		return false
	}
	n.setClock()
	at := time.Duration(0)
	for range w.rand.IntN(6) {
		at += w.someTime(15 * time.Second)
		w.after(at, n.setClock)
	}
	return true
}

// newLeaderSet has the clock of whoever leads next be set while it gives the missing
// their time.
func newLeaderSet(w *world, _ *node) bool {
	w.faults.setNext = true
	return false // it counts when it happens
}

// crown has the world know that a process's engine leads from now on.
func (w *world) crown(p *process) {
	n := w.byID[h(p)]
	w.count("leader elected")
	w.note("", n.Machine().ID, "leads now")
	if w.faults.setNext {
		w.faults.setNext = false
		w.count("new leader's clock set")
		w.after(w.someTime(w.ttl), n.setClock)
	}
}

// setClock sets the wall clock right, or a second to ten years ahead of or behind the
// truth. It stays so when faults are over: nothing needs it to be right.
func (n *node) setClock() {
	const most = 10 * 365 * 24 * time.Hour
	w := n.world
	if !n.Up() || n.asleepNow() || w.faults.over {
		return
	}
	d := time.Duration(float64(time.Second) * math.Pow(most.Seconds(), w.rand.Float64()))
	switch w.rand.IntN(5) {
	case 0:
		d = 0
	case 1, 2:
		d = -d
	}
	w.note("", n.Machine().ID, "the clock is set: it was %s ahead of the truth, and is %s", n.link.set, d)
	n.link.set = d
}

func handedOver(w *world, n *node) bool {
	if !n.Alive() || n.stopped || n.asleepNow() {
		return false
	}
	w.note("", n.Machine().ID, "systemctl stop fleet")
	n.stopped, n.leaving = true, n.process
	n.Leave()
	n.poke()
	w.after(30*time.Second+w.aWhile(), func() { n.stopped = false })
	return true
}

func leaderToBeStopped(w *world, _ *node) bool {
	w.faults.midBatch = 300
	w.after(5*time.Second, func() { w.faults.midBatch = 0 })
	return false // it counts when it happens
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
