package simulation

import "time"

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
