package main

import (
	"context"
	"fmt"
	"strings"

	"github.com/fleet-project/fleet/functional/platform"
)

// sleeper is the unit that everything is measured with.
const sleeper = "[Service]\nExecStart=/bin/sleep infinity\n"

// put writes a file on all hosts.
func (b *bench) put(ctx context.Context, path, text string) error {
	return b.onAll(func(_ int, h *platform.Host) error { return h.WriteFile(ctx, path, platform.File{Content: text}) })
}

// startInstances starts so many sleepers of one template and returns when all
// are active.
func (b *bench) startInstances(ctx context.Context, prefix string, n int) error {
	h := b.Any()
	if err := h.WriteFile(ctx, "/root/units/"+prefix+"@.service", platform.File{Content: sleeper}); err != nil {
		return err
	}
	args := []string{"sh", "-ec", `cd /root/units; exec fleetctl start "$@"`, "sh"}
	for i := range n {
		args = append(args, fmt.Sprintf("%s@%d.service", prefix, i+1))
	}
	_, err := h.Run(ctx, args...)
	return err
}

// destroyAll leaves no unit.
func (b *bench) destroyAll(ctx context.Context) error {
	left, err := b.Fleetctl(ctx, "list-unit-files", "--no-legend", "--fields", "unit")
	if err != nil || left == "" {
		return err
	}
	_, err = b.Fleetctl(ctx, append([]string{"destroy"}, strings.Fields(left)...)...)
	return err
}

// active is how many units of a name are active on all hosts, as systemd says.
func (b *bench) active(ctx context.Context, pattern string) (n int, err error) {
	for _, h := range b.Hosts {
		units, err := activeSince(ctx, h, pattern)
		if err != nil {
			return 0, err
		}
		n += len(units)
	}
	return n, nil
}
