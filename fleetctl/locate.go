package main

import (
	"cmp"
	"context"
	"slices"
	"strings"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
)

// place is a unit on one machine.
type place struct {
	unit    unit.Name
	machine api.Machine
}

// settleTime is how long settled waits if requests may take for ever: a unit that
// its machine never speaks of would else be waited for in vain.
const settleTime = 3 * time.Second

// settled gives what the cluster knows of units, once it has decided about them
// and their machines have said how they are; or as it is after the time that a
// request may take.
func (c *cli) settled(ctx context.Context, names []unit.Name) ([]api.UnitStatus, error) {
	s, err := c.follow(ctx, names)
	if err != nil {
		return nil, err
	}
	defer s.close()
	patience, cancel := context.WithTimeout(ctx, cmp.Or(seconds(c.flags.requestTimeout), settleTime))
	defer cancel()
	for slices.ContainsFunc(names, func(n unit.Name) bool { return unsettled(s.latest[n]) }) {
		if err := s.next(patience); patience.Err() != nil && ctx.Err() == nil {
			break
		} else if err != nil {
			return nil, err
		}
	}
	out := make([]api.UnitStatus, len(names))
	for i, n := range names {
		out[i] = s.latest[n]
	}
	return out, nil
}

// unsettled reports whether more will soon be known of a unit: it was started a
// moment ago.
func unsettled(s api.UnitStatus) bool {
	if !s.Exists || s.DesiredState == unit.TargetInactive || s.Explanation != nil {
		return false
	}
	return len(s.Placements)+len(s.States) == 0 || slices.ContainsFunc(s.Placements, func(p api.Placement) bool {
		return p.Target != unit.TargetNone && !slices.ContainsFunc(s.States, func(m api.MachineState) bool { return m.MachineID == p.MachineID })
	})
}

// machinesOf gives the ids of the machines that a unit is on, sorted.
func machinesOf(s api.UnitStatus) []string {
	var ids []string
	for _, p := range s.Placements {
		if p.Target != unit.TargetNone {
			ids = append(ids, p.MachineID)
		}
	}
	for _, m := range s.States { // it may still be where it must go
		if m.Target != unit.TargetNone {
			ids = append(ids, m.MachineID)
		}
	}
	slices.Sort(ids)
	return slices.Compact(ids)
}

// locate finds the machines that a unit is on: each of them, or those whose id
// begins with only. none is what to say when it is on no machine at all.
func locate(status api.UnitStatus, machines map[string]api.Machine, only, none string) ([]place, error) {
	if !status.Exists {
		return nil, failf("Unit %s does not exist.", status.Unit)
	}
	var out []place
	for _, id := range machinesOf(status) {
		if m, known := machines[id]; known && strings.HasPrefix(id, only) {
			out = append(out, place{unit: status.Unit, machine: m})
		}
	}
	switch x := status.Explanation; {
	case len(out) > 0:
		return out, nil
	case only != "":
		return nil, failf("Unit %s does not appear to be %s on machine %s.", status.Unit, none, only)
	case x != nil:
		return nil, failf("Unit %s does not appear to be %s.\n%s For more: fleetctl explain %s", status.Unit, none, x.Summary, status.Unit)
	}
	return nil, failf("Unit %s does not appear to be %s.", status.Unit, none)
}

// unreached tells of a place that could not be asked, when there are others to go
// on with; otherwise it gives the error back.
func (c *cli) unreached(ctx context.Context, err error, places int) error {
	if places == 1 || ctx.Err() != nil {
		return err
	}
	c.errorf("%v", err)
	return nil
}

// findMachines finds machines by the beginning of their ids, their address or
// their name.
func (c *cli) findMachines(ctx context.Context, given string) ([]api.Machine, error) {
	client, err := c.client(ctx)
	if err != nil {
		return nil, err
	}
	all, err := client.Machines(ctx)
	given = strings.TrimSuffix(given, "...")
	return slices.DeleteFunc(all, func(m api.Machine) bool {
		return given == "" || !strings.HasPrefix(m.ID, given) && m.PrimaryIP != given && m.Hostname != given
	}), err
}

// machines gives the cluster's machines by id.
func (c *cli) machines(ctx context.Context) (map[string]api.Machine, error) {
	client, err := c.client(ctx)
	if err != nil {
		return nil, err
	}
	list, err := client.Machines(ctx)
	if err != nil {
		return nil, err
	}
	byID := make(map[string]api.Machine, len(list))
	for _, m := range list {
		byID[m.ID] = m
	}
	return byID, nil
}
