package platform

import (
	"context"
	"errors"
	"fmt"
	"strconv"
)

// Direction is the way that packets go between a host and its network.
type Direction string

// The two of them.
const (
	Incoming Direction = "incoming" // to the host
	Outgoing Direction = "outgoing" // from it
)

// CutOneWay drops what goes one way between the host and everything else, this
// machine included: with Outgoing it hears all and nobody hears it.
func (h *Host) CutOneWay(ctx context.Context, d Direction) error {
	rule := "add rule inet fleet_cut in iif host0 drop\n"
	if d == Outgoing {
		rule = "add rule inet fleet_cut out oif host0 drop\n"
	}
	return h.cut(ctx, rule)
}

// LosePackets drops so many of a hundred packets at random, each way.
func (h *Host) LosePackets(ctx context.Context, percent int) error {
	h.impaired.Store(true)
	lose := []string{"-m", "statistic", "--mode", "random", "--probability", fmt.Sprintf("0.%02d", percent), "-j", "DROP"}
	for _, at := range [][]string{{"PREROUTING", "-i", "host0"}, {"POSTROUTING", "-o", "host0"}} {
		argv := append([]string{"iptables", "-w", "-t", "mangle", "-A"}, at...)
		if _, err := h.Run(ctx, append(argv, lose...)...); err != nil {
			return fmt.Errorf("lose packets of %s: %w", h.desc.Name, err)
		}
	}
	return nil
}

// Slow limits the host's link to so many kilobits a second, each way. What waits
// longer than half a second is dropped, as a router with a small buffer would.
func (h *Host) Slow(ctx context.Context, kbit int) error {
	h.impaired.Store(true)
	limit := []string{"root", "tbf", "rate", strconv.Itoa(kbit) + "kbit", "burst", "8kb", "latency", "500ms"}
	return h.shape(ctx, "slow down", func(dev string) []string {
		return append([]string{"tc", "qdisc", "replace", "dev", dev}, limit...)
	})
}

// shape runs this machine's tc for both ends of the host's link: each limits what
// it sends.
func (h *Host) shape(ctx context.Context, what string, argv func(dev string) []string) error {
	leader, err := h.leader()
	if err != nil {
		return err
	}
	_, inside := run(ctx, append([]string{"nsenter", "-t", strconv.Itoa(leader), "-n"}, argv("host0")...)...)
	_, outside := run(ctx, argv(h.platform.desc.Net.link(h.desc.Number))...)
	if err := errors.Join(inside, outside); err != nil {
		return fmt.Errorf("%s %s: %w", what, h.desc.Name, err)
	}
	return nil
}

// unimpair ends packet loss and slowness, either or both.
func (h *Host) unimpair(ctx context.Context) error {
	const flush = `for chain in PREROUTING POSTROUTING; do iptables -w -t mangle -F $chain; done`
	if _, err := h.Run(ctx, "sh", "-ec", flush); err != nil {
		return err
	}
	return h.shape(ctx, "unbind", func(dev string) []string {
		// Replacing first makes deleting succeed where there is nothing.
		return []string{"sh", "-ec", `tc qdisc replace dev "$0" root pfifo; tc qdisc del dev "$0" root`, dev}
	})
}

// LimitDir puts a filesystem of so many bytes on a directory of the running host,
// in memory, with what the directory holds: for disks that are full. It lasts until
// the host is off.
func (h *Host) LimitDir(ctx context.Context, dir string, bytes int64) error {
	const mount = `mkdir -p "$0"; kept=$(mktemp -d); cp -a "$0/." "$kept/"
mount -t tmpfs -o "size=$1,mode=0755" small "$0"
cp -a "$kept/." "$0/"; rm -r "$kept"`
	if _, err := h.Run(ctx, "sh", "-ec", mount, dir, strconv.FormatInt(bytes, 10)); err != nil {
		return fmt.Errorf("limit %s of %s: %w", dir, h.desc.Name, err)
	}
	return nil
}
