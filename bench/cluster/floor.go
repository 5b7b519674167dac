package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/fleet-project/fleet/bench/load"
	"github.com/fleet-project/fleet/registry/record"
	"github.com/fleet-project/fleet/unit"
	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"
)

// costs are processor times, for one unit each.
type costs struct {
	took time.Duration
	etcd time.Duration
}

// floorOf measures etcd alone, with a data directory of its own.
func floorOf(ctx context.Context, o options) (costs, error) {
	e, err := startEtcd(ctx, o, "floor")
	if err != nil {
		return costs{}, err
	}
	defer e.stop()
	f := &fleet{o: o, etcd: e}
	p, err := f.self("floor", "-agents", fmt.Sprint(o.agents), "-units", fmt.Sprint(o.units),
		"-to", fmt.Sprint(o.agents), "-parallel", fmt.Sprint(o.parallel))
	if err != nil {
		return costs{}, err
	}
	defer p.kill()
	if err := p.awaitReady(); err != nil {
		return costs{}, err
	}
	before := e.processor()
	var w written
	if err := p.ask("go", &w); err != nil {
		return costs{}, err
	}
	if w.Error != "" {
		return costs{}, fmt.Errorf("the floor: %s", w.Error)
	}
	return costs{took: time.Duration(w.Seconds * float64(time.Second)), etcd: e.processor() - before}, nil
}

// together is how many placements go into a transaction, and inFlight how many of
// these are under way: as many as the engine's.
const (
	together = 128
	inFlight = 4
)

// raw is etcd alone under the writes that starting all units comes to: each unit
// is put with its text, then its placement with others', then its state by the
// client of its host, on that one's lease. Nobody watches.
type raw struct {
	o      options
	shape  load.Shape
	api    *clientv3.Client
	engine *clientv3.Client
	hosts  []*clientv3.Client
	leases []clientv3.LeaseID
}

// floor is the role of a process that writes to etcd when it is told to "go".
func floor(ctx context.Context, o options) error {
	r := &raw{o: o, shape: shapeOf(o), hosts: make([]*clientv3.Client, o.to), leases: make([]clientv3.LeaseID, o.to)}
	defer r.close()
	var err error
	if r.api, err = r.dial(ctx); err != nil {
		return err
	}
	if r.engine, err = r.dial(ctx); err != nil {
		return err
	}
	group, joining := errgroup.WithContext(ctx)
	group.SetLimit(joinTogether)
	for i := range r.hosts {
		group.Go(func() error {
			var err error
			if r.hosts[i], err = r.dial(joining); err != nil {
				return err
			}
			lease, err := r.hosts[i].Grant(joining, 600)
			if err == nil {
				r.leases[i] = lease.ID
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		return err
	}
	return ended(obey(ctx, map[string]func() any{"go": func() any {
		began := time.Now()
		if err := r.write(ctx); err != nil {
			return written{Error: err.Error()}
		}
		return written{Seconds: time.Since(began).Seconds()}
	}}))
}

// written is how that process answers.
type written struct {
	Seconds float64
	Error   string
}

func (r *raw) dial(ctx context.Context) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{Endpoints: []string{r.o.etcd}, Context: ctx, Logger: zap.NewNop()})
}

func (r *raw) close() {
	for _, c := range append(r.hosts, r.api, r.engine) {
		if c != nil {
			c.Close()
		}
	}
}

// rawUnit is a unit on its way.
type rawUnit struct {
	name unit.Name
	file unit.Hash
	host int
}

func (r *raw) write(ctx context.Context) error {
	submitted := make(chan rawUnit, together*inFlight)
	all, ctx := errgroup.WithContext(ctx)
	all.Go(func() error {
		defer close(submitted)
		submitting, ctx := errgroup.WithContext(ctx)
		submitting.SetLimit(r.o.parallel)
		for i := range r.shape.Units() {
			template, instance := i/r.shape.Instances, i%r.shape.Instances
			text := r.shape.Text(template)
			u := rawUnit{load.Name(template, instance), unit.HashOf(text), i % len(r.hosts)}
			submitting.Go(func() error {
				key := "/floor/units/" + string(u.name)
				_, err := r.api.Txn(ctx).If(clientv3.Compare(clientv3.ModRevision(key), "=", 0)).Then(
					clientv3.OpPut("/floor/files/"+string(u.file), string(text)),
					clientv3.OpPut(key, encode(record.Unit{File: u.file, Target: unit.TargetLaunched}))).Commit()
				if err == nil {
					submitted <- u
				}
				return err
			})
		}
		return submitting.Wait()
	})
	all.Go(func() error { return r.place(ctx, submitted) })
	return all.Wait()
}

// place writes placements, as many together as there are, and then states.
func (r *raw) place(ctx context.Context, submitted <-chan rawUnit) error {
	saying, said := errgroup.WithContext(ctx) // goes on when all is placed
	placing, ctx := errgroup.WithContext(said)
	placing.SetLimit(inFlight)
	for u := range submitted {
		batch := []rawUnit{u}
		for more := true; more && len(batch) < together; {
			select {
			case u, more = <-submitted:
				if more {
					batch = append(batch, u)
				}
			default:
				more = false
			}
		}
		placing.Go(func() error {
			ops := make([]clientv3.Op, len(batch))
			for i, u := range batch {
				ops[i] = clientv3.OpPut("/floor/schedule/"+string(load.MachineID(u.host))+"/"+string(u.name), encode(u.spec()))
			}
			if _, err := r.engine.Txn(ctx).Then(ops...).Commit(); err != nil {
				return err
			}
			for _, u := range batch {
				saying.Go(func() error { return r.say(said, u) })
			}
			return nil
		})
	}
	return errors.Join(placing.Wait(), saying.Wait())
}

// say writes a unit's state, as its host.
func (r *raw) say(ctx context.Context, u rawUnit) error {
	state := record.State{Spec: u.spec(), SystemdState: unit.SystemdState{Load: "loaded", Active: "active", Sub: "running"}}
	_, err := r.hosts[u.host].Put(ctx, "/floor/states/"+string(load.MachineID(u.host))+"/"+string(u.name), encode(state),
		clientv3.WithLease(r.leases[u.host]))
	return err
}

func (u rawUnit) spec() record.Spec { return record.Spec{File: u.file, Target: unit.TargetLaunched} }

func encode(v any) string {
	text, err := json.Marshal(v)
	if err != nil {
		panic(err) // a record that JSON can't express
	}
	return string(text)
}
