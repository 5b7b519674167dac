package engine

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
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
	census  *census
	planner *planner.Planner
	cluster *record.Cluster
	// tombstones are the destroyed units, as stored: releasing one must not
	// take away a unit that was created anew.
	tombstones map[unit.Name]record.Unit
	// present are the machines there are, and seen those that this leader has
	// known present since there was none: one of them that a snapshot lacks was
	// lost meanwhile, while others may be about to come back.
	present, seen map[machine.ID]bool
	// doubtful are the machines whose keys vanished while their leases lived,
	// and whether that was said.
	doubtful map[machine.ID]bool
	// schemas are what the machines that are present speak, and schemasNew tells that
	// they, or the cluster's, are not what they were when they were compared last.
	schemas    map[machine.ID]string
	schemasNew bool
	rev        int64
	// settled is the revision at which nothing was left to do, 0 if something
	// was: a snapshot at that revision must give nothing to do either.
	settled int64
}

// lead runs one turn until ctx ends or the lead is lost.
func (e *Engine) lead(ctx context.Context, lead *registry.Leadership, census *census) error {
	if err := e.ensureCluster(ctx, lead); err != nil {
		return err
	}
	l := &leader{Engine: e, lead: lead, census: census, seen: map[machine.ID]bool{}}
	for {
		err := l.follow(ctx)
		switch {
		case ctx.Err() != nil, errors.Is(err, registry.ErrDeposed), otherSchema(err):
			return err
		case !errors.Is(err, errResnapshot):
			e.log.WithError(err).Warn("what is written by now must be read: starting over from a snapshot")
			l.world.Pause(ctx, retryPause)
			if err := l.anew(ctx); err != nil {
				return err
			}
		}
	}
}

// anew sees to it that nothing of what was written before happens any more: the
// snapshot that comes next must be what there is.
func (l *leader) anew(ctx context.Context) error {
	for {
		err := l.lead.Anew(ctx)
		if err == nil || ctx.Err() != nil || errors.Is(err, registry.ErrDeposed) {
			return err
		}
		select {
		case <-l.lead.Done():
			return registry.ErrDeposed
		default:
			l.world.Pause(ctx, retryPause)
		}
	}
}

// errResnapshot ends a follow that is to begin anew: the safety net's time has
// come, or a trouble with the cluster's key is over.
var errResnapshot = errors.New("time for a fresh snapshot")

// otherSchema reports whether another fleetd may lead where this one must not.
func otherSchema(err error) bool {
	var trouble *registry.ClusterError
	return errors.As(err, &trouble) && trouble.OtherSchema
}

// ensureCluster lets only a trouble that an operator must mend pass: the
// leader then follows the cluster and waits for it.
func (e *Engine) ensureCluster(ctx context.Context, lead *registry.Leadership) error {
	var trouble *registry.ClusterError
	err := lead.EnsureCluster(ctx, e.opts.KnownCluster())
	if errors.As(err, &trouble) && !trouble.OtherSchema {
		e.setTrouble(err)
		return nil
	}
	return err
}

