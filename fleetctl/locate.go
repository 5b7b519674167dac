package main

import (
	"context"
	"slices"
	"strings"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
)

// place is a unit on one machine.
type place struct {
	unit    unit.Name
	machine api.Machine
}

// locate finds the machines that a unit is on: each of them, or those whose id
// begins with only. none is what to say when it is on no machine at all.
func (c *cli) locate(ctx context.Context, name unit.Name, only, none string) ([]place, error) {
	client, err := c.client(ctx)
	if err != nil {
		return nil, err
	}
	states, err := client.States(ctx, api.StateFilter{Unit: name})
	if err != nil {
		return nil, err
	}
	if len(states) == 0 {
		if _, err := client.Unit(ctx, name); api.IsNotFound(err) {
			return nil, failf("Unit %s does not exist.", name)
		} else if err != nil {
			return nil, err
		}
		return nil, failf("Unit %s does not appear to be %s.", name, none)
	}
	machines, err := c.machines(ctx)
	if err != nil {
		return nil, err
	}
	var out []place
	for _, s := range states {
		if m, known := machines[s.MachineID]; known && strings.HasPrefix(m.ID, only) {
			out = append(out, place{unit: name, machine: m})
		}
	}
	if len(out) == 0 {
		return nil, failf("Unit %s does not appear to be %s on machine %s.", name, none, only)
	}
	return out, nil
}

// findMachine finds a machine by the beginning of its id, its address or its
// name.
func (c *cli) findMachine(ctx context.Context, given string) (*api.Machine, error) {
	client, err := c.client(ctx)
	if err != nil {
		return nil, err
	}
	all, err := client.Machines(ctx)
	if err != nil {
		return nil, err
	}
	given = strings.TrimSuffix(given, "...")
	matching := slices.DeleteFunc(all, func(m api.Machine) bool {
		return !strings.HasPrefix(m.ID, given) && m.PrimaryIP != given && m.Hostname != given
	})
	switch {
	case given == "" || len(matching) == 0:
		return nil, nil
	case len(matching) > 1:
		return nil, failf("%s matches %d machines: give more of the machine's id", given, len(matching))
	}
	return &matching[0], nil
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
