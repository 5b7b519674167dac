package simulation

import (
	"testing"
	"time"
)

// What package time makes of a simulated host's time is what it makes of time.Now's.
func TestAClockThatIsSet(t *testing.T) {
	const passes, years = 5 * time.Second, 3 * 365 * 24 * time.Hour
	for _, c := range []struct {
		name       string
		meanwhile  func(w *world, l *link)
		told, wall time.Duration // what seems to have passed, and by the wall's clock
		uptime     time.Duration
	}{
		{"let be", func(*world, *link) {}, passes, passes, passes},
		{"set forwards", func(_ *world, l *link) { l.set += years }, passes, passes + years, passes},
		{"set back", func(_ *world, l *link) { l.set -= years }, passes, passes - years, passes},
		{"of a host that was suspended", func(w *world, l *link) { l.slept += time.Hour; w.now = w.now.Add(time.Hour) }, passes, passes + time.Hour, passes + time.Hour},
	} {
		t.Run(c.name, func(t *testing.T) {
			w, l := &world{}, &link{}
			w.now = epoch.Add(time.Minute)
			clock := hostClock{w, l}
			before, up := clock.Now(), clock.Boottime()
			deadline := before.Add(passes)
			c.meanwhile(w, l)
			w.now = w.now.Add(passes)
			now := clock.Now()
			if d := now.Sub(before); d != c.told {
				t.Errorf("%s seem to have passed, want %s", d, c.told)
			}
			if !now.Equal(deadline) || now.Before(deadline) || now.After(deadline) {
				t.Errorf("it is not yet, or no more, the time at which it was due: %s, %s", now, deadline)
			}
			for name, loses := range map[string]func(time.Time) time.Time{
				"Round":    func(t time.Time) time.Time { return t.Round(0) },
				"UTC":      time.Time.UTC,
				"UnixNano": func(t time.Time) time.Time { return time.Unix(0, t.UnixNano()) },
			} {
				if d := loses(now).Sub(loses(before)); d != c.wall {
					t.Errorf("%s have passed on the wall's clock by %s, want %s", d, name, c.wall)
				}
				if d := loses(now).Sub(before); d != c.wall {
					t.Errorf("%s have passed with one reading lost by %s, want %s", d, name, c.wall)
				}
			}
			if d := clock.Boottime() - up; d != c.uptime {
				t.Errorf("the host is %s longer up, want %s", d, c.uptime)
			}
		})
	}
}

func TestAClockThatDrifts(t *testing.T) {
	w, l := &world{}, &link{drift: 0.002, slept: time.Second}
	w.now = epoch.Add(time.Minute)
	clock := hostClock{w, l}
	due := clock.monotonic(w.now) + 501*time.Second
	at := clock.trueTime(due)
	if d := at.Sub(w.now); d < 499*time.Second || d > 501*time.Second {
		t.Errorf("a fast clock shows what it does 501 s later after %s", d)
	}
	if clock.monotonic(at) < due || clock.monotonic(at.Add(-time.Microsecond)) >= due {
		t.Errorf("it shows %s then, want %s", clock.monotonic(at), due)
	}
}
