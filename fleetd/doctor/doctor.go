// Package doctor examines a host and the cluster as that host sees it, for
// fleetctl doctor: etcd's members, the clocks, the cluster's own key, who leads,
// the hosts and their leases, systemd, the disks. It changes nothing. Each
// finding that is not fine says what to do.
//
// It is asked most when something does not answer: each check has its own time
// and fails by itself.
package doctor

import (
	"context"
	"sync"
	"time"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
)

// patience bounds the whole examination: fleetctl gives a request three seconds.
const patience = 2500 * time.Millisecond

// Etcd is what is asked of the registry; [registry.Registry] says what the
// methods do.
type Etcd interface {
	Endpoints(ctx context.Context) []registry.Endpoint
	Members(ctx context.Context) ([]registry.Member, error)
	ClockOf(ctx context.Context, endpoint string) (ahead time.Duration, err error)
	Health() error
	Cluster(ctx context.Context) (*record.Cluster, error)
	CheckCluster(found *record.Cluster, known record.ClusterID) error
	CheckWriter(found *record.Cluster) error
	Leader(ctx context.Context) (machine.ID, error)
	Machines(ctx context.Context) (all []machine.Machine, endless []machine.ID, err error)
}

// Systemd is what is asked of the host's systemd.
type Systemd interface {
	Manager(ctx context.Context) (systemd.Manager, error)
}

// Host is what is examined.
type Host struct {
	Etcd    Etcd
	Systemd Systemd
	// Self is the host as it presents itself.
	Self machine.Machine
	// Known is the id by which the host knows its cluster; "": it has joined none.
	Known record.ClusterID
	// TTL of its lease (agent_ttl); Watchdog is how long systemd waits for a sign
	// of life, 0: for ever; Revived is when another fleetd has renewed the lease then.
	TTL, Watchdog, Revived time.Duration
	// Joined: the host is in the cluster. Renewed is when the last renewal of its
	// lease was sent.
	Joined  bool
	Renewed time.Time
	// Phase says in fleetd's own words what it does now.
	Phase string
	// Suspended is why the agent changes nothing; nil: it follows its schedule.
	Suspended error
	// Dirs are the directories that must have room.
	Dirs []string
	// Now tells the time.
	Now func() time.Time
}

// Examine makes all checks, at once, and gives what they found in a fixed order.
func Examine(ctx context.Context, h Host) []api.Finding {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	checks := []func(context.Context) []api.Finding{
		h.fleetd, h.lease, h.watchdog, h.systemd, h.disks,
		h.etcd, h.cluster, h.leader, h.machines,
	}
	found := make([][]api.Finding, len(checks))
	var examining sync.WaitGroup
	for i, check := range checks {
		examining.Go(func() { found[i] = check(ctx) })
	}
	examining.Wait()
	var all []api.Finding
	for _, f := range found {
		all = append(all, f...)
	}
	return all
}

func fine(check, subject, found string) api.Finding {
	return api.Finding{Check: check, Subject: subject, Level: api.LevelOK, Found: found}
}

func warning(check, subject, found, remedy string) api.Finding {
	return api.Finding{Check: check, Subject: subject, Level: api.LevelWarning, Found: found, Remedy: remedy}
}

func failure(check, subject, found, remedy string) api.Finding {
	return api.Finding{Check: check, Subject: subject, Level: api.LevelError, Found: found, Remedy: remedy}
}
