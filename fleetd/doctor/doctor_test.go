package doctor

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/agent/systemd"
	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
)

var now = time.Date(2026, 11, 21, 3, 0, 0, 0, time.UTC)

// patient answers what it is made of. Its zero value is in the best of health,
// with one etcd member, which is this host's own.
type patient struct {
	endpoints []registry.Endpoint
	members   []registry.Member
	noMembers error
	ahead     time.Duration
	cluster   *record.Cluster
	trouble   error
	older     error
	leader    machine.ID
	leaderErr error
	machines  []machine.Machine
	endless   []machine.ID
	systemd   error
}

func (p *patient) Endpoints(context.Context) []registry.Endpoint { return p.endpoints }
func (p *patient) Members(context.Context) ([]registry.Member, error) {
	return p.members, p.noMembers
}
func (p *patient) ClockOf(context.Context, string) (time.Duration, error) { return p.ahead, nil }
func (p *patient) Health() error                                          { return nil }
func (p *patient) Cluster(context.Context) (*record.Cluster, error)       { return p.cluster, p.noMembers }
func (p *patient) CheckCluster(*record.Cluster, record.ClusterID) error   { return p.trouble }
func (p *patient) CheckWriter(*record.Cluster) error                      { return p.older }
func (p *patient) Leader(context.Context) (machine.ID, error)             { return p.leader, p.leaderErr }
func (p *patient) Machines(context.Context) ([]machine.Machine, []machine.ID, error) {
	return p.machines, p.endless, p.leaderErr
}
func (p *patient) Manager(context.Context) (systemd.Manager, error) {
	return systemd.Manager{Version: "252"}, p.systemd
}

func self() machine.Machine {
	return machine.Machine{ID: "11111111111111111111111111111111", BootID: "b1", Hostname: "one", IP: "10.0.0.1", Version: "2.0.0"}
}

// healthy makes a host with which all is well.
func healthy(t *testing.T) (*patient, *Host) {
	at := registry.Endpoint{URL: "http://10.0.0.1:2379", Version: "3.7.3", Leader: true, Took: time.Millisecond}
	p := &patient{
		endpoints: []registry.Endpoint{at}, members: []registry.Member{{Name: "one", Endpoints: []registry.Endpoint{at}}},
		cluster: &record.Cluster{ID: "c", Schema: "1.0.0"}, leader: self().ID, machines: []machine.Machine{self()},
	}
	return p, &Host{
		Etcd: p, Systemd: p, Self: self(), Known: "c", TTL: 30 * time.Second, Watchdog: 15 * time.Second, Revived: 19 * time.Second,
		Joined: true, Renewed: now.Add(-3 * time.Second), Phase: "joined", Dirs: []string{t.TempDir()}, Now: func() time.Time { return now },
	}
}

func TestAllIsWell(t *testing.T) {
	_, h := healthy(t)
	seen := map[string]bool{}
	for _, f := range Examine(t.Context(), *h) {
		seen[f.Check] = true
		if f.Level != api.LevelOK && f.Check != "disk" { // the machine's own
			t.Errorf("%+v", f)
		}
	}
	for _, check := range []string{"fleetd", "lease", "watchdog", "systemd", "disk", "etcd", "etcd member", "clock", "cluster", "leader", "machines"} {
		if !seen[check] {
			t.Errorf("nothing was found on %s", check)
		}
	}
}

