package simulation

import (
	"time"

	"github.com/fleet-project/fleet/registry"
)

// What goes wrong with etcd, on the way there, and by the hands of those who write
// there.

// linkFault breaks a host's way to etcd for a while.
func linkFault(name string, breaks func(w *world, l *link)) fault {
	return fault{name, func(w *world, n *node) bool {
		d := w.aWhile()
		w.note("", n.Machine().ID, "%s for %s", name, d)
		breaks(w, n.link)
		w.after(d, func() { w.mend(n) })
		return true
	}}
}

func cutOff(_ *world, l *link)      { l.deaf, l.mute = true, true }
func unreachable(_ *world, l *link) { l.mute = true }
func unheard(_ *world, l *link)     { l.deaf = true }
func lossy(w *world, l *link)       { l.loss = 10 + w.rand.IntN(40) }
func late(w *world, l *link)        { l.lag = w.someTime(20 * time.Second) }

func (w *world) mend(n *node) {
	l := n.link
	l.deaf, l.mute, l.loss, l.lag = false, false, 0, 0
	w.note("", n.Machine().ID, "its way to etcd is whole")
	if n.process != nil {
		w.heal(n.process)
	}
}

func etcdOutage(w *world, _ *node) bool {
	if w.outage {
		return false
	}
	d := w.someTime(2 * time.Minute)
	w.note("", "", "etcd is away for %s", d)
	w.outage = true
	w.store.Freeze()
	w.after(d, w.etcdBack)
	return true
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

func etcdSlow(w *world, _ *node) bool {
	d := w.aWhile()
	w.slowness = w.someTime(1500 * time.Millisecond)
	w.note("", "", "etcd takes %s for a message, for %s", w.slowness, d)
	w.after(d, func() { w.slowness = 0 })
	return true
}

func compaction(w *world, _ *node) bool {
	w.store.Compact(w.store.Revision())
	return true
}

// keyFault has somebody with etcdctl delete one of the keys there.
func keyFault(name, room string) fault {
	return fault{name, func(w *world, _ *node) bool {
		keys := w.store.Keys(registry.DefaultPrefix + room)
		if w.outage || len(keys) == 0 {
			return false
		}
		key := keys[w.rand.IntN(len(keys))]
		w.note("", "", "%s: %s", name, key)
		value := w.store.Get(key).Value
		w.store.Delete(key)
		w.judge.deleted(key)
		if room == "cluster" { // and puts it back, as the log says
			w.after(w.someTime(20*time.Second), func() { w.putBack(key, string(value)) })
		}
		return true
	}}
}

// putBack puts a key as soon as etcd is there.
func (w *world) putBack(key, value string) {
	if w.outage {
		w.after(time.Second, func() { w.putBack(key, value) })
		return
	}
	w.store.Put(key, value)
}
