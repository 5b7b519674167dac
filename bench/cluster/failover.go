package main

import (
	"context"
	"fmt"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/bench/figure"
	"github.com/fleet-project/fleet/unit"
)

// failingOver has the lead change hands twice: once the leader resigns, once it
// is killed. The next one leads when it has placed a unit that was submitted
// while nobody did.
func failingOver(ctx context.Context, f *fleet, report *figure.Report) error {
	for _, c := range []struct {
		name string
		end  func(*serving) error
	}{
		{"resigned", func(s *serving) error { return s.end() }},
		{"killed", func(s *serving) error { s.kill(); return nil }},
	} {
		if err := f.takeOver(ctx, report, c.name, c.end); err != nil {
			return fmt.Errorf("the leader %s: %w", c.name, err)
		}
	}
	return nil
}

func (f *fleet) takeOver(ctx context.Context, report *figure.Report, how string, end func(*serving) error) error {
	old := f.servers[len(f.servers)-1]
	next, err := f.addServer()
	if err != nil {
		return err
	}
	seen, err := observe(ctx, next)
	if err != nil {
		return err
	}
	defer seen.stop()
	if err := seen.await(ctx, "the standby's API", func() bool { return len(seen.active) > 0 }); err != nil {
		return err
	}
	before, err := f.counted()
	if err != nil {
		return err
	}
	busy := next.processor()
	ended := time.Now()
	if err := end(old); err != nil {
		return err
	}
	name := unit.Name("after-" + how + ".service")
	asked := time.Now()
	if _, err := next.client.SetUnit(ctx, api.Unit{
		Name: name, Text: "[Service]\nExecStart=/bin/true\n", DesiredState: unit.TargetLaunched,
	}); err != nil {
		return err
	}
	var active time.Time
	patience, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	if err := seen.await(patience, "the next leader", func() (ok bool) {
		active, ok = seen.active[name]
		return ok
	}); err != nil {
		return err
	}
	since, err := next.metric("fleet_engine_leader_start_time")
	if err != nil {
		return err
	}
	elected := time.Unix(0, int64(since*1e9))
	if elected.Before(asked) {
		// It was elected before the unit was there: what it took from then on would
		// count the time of submitting, too.
		elected = asked
	}
	busy = next.processor() - busy
	// A unit that is moved for no reason may be so a moment later.
	if err := f.settle(patience); err != nil {
		return err
	}
	after, err := f.counted()
	if err != nil {
		return err
	}
	moved := after.Starts - before.Starts - 1 + after.Stops - before.Stops
	report.Add(subjectOf(f.o),
		figure.Figure{Name: "the leader " + how + ": the next one has placed a unit, from its election", Value: active.Sub(elected).Seconds(), Unit: "s", Want: figure.AtMost(2)},
		figure.Figure{Name: "the leader " + how + ": the same from the old one's end", Value: active.Sub(ended).Seconds(), Unit: "s"},
		figure.Figure{Name: "  processor time of the next one meanwhile", Value: busy.Seconds(), Unit: "s"},
		figure.Figure{Name: "the leader " + how + ": units that were moved, restarted or stopped", Value: float64(moved), Want: figure.AtMost(0)},
	)
	return nil
}

// settle waits until nothing was written for a second.
func (f *fleet) settle(ctx context.Context) error {
	const still, every = time.Second, 50 * time.Millisecond
	looks := time.NewTicker(every)
	defer looks.Stop()
	last, since := -1.0, time.Now()
	for time.Since(since) < still {
		revision, err := f.etcd.metric("etcd_debugging_mvcc_current_revision")
		if err != nil {
			return err
		}
		if revision != last {
			last, since = revision, time.Now()
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for etcd's revision to stay: %w", ctx.Err())
		case <-looks.C:
		}
	}
	return nil
}
