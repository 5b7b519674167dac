package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/fleet-project/fleet/bench/figure"
	"github.com/fleet-project/fleet/functional/platform"
)

const (
	// perHost is how many units each host gets.
	perHost = 100
	// rounds are how often all of them are started, stopped and destroyed: by
	// hand and by fleet in turns, since the machine may be slow for a while.
	rounds = 5
)

// caseMany does one thing to many units by one command.
func caseMany(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	if err := b.put(ctx, "/root/units/many@.service", sleeper); err != nil {
		return err
	}
	verbs := []string{"start", "stop", "destroy"}
	hand, fleet := map[string][]time.Duration{}, map[string][]time.Duration{}
	for round := range rounds {
		say("round %d of %d: %d units by hand, and by fleet", round+1, rounds, perHost*len(b.Hosts))
		for _, verb := range verbs {
			if verb == "destroy" { // of what runs
				if _, err := b.byHand(ctx, "start"); err != nil {
					return err
				}
				if _, err := b.byFleet(ctx, "start"); err != nil {
					return err
				}
			}
			took, err := b.byHand(ctx, verb)
			if err != nil {
				return err
			}
			hand[verb] = append(hand[verb], took)
			if took, err = b.byFleet(ctx, verb); err != nil {
				return err
			}
			fleet[verb] = append(fleet[verb], took)
			// It was waited for, so it is done.
			want := 0
			if verb == "start" {
				want = perHost * len(b.Hosts)
			}
			if n, err := b.active(ctx, "many@*"); err != nil || n != want {
				return errors.Join(err, fmt.Errorf("after fleetctl %s, %d units are active, not %d", verb, n, want))
			}
		}
	}
	for _, verb := range verbs {
		median := func(took []time.Duration) float64 { return figure.Millis(figure.Quantile(took, 0.5)) }
		floor := median(hand[verb])
		b.report.Add(subject, figure.Figure{
			Name: fmt.Sprintf("fleetctl %s of %d units, waited for", verb, perHost*len(b.Hosts)), Unit: "ms", Value: median(fleet[verb]),
			Beside: &figure.Beside{Name: fmt.Sprintf("%d by hand on each host, in parallel", perHost), Value: floor},
			Want:   figure.AtMost(1.5 * floor), Note: fmt.Sprintf("medians of %d rounds; one command", rounds),
		})
	}
	return nil
}

// byHand does it on all hosts at once, and gives how long the slowest took.
func (b *bench) byHand(ctx context.Context, verb string) (time.Duration, error) {
	took := make([]time.Duration, len(b.Hosts))
	err := b.onAll(func(i int, h *platform.Host) (err error) {
		took[i], err = floor[time.Duration](ctx, h, verb, "hand", strconv.Itoa(perHost))
		return err
	})
	return figure.Quantile(took, 1), err
}

// byFleet does it by one fleetctl.
func (b *bench) byFleet(ctx context.Context, verb string) (time.Duration, error) {
	args := []string{"time", "fleetctl", verb}
	for i := range perHost * len(b.Hosts) {
		args = append(args, fmt.Sprintf("/root/units/many@%d.service", i))
	}
	return floor[time.Duration](ctx, b.Hosts[0], args...)
}
