package main

import (
	"context"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/fleetd/doctor"
)

// examine is what fleetctl doctor asks for.
func (n *node) examine(ctx context.Context) api.Diagnosis {
	n.mu.Lock()
	cfg, presence, ag, watchdog := *n.cfg, n.presence, n.agent, n.supervisor.watchdog
	n.mu.Unlock()
	h := doctor.Host{
		Etcd: n.registry, Systemd: n.systemd, Known: n.known(), TTL: cfg.AgentTTL, Watchdog: watchdog, Revived: watchdog + revival,
		Phase: n.status(), Now: time.Now,
		// As the packages have it; where there is no etcd, there is no such directory.
		Dirs: []string{cfg.UnitsDirectory, "/", "/var/lib/etcd2", "/var/lib/etcd"},
	}
	if presence != nil && ag != nil {
		h.Joined, h.Self, h.Renewed, h.Suspended = true, presence.Machine(), presence.RenewedAt(), ag.Health()
	} else if m, err := n.identify(&cfg); err == nil {
		h.Self = m
	}
	return api.Diagnosis{
		MachineID: string(h.Self.ID), Hostname: h.Self.Hostname, Version: version,
		Findings: doctor.Examine(ctx, h),
	}
}
