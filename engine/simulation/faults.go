package simulation

import "time"

// faults are what is wrong at the moment, besides what is wrong with a link.
type faults struct {
	midBatch int  // of a thousand of a leader's requests, the leader is stopped or killed in that
	setNext  bool // the clock of whoever leads next is set
	over     bool
}

// fault is a kind of them. It happens to a host, or to etcd, whichever host was drawn;
// it gives false if it can't now.
type fault struct {
	name    string
	happens func(w *world, n *node) bool
}

// faultKinds are the faults that a plan may have.
var faultKinds = []fault{
	{"host lost", hostLost},
	{"host rebooted", hostRebooted},
	{"host suspended", hostSuspended},
	{"fleetd killed", fleetdKilled},
	{"fleetd killed in a call", fleetdKilledInACall},
	{"fleetd stopped", fleetdStopped},
	linkFault("cut off", cutOff),
	linkFault("etcd can't be reached", unreachable),
	linkFault("etcd isn't heard", unheard),
	linkFault("requests lost", lossy),
	linkFault("watch late", late),
	{"etcd outage", etcdOutage},
	{"etcd slow", etcdSlow},
	{"compaction", compaction},
	{"systemd away", systemdAway},
	{"handed over", handedOver},
	keyFault("schedule key deleted", "schedule/"),
	keyFault("state deleted", "states/"),
	keyFault("presence deleted", "machines/"),
	keyFault("cluster key deleted", "cluster"),
	keyFault("leader key deleted", "leader/"),
	{"leader stopped in a batch", leaderToBeStopped},
	{"clock set", clockSet},
	{"new leader's clock set", newLeaderSet},
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
		if kind.happens(w, w.hosts[w.rand.IntN(len(w.hosts))]) {
			w.count(kind.name)
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
