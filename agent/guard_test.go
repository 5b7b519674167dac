package agent

import (
	"testing"
	"time"
)

// A fleetd is restarted while the host is cut off: the lease of the one before
// still ends when it ends.
func TestGuard(t *testing.T) {
	clock := newFakeClock()
	r := newRig(t)
	booted := clock.Now().Add(-time.Hour)
	r.opts.Clock = clock
	r.opts.Uptime = func() (time.Duration, error) { return clock.Now().Sub(booted), nil }
	r.cluster.renewed = clock.Now()
	r.start()
	pass := func(d time.Duration) {
		t.Helper()
		for ; d > 0; d -= 100 * time.Millisecond {
			r.idleNow()
			clock.advance(100 * time.Millisecond)
		}
		r.idleNow()
	}
	r.cluster.tell(place("keep.service", launched(r.cluster.file(sleeper))), place("stop.service", launched(r.cluster.file(isolated))))
	pass(5 * time.Second)
	r.cluster.mu.Lock()
	r.cluster.renewed = clock.Now()
	r.cluster.mu.Unlock()
	pass(5 * time.Second)
	r.stop()
	r.sys.log()
	clock.advance(3 * time.Second)

	r.run(newGuard(r.opts))
	pass(11900 * time.Millisecond) // 19.9 s after the renewal
	if log := r.sys.log(); len(log) > 0 {
		t.Errorf("after 19.9 s: %v", log)
	}
	pass(200 * time.Millisecond)
	if log := r.sys.log(); len(log) != 1 || log[0] != "stop stop.service" {
		t.Errorf("after 20.1 s: %v", log)
	}
	r.stop()
	// Joined at last.
	r.cluster.renewed = clock.Now()
	r.start()
	pass(time.Second)
	if u := r.sys.get("stop.service"); u.active != "active" {
		t.Errorf("back: it is %s", u.active)
	}
}

func TestUptime(t *testing.T) {
	up, err := uptime()
	if err != nil || up <= 0 {
		t.Error(up, err)
	}
}
