package platform

import (
	"context"
	"fmt"
	"strconv"
	"strings"
)

// CutOff cuts the host off from everything else, this machine included. Its
// link stays up and packets vanish, as in a real partition. Commands still run
// on it: they don't take the network.
func (h *Host) CutOff(ctx context.Context) error {
	if err := h.platform.desc.Net.setPort(ctx, h.desc.Number, portDisabled); err != nil {
		return fmt.Errorf("cut off %s: %w", h.desc.Name, err)
	}
	return nil
}

// CutFrom cuts the host off from some other hosts, in both directions, in
// addition to what is cut already.
func (h *Host) CutFrom(ctx context.Context, peers ...*Host) error {
	var rules strings.Builder
	for _, peer := range peers {
		fmt.Fprintf(&rules, "add rule inet fleet_cut in ip saddr %s drop\n", peer.IP())
		fmt.Fprintf(&rules, "add rule inet fleet_cut out ip daddr %s drop\n", peer.IP())
	}
	return h.cut(ctx, rules.String())
}

// CutPorts drops, in both directions, TCP and UDP between the network and these
// ports of the host or of others: `CutPorts(ctx, 2379)` takes etcd away from it.
func (h *Host) CutPorts(ctx context.Context, ports ...int) error {
	var rules strings.Builder
	for _, port := range ports {
		for _, match := range []string{"sport", "dport"} {
			fmt.Fprintf(&rules, "add rule inet fleet_cut in iif host0 th %s %d drop\n", match, port)
			fmt.Fprintf(&rules, "add rule inet fleet_cut out oif host0 th %s %d drop\n", match, port)
		}
	}
	return h.cut(ctx, rules.String())
}

// cut adds rules in the host's network namespace, before any of docker's; they
// end with the boot.
func (h *Host) cut(ctx context.Context, rules string) error {
	const table = `add table inet fleet_cut
add chain inet fleet_cut in { type filter hook prerouting priority -500; }
add chain inet fleet_cut out { type filter hook postrouting priority 500; }
`
	if err := h.nft(ctx, table+rules); err != nil {
		return fmt.Errorf("cut %s: %w", h.desc.Name, err)
	}
	return nil
}

// Rejoin ends every cut, and what else ails the host's network.
func (h *Host) Rejoin(ctx context.Context) error {
	// Adding first makes deleting succeed where there is no such table.
	if err := h.nft(ctx, "add table inet fleet_cut\ndelete table inet fleet_cut\n"); err != nil {
		return fmt.Errorf("rejoin %s: %w", h.desc.Name, err)
	}
	if h.impaired.Swap(false) {
		if err := h.unimpair(ctx); err != nil {
			return fmt.Errorf("rejoin %s: %w", h.desc.Name, err)
		}
	}
	if err := h.platform.desc.Net.setPort(ctx, h.desc.Number, portForwarding); err != nil {
		return fmt.Errorf("rejoin %s: %w", h.desc.Name, err)
	}
	return nil
}

// nft runs this machine's nft in the host's network namespace: the host has none.
func (h *Host) nft(ctx context.Context, rules string) error {
	leader, err := h.leader()
	if err != nil {
		return err
	}
	argv := []string{"nsenter", "-t", strconv.Itoa(leader), "-n", "nft", "-f", "-"}
	_, err = output(command(ctx, argv...), h.desc.Name, argv, strings.NewReader(rules))
	return err
}
