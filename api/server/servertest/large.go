package servertest

import (
	"fmt"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// Fill has the cluster be what a view holds, as it is: from then on no engine
// decides and no agent acts.
func (c *Cluster) Fill(v *record.View) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.paused, c.lazy, c.planner = true, true, nil
	c.commit(v.Changes())
}

// Large is a cluster of so many units, instances of templates, all of them
// running and spread over the machines. The units of a template have one file,
// as long as such files are.
func Large(machines, templates, instances int) *record.View {
	v := record.NewView()
	apply := func(changes ...record.Change) {
		for _, ch := range changes {
			v.Apply(ch)
		}
	}
	apply(record.ClusterChange{New: &record.Cluster{ID: "large", Schema: "1.0.0"}})
	ids := make([]machine.ID, machines)
	for i := range ids {
		ids[i] = machine.ID(fmt.Sprintf("%08x%024x", i+1, i))
		apply(record.MachineChange{ID: ids[i], New: &machine.Machine{
			ID: ids[i], BootID: "boot", IP: fmt.Sprintf("10.1.%d.%d", i/250, i%250+1), Hostname: fmt.Sprintf("host%04d", i),
			Version: "2.0.0", Metadata: map[string]string{"region": "eu", "rack": fmt.Sprint(i % 40)},
		}})
	}
	for t := range templates {
		text := fmt.Appendf(nil, `[Unit]
Description=Application %d, instance %%i
After=docker.service
Requires=docker.service

[Service]
TimeoutStartSec=0
ExecStartPre=-/usr/bin/docker rm -f app%d-%%i
ExecStart=/usr/bin/docker run --rm --name app%d-%%i -p 80 registry.example.com/team/app%d:1.2.3
ExecStop=/usr/bin/docker stop app%d-%%i
Restart=always
RestartSec=5

[X-Fleet]
Conflicts=app%04d@*.service
MachineMetadata=region=eu
`, t, t, t, t, t, t)
		hash := unit.HashOf(text)
		apply(record.FileChange{Hash: hash, Text: text})
		for i := range instances {
			name := unit.Name(fmt.Sprintf("app%04d@%04d.service", t, i))
			key := record.Key{Machine: ids[(t*instances+i)%machines], Unit: name}
			spec := record.Spec{Target: unit.TargetLaunched, File: hash}
			apply(record.UnitChange{Name: name, New: &record.Unit{File: hash, Target: unit.TargetLaunched}},
				record.PlacementChange{Key: key, New: &spec},
				record.StateChange{Key: key, New: &record.State{Spec: spec, SystemdState: unit.SystemdState{Load: "loaded", Active: "active", Sub: "running"}}})
		}
	}
	return v
}
