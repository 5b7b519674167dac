package simulation

import (
	"maps"
	"slices"
	"time"

	"github.com/fleet-project/fleet/agent"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// records are an agent's, in memory. They outlive fleetd; a reboot makes new ones.
type records struct {
	units   map[unit.Name]agent.Record
	known   record.Cluster
	renewed time.Duration
	noted   bool
}

func newRecords() *records { return &records{units: map[unit.Name]agent.Record{}} }

func (r *records) Load(func(error)) ([]agent.Record, error) {
	var out []agent.Record
	for _, name := range slices.Sorted(maps.Keys(r.units)) {
		out = append(out, r.units[name])
	}
	return out, nil
}

// Save keeps a copy, that shares nothing with the agent's.
func (r *records) Save(rec *agent.Record) error {
	own := *rec
	if rec.Intent != nil {
		intent := *rec.Intent
		own.Intent = &intent
	}
	r.units[rec.Name] = own
	return nil
}

func (r *records) Remove(name unit.Name) error {
	delete(r.units, name)
	return nil
}

func (r *records) Cluster() (record.Cluster, error) { return r.known, nil }

func (r *records) SaveCluster(c *record.Cluster) error {
	r.known = *c
	return nil
}

func (r *records) Renewal() (time.Duration, bool) { return r.renewed, r.noted }

func (r *records) SaveRenewal(sinceBoot time.Duration) error {
	r.renewed, r.noted = sinceBoot, true
	return nil
}
