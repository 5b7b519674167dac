package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"runtime"
	"syscall"
	"time"

	"github.com/moby/swarmkit/v2/api"
	"github.com/moby/swarmkit/v2/manager/scheduler"
	"github.com/moby/swarmkit/v2/manager/state"
	"github.com/moby/swarmkit/v2/manager/state/store"
)

// Labels are as the metadata of bench/load's machines.
const (
	keys   = 20
	values = 4
)

// size is a cluster: its services are what templates are to fleet, its replicas
// what instances are.
type size struct{ services, replicas, nodes int }

func (s size) tasks() int { return s.services * s.replicas }

func (s size) String() string { return fmt.Sprintf("%d units on %d machines", s.tasks(), s.nodes) }

// swarm gives a store as a new leader finds it: all nodes ready, nothing
// assigned.
func (s size) swarm() (*store.MemoryStore, error) {
	all := store.NewMemoryStore(nil)
	return all, all.Update(func(tx store.Tx) error {
		for i := range s.nodes {
			if err := store.CreateNode(tx, node(i)); err != nil {
				return err
			}
		}
		for i := range s.services {
			if err := s.createService(tx, i); err != nil {
				return err
			}
		}
		return nil
	})
}

func node(i int) *api.Node {
	rng := rand.New(rand.NewPCG(uint64(i), 1))
	labels := make(map[string]string, keys)
	for k := range keys {
		labels[fmt.Sprintf("key%02d", k)] = fmt.Sprint(rng.IntN(values))
	}
	return &api.Node{
		ID:          fmt.Sprintf("node%05d", i),
		Spec:        api.NodeSpec{Annotations: api.Annotations{Name: fmt.Sprintf("host%05d", i), Labels: labels}},
		Status:      api.NodeStatus{State: api.NodeStatus_READY},
		Description: &api.NodeDescription{Hostname: fmt.Sprintf("host%05d", i), Engine: &api.EngineDescription{}},
	}
}

// createService makes a service and its tasks. One service in ten wants a label, one in
// twenty a node for each of its tasks.
func (s size) createService(tx store.Tx, i int) error {
	name := fmt.Sprintf("app%04d", i)
	spec := api.TaskSpec{Runtime: &api.TaskSpec_Container{Container: &api.ContainerSpec{Image: "app"}}}
	switch i % 40 { // as in bench/load
	case 3, 13, 23, 33:
		spec.Placement = &api.Placement{Constraints: []string{fmt.Sprintf("node.labels.key%02d==%d", i/10%keys, i/(10*keys)%values)}}
	case 7, 27:
		spec.Placement = &api.Placement{MaxReplicas: 1}
	}
	version := &api.Version{Index: 1}
	service := &api.Service{ID: name, SpecVersion: version, Spec: api.ServiceSpec{Annotations: api.Annotations{Name: name}, Task: spec}}
	if err := store.CreateService(tx, service); err != nil {
		return err
	}
	for slot := range s.replicas {
		task := &api.Task{
			ID: fmt.Sprintf("%s.%04d", name, slot), ServiceID: name, Slot: uint64(slot) + 1, Spec: spec, SpecVersion: version,
			DesiredState: api.TaskStateRunning, Status: api.TaskStatus{State: api.TaskStatePending},
		}
		if err := store.CreateTask(tx, task); err != nil {
			return err
		}
	}
	return nil
}

// took is what it took to assign all tasks.
type took struct {
	// decided is until the first transaction of assignments: by then the scheduler has
	// made up its mind on all tasks, and only writes. all is until it has.
	decided, all struct{ wall, cpu time.Duration }
}

// schedule has SwarmKit assign everything there is to a size.
func schedule(s size) (took, error) {
	swarm, err := s.swarm()
	if err != nil {
		return took{}, err
	}
	defer swarm.Close()
	runtime.GC()
	t, err := assign(swarm)
	if err != nil {
		return took{}, err
	}
	return t, s.check(swarm)
}

// assign has SwarmKit's scheduler do what it does when it begins to lead: all in
// one pass, which is over when it listens to being stopped.
func assign(swarm *store.MemoryStore) (took, error) {
	commits, cancel := state.Watch(swarm.WatchQueue(), state.EventCommit{})
	defer cancel()
	var t took
	before, began := processor(), time.Now()
	decided := make(chan struct{})
	go func() {
		<-commits
		t.decided.wall, t.decided.cpu = time.Since(began), processor()-before
		close(decided)
	}()
	sched := scheduler.New(swarm)
	go sched.Stop()
	if err := sched.Run(context.Background()); err != nil {
		return took{}, fmt.Errorf("SwarmKit's scheduler: %w", err)
	}
	t.all.wall, t.all.cpu = time.Since(began), processor()-before
	<-decided
	return t, nil
}

// check says which task, if any, was not assigned.
func (s size) check(swarm *store.MemoryStore) (err error) {
	swarm.View(func(tx store.ReadTx) {
		var tasks []*api.Task
		if tasks, err = store.FindTasks(tx, store.All); err != nil {
			return
		}
		for _, t := range tasks {
			if t.NodeID == "" || t.Status.State != api.TaskStateAssigned {
				err = fmt.Errorf("task %s of %s is %v: %s", t.ID, s, t.Status.State, t.Status.Err)
			}
		}
	})
	return err
}

// processor is the processor time that this process had.
func processor() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
