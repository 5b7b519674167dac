package simulation

import (
	"time"
	"unsafe"
)

// hostClock is the clocks of a link's host, which run a little fast or slow.
type hostClock struct {
	world *world
	link  *link
}

// Now is Clock's.
func (c hostClock) Now() time.Time {
	return reading(epoch.Add(c.Boottime()+c.link.set), c.monotonic(c.world.now))
}

// Boottime is Clock's.
func (c hostClock) Boottime() time.Duration { return c.monotonic(c.world.now) + c.link.slept }

// monotonic is what the clock that nobody sets shows at a true time.
func (c hostClock) monotonic(t time.Time) time.Duration {
	passed := t.Sub(epoch) - c.link.slept
	return passed + time.Duration(float64(passed)*c.link.drift)
}

// trueTime is when that clock will show m, or just after, unless the host is
// suspended meanwhile.
func (c hostClock) trueTime(m time.Duration) time.Time {
	at := epoch.Add(c.link.slept + time.Duration(float64(m)/(1+c.link.drift)))
	for c.monotonic(at) < m { // it is rounded
		at = at.Add(1)
	}
	return at
}

// lasts is how long a time is, truly, that passes by that clock.
func (c hostClock) lasts(d time.Duration) time.Duration {
	return time.Duration(float64(d) / (1 + c.link.drift))
}

// layout is a time.Time's in memory, while it has a monotonic reading.
type layout struct {
	wall      uint64 // a bit that there is one, 33 of seconds since 1885, 30 of nanoseconds
	monotonic int64
	_         *time.Location
}

// reading makes a time of which the two readings have nothing to do with each other.
// Package time gives none but time.Now's, of the machine's own clocks; and it is by
// these readings that programs go right or wrong when a clock is set: what they
// compare, subtract and lose must be what a real host's clocks would have given.
func reading(wall time.Time, monotonic time.Duration) time.Time {
	const there, second = 1 << 63, 1 << 30
	since1885 := wall.Unix() - time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	t := wall
	l := (*layout)(unsafe.Pointer(&t))
	l.wall = there | uint64(since1885)*second | uint64(wall.Nanosecond())
	l.monotonic = int64(monotonic)
	return t
}
