package doctor

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
)

// cluster is whether etcd holds the cluster that this host belongs to, in a
// schema that this fleetd speaks.
func (h Host) cluster(ctx context.Context) []api.Finding {
	const check = "cluster"
	found, err := h.Etcd.Cluster(ctx)
	if err != nil {
		return []api.Finding{failure(check, "its key", err.Error(), "see the findings on etcd above")}
	}
	var trouble *registry.ClusterError
	if err := h.Etcd.CheckCluster(found, h.Known); errors.As(err, &trouble) {
		return []api.Finding{failure(check, "its key", trouble.Msg, trouble.Remedy)}
	}
	if err := h.Etcd.CheckWriter(found); errors.As(err, &trouble) {
		return []api.Finding{warning(check, string(found.ID), trouble.Msg, trouble.Remedy)}
	}
	return []api.Finding{fine(check, string(found.ID), "schema "+found.Schema)}
}

// leader is whether somebody schedules.
func (h Host) leader(ctx context.Context) []api.Finding {
	const check = "leader"
	id, err := h.Etcd.Leader(ctx)
	switch {
	case err != nil:
		return nil // cluster says why etcd can't be asked
	case id == "":
		return []api.Finding{failure(check, "engine", "nobody leads: nothing is placed or moved",
			"a fleetd with disable_engine=false must be in touch with etcd; journalctl -u fleet | grep engine says why one doesn't lead")}
	}
	return []api.Finding{fine(check, id.Short(), "its engine leads")}
}

// machines looks for hosts that can't be told apart, and for versions.
func (h Host) machines(ctx context.Context) []api.Finding {
	const check = "machines"
	all, endless, err := h.Etcd.Machines(ctx)
	if err != nil {
		return nil // cluster says why etcd can't be asked
	}
	versions, hostnames, addresses := map[string][]machine.ID{}, map[string][]machine.ID{}, map[string][]machine.ID{}
	var out []api.Finding
	for _, m := range all {
		versions[m.Version] = append(versions[m.Version], m.ID)
		hostnames[m.Hostname] = append(hostnames[m.Hostname], m.ID)
		addresses[m.IP] = append(addresses[m.IP], m.ID)
		if m.ID == h.Self.ID && m.BootID != h.Self.BootID {
			out = append(out, failure(check, m.ID.Short(), fmt.Sprintf("another live host, %s at %s, has this host's machine-id", m.Hostname, m.IP),
				"on the one that was cloned: rm /etc/machine-id && systemd-machine-id-setup, then systemctl restart fleet"))
		}
	}
	out = append(out, shared(addresses, "address", "two hosts with one address can't both be reached: set public_ip in fleet.conf, or wait if the host was installed anew (its old self goes after agent_ttl)")...)
	out = append(out, shared(hostnames, "hostname", "harmless to fleet, confusing to people: hostnamectl set-hostname")...)
	for _, id := range endless {
		out = append(out, failure(check, id.Short(), "its presence is on no lease: it would never count as lost",
			"somebody wrote the key by hand; systemctl restart fleet on that host puts it right, and if there is no such host, etcdctl del its key"))
	}
	if len(versions) > 1 {
		said := make([]string, 0, len(versions))
		for _, v := range sorted(versions) {
			said = append(said, fmt.Sprintf("%s on %d", v, len(versions[v])))
		}
		out = append(out, warning(check, "versions", strings.Join(said, ", "), "fine while you upgrade: one host after the other, no unit restarts; fleetctl list-machines --fields machine,hostname,version"))
	}
	return append(out, fine(check, fmt.Sprintf("%d present", len(all)), strings.Join(sorted(versions), ", ")))
}

// shared tells of what several machines have that each should have for itself.
func shared(by map[string][]machine.ID, what, remedy string) []api.Finding {
	var out []api.Finding
	for _, value := range sorted(by) {
		ids := by[value]
		if value == "" || len(ids) < 2 {
			continue
		}
		names := make([]string, len(ids))
		for i, id := range ids {
			names[i] = id.Short()
		}
		out = append(out, warning("machines", value, fmt.Sprintf("is the %s of %d machines: %s", what, len(ids), strings.Join(names, ", ")), remedy))
	}
	return out
}

func sorted[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }
