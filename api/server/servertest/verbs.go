package servertest

import (
	"context"

	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// Revision is the registry's.
func (c *Cluster) Revision(ctx context.Context) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.errDown(); err != nil {
		return 0, err
	}
	return c.view.Revision, ctx.Err()
}

// RequestProgress is the registry's.
func (c *Cluster) RequestProgress(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.tell()
	if err := c.errDown(); err != nil {
		return err
	}
	return ctx.Err()
}

// Health is the registry's.
func (c *Cluster) Health() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.errDown()
}

// SubmitUnit is the registry's.
func (c *Cluster) SubmitUnit(_ context.Context, name unit.Name, text []byte, target unit.Target) (created bool, rev int64, err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.errDown(); err != nil {
		return false, 0, err
	}
	old, exists := c.view.Units[name]
	created = !exists || old.Target == unit.TargetDestroyed
	if target == "" {
		if target = unit.TargetInactive; !created && old.File == unit.HashOf(text) {
			target = old.Target
		}
	}
	next := old.Aim(target)
	next.File = unit.HashOf(text)
	if exists && created {
		next = next.Restarted()
	}
	return created, c.write(record.FileChange{Hash: next.File, Text: text}, record.UnitChange{Name: name, New: &next}), nil
}

// SetTarget is the registry's.
func (c *Cluster) SetTarget(_ context.Context, name unit.Name, target unit.Target) (int64, error) {
	return c.changeUnit(name, func(u *record.Unit) { *u = u.Aim(target) })
}

// RestartUnit is the registry's.
func (c *Cluster) RestartUnit(_ context.Context, name unit.Name) (int64, error) {
	return c.changeUnit(name, func(u *record.Unit) { *u = u.Restarted() })
}

// RestartUnitOn is the registry's.
func (c *Cluster) RestartUnitOn(_ context.Context, name unit.Name, on machine.ID, inUse func(machine.ID) bool) (int64, error) {
	return c.changeUnit(name, func(u *record.Unit) { *u = u.RestartedOn(on, inUse) })
}

// DestroyUnit is the registry's.
func (c *Cluster) DestroyUnit(_ context.Context, name unit.Name) (int64, error) {
	return c.changeUnit(name, func(u *record.Unit) { u.Target = unit.TargetDestroyed })
}

func (c *Cluster) changeUnit(name unit.Name, change func(*record.Unit)) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.errDown(); err != nil {
		return 0, err
	}
	u, exists := c.view.Units[name]
	if !exists || u.Target == unit.TargetDestroyed {
		return 0, registry.ErrNotFound
	}
	change(&u)
	return c.write(record.UnitChange{Name: name, New: &u}), nil
}

// UpdateOverrides is the registry's.
func (c *Cluster) UpdateOverrides(_ context.Context, ids []machine.ID, change func(machine.ID, *record.Overrides) error) (int64, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if err := c.errDown(); err != nil {
		return 0, err
	}
	var changes []record.Change
	for _, id := range ids {
		o := c.view.Overrides[id]
		if err := change(id, &o); err != nil {
			return 0, err
		}
		changes = append(changes, record.OverridesChange{ID: id, New: &o})
	}
	return c.write(changes...), nil
}