// Each trouble is found, at its level, and says what to do.
func TestTroubles(t *testing.T) {
	dead := registry.Endpoint{URL: "http://10.0.0.9:2379", Error: "connection refused"}
	member := func(name string, e registry.Endpoint) registry.Member {
		return registry.Member{Name: name, Endpoints: []registry.Endpoint{e}}
	}
	other := func(id machine.ID, hostname, ip, version string) machine.Machine {
		return machine.Machine{ID: id, BootID: "b2", Hostname: hostname, IP: ip, Version: version}
	}
	tests := map[string]struct {
		ail   func(p *patient, h *Host)
		check string
		level api.Level
		says  string
	}{
		"not joined": {func(_ *patient, h *Host) { h.Joined, h.Phase = false, "waiting for etcd" },
			"fleetd", api.LevelError, "has not joined the cluster: waiting for etcd"},
		"suspended": {func(_ *patient, h *Host) { h.Suspended = errors.New("the key is gone") },
			"fleetd", api.LevelError, "changes nothing: the key is gone"},
		"lease unrenewed": {func(_ *patient, h *Host) { h.Renewed = now.Add(-20 * time.Second) },
			"lease", api.LevelWarning, "renewed 20s ago"},
		"lease over": {func(_ *patient, h *Host) { h.Renewed = now.Add(-30 * time.Second) },
			"lease", api.LevelError, "counts as lost"},
		"watchdog too slow": {func(_ *patient, h *Host) { h.TTL = 10 * time.Second },
			"watchdog", api.LevelWarning, "it takes 19s until a fleetd that hangs is replaced, and its host may count as lost after 6.7s"},
		"systemd mute": {func(p *patient, _ *Host) { p.systemd = errors.New("timeout") },
			"systemd", api.LevelError, "does not answer: timeout"},
		"etcd out of reach": {func(p *patient, _ *Host) { p.endpoints, p.noMembers = []registry.Endpoint{dead}, errors.New("none") },
			"etcd", api.LevelError, "does not answer: connection refused"},
		"one endpoint out of reach": {func(p *patient, _ *Host) { p.endpoints = append(p.endpoints, dead) },
			"etcd", api.LevelWarning, "does not answer"},
		"member down": {func(p *patient, _ *Host) {
			p.members = append(p.members, member("nine", dead), member("ten", p.endpoints[0]))
		},
			"etcd member", api.LevelError, "does not answer"},
		"member never started": {func(p *patient, _ *Host) { p.members = append(p.members, registry.Member{}) },
			"etcd member", api.LevelWarning, "has never started"},
		"learner": {func(p *patient, _ *Host) { p.members[0].Learner = true },
			"etcd member", api.LevelWarning, "has no vote"},
		"two members": {func(p *patient, _ *Host) { p.members = append(p.members, p.members[0]) },
			"etcd member", api.LevelWarning, "as many may be lost as with 1: 0"},
		"etcd versions": {func(p *patient, _ *Host) {
			older := p.endpoints[0]
			older.Version = "3.5.9"
			p.members = append(p.members, member("b", older), member("c", older))
		}, "etcd member", api.LevelWarning, "3.5.9, 3.7.3"},
		"etcd without a leader": {func(p *patient, _ *Host) { p.endpoints[0].Leaderless = true },
			"etcd", api.LevelError, "knows of no leader"},
		"etcd full": {func(p *patient, _ *Host) { p.endpoints[0].Alarms = []string{"memberID:1 alarm:NOSPACE"} },
			"etcd", api.LevelError, "nothing can be written"},
		"etcd corrupt": {func(p *patient, _ *Host) { p.endpoints[0].Alarms = []string{"memberID:1 alarm:CORRUPT"} },
			"etcd", api.LevelError, "CORRUPT"},
		"etcd nearly full": {func(p *patient, _ *Host) { p.endpoints[0].DBSize, p.endpoints[0].Quota = 1900<<20, 2<<30 },
			"etcd", api.LevelWarning, "takes 1.9 GiB of 2.0 GiB"},
		"etcd slow": {func(p *patient, _ *Host) { p.endpoints[0].Took = 700 * time.Millisecond },
			"etcd", api.LevelWarning, "slow"},
		"clock ahead": {func(p *patient, _ *Host) { p.ahead = 90 * time.Second },
			"clock", api.LevelWarning, "1m30s ahead"},
		"clock behind": {func(p *patient, _ *Host) { p.ahead = -5 * time.Second },
			"clock", api.LevelWarning, "5s behind"},
		"cluster's key": {func(p *patient, _ *Host) {
			p.trouble = &registry.ClusterError{Msg: "it is gone", Remedy: "etcdctl put"}
		},
			"cluster", api.LevelError, "it is gone"},
		"older than the cluster": {func(p *patient, _ *Host) {
			p.older = &registry.ClusterError{Msg: "it neither leads nor takes changes", Remedy: "upgrade"}
		},
			"cluster", api.LevelWarning, "neither leads nor takes changes"},
		"nobody leads": {func(p *patient, _ *Host) { p.leader = "" },
			"leader", api.LevelError, "nobody leads"},
		"cloned": {func(p *patient, _ *Host) {
			p.machines = []machine.Machine{other(self().ID, "clone", "10.0.0.2", "2.0.0")}
		},
			"machines", api.LevelError, "another live host, clone at 10.0.0.2"},
		"one address twice": {func(p *patient, _ *Host) { p.machines = append(p.machines, other("2", "two", "10.0.0.1", "2.0.0")) },
			"machines", api.LevelWarning, "is the address of 2 machines"},
		"one name twice": {func(p *patient, _ *Host) { p.machines = append(p.machines, other("2", "one", "10.0.0.2", "2.0.0")) },
			"machines", api.LevelWarning, "is the hostname of 2 machines"},
		"no lease": {func(p *patient, _ *Host) { p.endless = []machine.ID{"2"} },
			"machines", api.LevelError, "on no lease"},
		"versions": {func(p *patient, _ *Host) { p.machines = append(p.machines, other("2", "two", "10.0.0.2", "2.1.0")) },
			"machines", api.LevelWarning, "2.0.0 on 1, 2.1.0 on 1"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p, h := healthy(t)
			tt.ail(p, h)
			for _, f := range Examine(t.Context(), *h) {
				if f.Check == tt.check && f.Level == tt.level && strings.Contains(f.Found, tt.says) {
					if f.Remedy == "" {
						t.Errorf("%+v says nothing of what to do", f)
					}
					return
				}
			}
			t.Errorf("not found; but %+v", Examine(t.Context(), *h))
		})
	}
}
