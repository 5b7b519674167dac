package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-project/fleet/bench/figure"
	"github.com/fleet-project/fleet/functional/platform"
)

// manyOnOne is how many units one host gets.
const manyOnOne = 1000

// caseThousand has one host run a thousand units, changes them all, and counts how
// often its systemd read all its files anew.
func caseThousand(ctx context.Context, b *bench) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Minute)
	defer cancel()
	h := b.Hosts[0]
	name := func(i int) string { return fmt.Sprintf("/root/units/thousand@%d.service", i) }
	// step runs one command and gives the reloads that it cost.
	step := func(text string, argv ...string) (took time.Duration, reloads int, err error) {
		if err = b.put(ctx, "/root/units/thousand@.service", text+sleeper+"[X-Fleet]\nMachineMetadata=index=0\n"); err != nil {
			return 0, 0, err
		}
		before, err := reloadsOf(ctx, h)
		if err != nil {
			return 0, 0, err
		}
		args := append([]string{"time", "fleetctl"}, argv...)
		for i := range manyOnOne {
			args = append(args, name(i))
		}
		if took, err = floor[time.Duration](ctx, h, args...); err != nil {
			return 0, 0, err
		}
		after, err := reloadsOf(ctx, h)
		return took, after - before, err
	}
	say("%d units on one host", manyOnOne)
	took, reloads, err := step("", "start")
	if err != nil {
		return err
	}
	b.report.Add(subject,
		figure.Figure{Name: fmt.Sprintf("start of %d new units on one host", manyOnOne), Unit: "ms", Value: figure.Millis(took)},
		figure.Figure{Name: "daemon-reloads that they cost", Value: float64(reloads), Want: figure.AtMost(0), Note: "counted by systemd"},
	)
	say("all of them changed by one command")
	if took, reloads, err = step("# changed\n", "start", "--replace"); err != nil {
		return err
	}
	if reloads == 0 { // and so none above proves nothing
		return errors.New("the journal of a host that runs changed units has no reload: how does its systemd log one?")
	}
	b.report.Add(subject,
		figure.Figure{Name: fmt.Sprintf("start --replace of %d units that run on one host", manyOnOne), Unit: "ms", Value: figure.Millis(took)},
		figure.Figure{Name: "daemon-reloads that they cost, changed", Value: float64(reloads), Note: "one for each batch: the units that come in while systemd reloads are the next"},
	)
	say("all of them destroyed")
	_, _, err = step("", "destroy")
	return err
}

// reloadsOf is how many daemon-reloads a host's systemd has logged since it booted.
func reloadsOf(ctx context.Context, h *platform.Host) (int, error) {
	out, err := h.Run(ctx, "sh", "-c", `journalctl --sync; journalctl --boot --output=cat _PID=1 | grep -c '^Reloading\.' || true`)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(strings.TrimSpace(out))
}
