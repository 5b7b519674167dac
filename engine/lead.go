package engine

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/fleet-project/fleet/engine/planner"
	"github.com/fleet-project/fleet/machine"
	"github.com/fleet-project/fleet/registry"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
)

// doubtPause is how often a machine whose key vanished though its lease lives
// is looked at again: its agent puts the key back within moments, or dies, and
// then no event would tell.
const doubtPause = time.Second

// leader is one turn's state. One goroutine owns it.
type leader struct {
	*Engine
	lead    *registry.Leadership
	planner *planner.Planner
	cluster *record.Cluster
	// tombstones are the destroyed units, as stored: releasing one must not
	// take away a unit that was created anew.
	tombstones map[unit.Name]record.Unit
	// doubtful are the machines whose keys vanished while their leases lived.
	doubtful map[machine.ID]record.MachineChange
	rev      int64
}

// lead runs one turn until ctx ends, the lead is lost, or a write fails.
func (e *Engine) lead(ctx context.Context, lead *registry.Leadership) error {
	if err := e.ensureCluster(ctx, lead); err != nil {
		return err
	}
	l := &leader{Engine: e, lead: lead}
	for {
		ctx, cancel := context.WithTimeoutCause(ctx, e.opts.SafetyNet, errResnapshot)
		err := l.follow(ctx)
		if errors.Is(context.Cause(ctx), errResnapshot) {
			err = errResnapshot
		}
		cancel()
		if !errors.Is(err, errResnapshot) {
			return err
		}
	}
}

// errResnapshot ends a follow that is to begin anew: the safety net's time has
// come, or a trouble with the cluster's key is over.
var errResnapshot = errors.New("time for a fresh snapshot")

// ensureCluster lets only a trouble that an operator must mend pass: the
// leader then follows the cluster and waits for it.
func (e *Engine) ensureCluster(ctx context.Context, lead *registry.Leadership) error {
	var trouble *registry.ClusterError
	err := lead.EnsureCluster(ctx, e.opts.KnownCluster())
	if errors.As(err, &trouble) {
		e.setTrouble(err)
		return nil
	}
	return err
}

// follow plans from a fresh snapshot on.
func (l *leader) follow(ctx context.Context) error {
	first := l.planner == nil
	in := newInbox()
	ctx, cancel := context.WithCancel(ctx)
	var following sync.WaitGroup
	defer following.Wait()
	defer cancel()
	following.Go(func() { _ = l.opts.Registry.Follow(ctx, in.put) }) // ends with ctx only: put never fails

	wake := time.NewTimer(time.Hour)
	defer wake.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-l.lead.Done():
			return registry.ErrDeposed
		case <-in.ready:
		case <-wake.C:
		}
		reset, changes, rev := in.take()
		l.rev = rev
		if reset {
			l.restart()
		}
		next, decided, err := l.step(ctx, changes)
		if err != nil {
			return err
		}
		if reset && !first {
			l.metrics.repairs.Add(float64(decided))
			if decided > 0 {
				l.log.Warnf("the comparison with a fresh snapshot had to repair %d decisions: please report this", decided)
			}
		}
		wake.Reset(next)
	}
}

func (l *leader) restart() {
	l.planner = planner.New(planner.Config{Grace: l.opts.AgentTTL})
	l.cluster = nil
	l.tombstones = map[unit.Name]record.Unit{}
	l.doubtful = map[machine.ID]record.MachineChange{}
}

// step plans once and writes what was decided. It returns how long the planner
// can wait if nothing happens.
func (l *leader) step(ctx context.Context, changes []record.Change) (wait time.Duration, decided int, err error) {
	began := time.Now()
	changes, err = l.screen(ctx, changes)
	if err != nil {
		return 0, 0, err
	}
	if err := l.opts.Registry.CheckCluster(l.cluster, l.opts.KnownCluster()); err != nil {
		l.setTrouble(err)
		l.planner = nil // what happens meanwhile is learned from the next snapshot
		return time.Hour, 0, nil
	}
	l.setTrouble(nil)
	if l.planner == nil {
		return 0, 0, errResnapshot
	}
	plan := l.planner.Step(began, changes)
	for _, w := range plan.Warnings {
		l.log.Warn(w)
	}
	writes := make([]registry.Write, 0, len(plan.Decisions))
	for _, d := range plan.Decisions {
		writes = append(writes, l.write(d))
	}
	if len(writes) > 0 {
		if err := l.lead.Commit(ctx, writes); err != nil {
			l.metrics.failure("commit")
			return 0, 0, err
		}
	}
	l.metrics.step(time.Since(began), len(writes))
	return l.waiting(plan.Wake), len(writes), nil
}

// screen holds back the loss of machines that are not truly gone, and keeps
// what the leader itself needs to know.
func (l *leader) screen(ctx context.Context, changes []record.Change) ([]record.Change, error) {
	out := changes[:0:0]
	for _, c := range changes {
		switch c := c.(type) {
		case record.ClusterChange:
			l.cluster = c.New
		case record.UnitChange:
			if c.New != nil && c.New.Target == unit.TargetDestroyed {
				l.tombstones[c.Name] = *c.New
			} else {
				delete(l.tombstones, c.Name)
			}
		case record.MachineChange:
			delete(l.doubtful, c.ID)
			if c.New == nil {
				l.doubtful[c.ID] = c
				continue
			}
		}
		out = append(out, c)
	}
	for id, c := range l.doubtful {
		gone, err := l.opts.Registry.Gone(ctx, id)
		if err != nil {
			return nil, err
		}
		if gone {
			delete(l.doubtful, id)
			out = append(out, c)
		} else {
			l.log.Warnf("the presence key of machine %s vanished though the machine lives: waiting for its agent to put it back", id.Short())
		}
	}
	return out, nil
}

// waiting gives how long the leader may sleep.
func (l *leader) waiting(wake time.Time) time.Duration {
	wait := time.Hour
	if !wake.IsZero() {
		wait = max(time.Millisecond, time.Until(wake))
	}
	if len(l.doubtful) > 0 {
		wait = min(wait, doubtPause)
	}
	return wait
}

// write turns a decision into its write.
func (l *leader) write(d planner.Decision) registry.Write {
	l.metrics.task(d)
	l.log.Info(d)
	switch d := d.(type) {
	case planner.Place:
		return l.lead.PutPlacement(d.Key, d.Spec)
	case planner.Withdraw:
		return l.lead.PutPlacement(d.Key, record.Spec{Target: unit.TargetNone})
	case planner.Forget:
		return l.lead.Forget(d.Key)
	case planner.Release:
		return l.lead.ReleaseUnit(d.Unit, l.tombstones[d.Unit])
	case planner.Restore:
		return l.lead.RestoreUnit(d.Unit, d.Record)
	case planner.CollectFile:
		return l.lead.CollectFile(d.Hash, l.rev)
	case planner.RestoreFile:
		return l.lead.RestoreFile(d.Hash, d.Text)
	}
	panic(fmt.Sprintf("engine: the planner decided %T, which nobody can write", d))
}