// follow plans from a fresh snapshot on.
func (l *leader) follow(ctx context.Context) error {
	settled := l.settled
	l.settled = 0
	in := newInbox()
	defer l.world.Follow(ctx, in.put)()

	l.mu.Lock()
	net := l.world.Now().Add(l.safetyNet)
	l.mu.Unlock()
	wake := net
	for {
		l.world.Await(ctx, in.ready, l.lead.Done(), earlier(net, wake))
		if ctx.Err() != nil {
			return ctx.Err()
		}
		select {
		case <-l.lead.Done():
			return registry.ErrDeposed
		default:
		}
		reset, changes, rev := in.take()
		now := l.world.Now()
		switch {
		case reset:
		case !now.Before(net):
			if len(changes) == 0 && l.planner != nil {
				l.settled = rev
			}
			return errResnapshot
		case len(changes) == 0 && now.Before(wake):
			continue // it was taken with what came before
		}
		l.rev = rev
		var lost []record.Change
		if reset {
			lost = l.restart(changes)
			l.census.restart()
		}
		next, decided, err := l.step(ctx, changes)
		if err == nil && len(lost) > 0 {
			next, _, err = l.step(ctx, lost)
		}
		if err != nil {
			return err
		}
		if reset && rev == settled && decided > 0 {
			l.metrics.repairs.Add(float64(decided))
			l.log.Warnf("the comparison with a fresh snapshot had to repair %d decisions: please report this", decided)
		}
		wake = l.world.Now().Add(next)
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}

// restart forgets all but which machines were there: it gives the loss of those
// that the snapshot lacks but has units for. To a planner that begins they would
// be missing, and have agent_ttl to come back.
func (l *leader) restart(snapshot []record.Change) (lost []record.Change) {
	l.planner = planner.New(planner.Config{Grace: l.opts.AgentTTL})
	l.cluster = nil
	l.tombstones = map[unit.Name]record.Unit{}
	l.doubtful = map[machine.ID]bool{}
	l.present = map[machine.ID]bool{}
	l.schemas, l.schemasNew = map[machine.ID]string{}, true
	needed := map[machine.ID]bool{}
	for _, c := range snapshot {
		switch c := c.(type) {
		case record.MachineChange:
			l.present[c.ID] = true
		case record.PlacementChange:
			needed[c.Machine] = true
		}
	}
	for _, id := range slices.Sorted(maps.Keys(l.seen)) { // equal inputs, equal plans
		switch {
		case l.present[id]:
		case len(l.present) == 0 || !needed[id]:
			delete(l.seen, id)
		default:
			lost = append(lost, record.MachineChange{ID: id})
		}
	}
	return lost
}

// step plans once and writes what was decided. It returns how long the planner
// can wait if nothing happens.
func (l *leader) step(ctx context.Context, changes []record.Change) (wait time.Duration, decided int, err error) {
	began := l.world.Now()
	changes = l.screen(ctx, changes)
	// The metrics can wait: nothing else can, when a leader begins.
	defer func() { l.census.note(began, changes) }()
	if err := l.opts.Registry.CheckCluster(l.cluster, l.opts.KnownCluster()); err != nil {
		if otherSchema(err) {
			return 0, 0, err
		}
		l.setTrouble(err)
		l.planner = nil // what happens meanwhile is learned from the next snapshot
		return time.Hour, 0, nil
	}
	if err := l.opts.Registry.CheckWriter(l.cluster); err != nil {
		return 0, 0, err
	}
	l.setTrouble(nil)
	if l.planner == nil {
		return 0, 0, errResnapshot
	}
	if err := l.raiseSchema(ctx); err != nil {
		return 0, 0, err
	}
	l.thinking(began)
	plan := l.planner.Step(began, changes)
	l.thinking(time.Time{})
	for _, w := range plan.Warnings {
		l.log.Warn(w)
	}
	if err := l.commit(ctx, plan.Decisions); err != nil {
		return 0, 0, err
	}
	l.metrics.step(l.world.Now().Sub(began), len(plan.Decisions))
	return l.waiting(plan.Wake), len(plan.Decisions), nil
}

// raiseSchema has the cluster store its state in the latest version that every
// machine speaks. One that may yet be there speaks nobody knows what.
func (l *leader) raiseSchema(ctx context.Context) error {
	if !l.schemasNew || len(l.doubtful) > 0 {
		return nil
	}
	to := l.opts.Registry.SchemaToRaise(l.cluster.Schema, maps.Values(l.schemas))
	if to == "" {
		l.schemasNew = false
		return nil
	}
	raised, err := l.lead.RaiseSchema(ctx, *l.cluster, to, l.rev)
	if raised {
		l.log.Infof("all fleetds here speak schema %s: from now on the cluster stores its state in it, and an older fleetd only runs units as it is told", to)
	}
	return err
}

// commit writes what was decided.
func (l *leader) commit(ctx context.Context, decisions []planner.Decision) error {
	if len(decisions) == 0 {
		return nil
	}
	writes := make([]registry.Write, len(decisions))
	for i, d := range decisions {
		writes[i] = l.write(d)
	}
	err := l.lead.Commit(ctx, writes)
	l.metrics.committed(decisions, err)
	if err != nil {
		return err
	}
	for _, d := range decisions {
		l.log.Info(d)
	}
	return nil
}

// screen holds back the loss of machines that are not truly gone, and keeps
// what the leader itself needs to know. A true loss keeps its place among the
// changes: whether the last machine went before or after the next one came makes
// a difference to the planner.
func (l *leader) screen(ctx context.Context, changes []record.Change) []record.Change {
	out := changes[:0:0]
	for _, id := range slices.Sorted(maps.Keys(l.doubtful)) {
		if l.gone(ctx, id) {
			out = append(out, l.lost(id))
		}
	}
	for _, c := range changes {
		switch m := c.(type) {
		case record.ClusterChange:
			l.cluster, l.schemasNew = m.New, true
		case record.UnitChange:
			if m.New != nil && m.New.Target == unit.TargetDestroyed {
				l.tombstones[m.Name] = *m.New
			} else {
				delete(l.tombstones, m.Name)
			}
		case record.MachineChange:
			if m.New == nil {
				l.doubtful[m.ID] = false
				if !l.gone(ctx, m.ID) {
					continue
				}
				c = l.lost(m.ID)
				break
			}
			delete(l.doubtful, m.ID)
			l.present[m.ID], l.seen[m.ID] = true, true
			l.schemas[m.ID], l.schemasNew = m.New.Schema, true
		}
		out = append(out, c)
	}
	return out
}

// gone asks whether a doubtful machine is truly gone; then it is doubtful no
// more.
func (l *leader) gone(ctx context.Context, id machine.ID) bool {
	gone, err := l.opts.Registry.Gone(ctx, id)
	switch {
	case gone:
		delete(l.doubtful, id)
	case err != nil && ctx.Err() == nil:
		l.log.WithError(err).Warn("asking again")
	case !l.doubtful[id]:
		l.doubtful[id] = true
		l.log.Warnf("the presence key of machine %s vanished though the machine lives: waiting for its agent to put it back", id.Short())
	}
	return gone
}

// lost takes note of a machine's end. When none is left, nobody knows any more
// what is lost and what will be back.
func (l *leader) lost(id machine.ID) record.Change {
	l.metrics.lost.Inc()
	delete(l.schemas, id)
	l.schemasNew = true
	if delete(l.present, id); len(l.present) == 0 {
		clear(l.seen)
	}
	return record.MachineChange{ID: id}
}

// waiting gives how long the leader may sleep.
func (l *leader) waiting(wake time.Time) time.Duration {
	wait := time.Hour
	if !wake.IsZero() {
		wait = max(time.Millisecond, wake.Sub(l.world.Now()))
	}
	if len(l.doubtful) > 0 {
		wait = min(wait, doubtPause)
	}
	return wait
}

// write turns a decision into its write.
func (l *leader) write(d planner.Decision) registry.Write {
	switch d := d.(type) {
	case planner.Place:
		return l.lead.PutPlacement(d.Key, d.Spec)
	case planner.Withdraw:
		if !l.present[d.Key.Machine] {
			return l.lead.TakeFromAway(d.Key, l.rev)
		}
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
