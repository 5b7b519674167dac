package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/fleet-project/fleet/api"
	"github.com/fleet-project/fleet/unit"
)

// observer follows GET /state, as `fleetctl list-units --watch` does: a unit runs
// when the API says so.
type observer struct {
	cancel context.CancelFunc
	done   chan struct{}

	mu      sync.Mutex
	active  map[unit.Name]time.Time // since when it is told to be, of those that are
	idle    map[unit.Name]time.Time // the same, for those that are told to be down
	changed chan struct{}
	err     error
}

func observe(ctx context.Context, s *serving) (*observer, error) {
	ctx, cancel := context.WithCancel(ctx)
	o := &observer{cancel: cancel, done: make(chan struct{}), active: map[unit.Name]time.Time{}, idle: map[unit.Name]time.Time{}, changed: make(chan struct{})}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://fleetd"+api.Prefix+"/state?watch=true", nil)
	if err != nil {
		cancel()
		return nil, err
	}
	resp, err := s.http.Do(req)
	for err == nil && resp.StatusCode == http.StatusServiceUnavailable { // it is still reading the cluster
		resp.Body.Close()
		time.Sleep(10 * time.Millisecond)
		resp, err = s.http.Do(req)
	}
	if err == nil && resp.StatusCode != http.StatusOK {
		resp.Body.Close()
		err = fmt.Errorf("watching states: %s", resp.Status)
	}
	if err != nil {
		cancel()
		return nil, err
	}
	go func() {
		defer close(o.done)
		defer resp.Body.Close()
		lines := bufio.NewScanner(resp.Body)
		lines.Buffer(nil, 1<<20)
		for lines.Scan() {
			o.take(lines.Bytes())
		}
		o.end(fmt.Errorf("the watch of states ended: %w", lines.Err()))
	}()
	return o, nil
}

// stop ends it.
func (o *observer) stop() {
	o.cancel()
	<-o.done
}

func (o *observer) take(line []byte) {
	var e api.ListEvent[api.UnitState]
	if err := json.Unmarshal(line, &e); err != nil {
		o.end(err)
		return
	}
	if e.Object == nil {
		return
	}
	now := time.Now()
	o.mu.Lock()
	defer o.mu.Unlock()
	was, is := o.idle, o.active
	if e.Type == api.Deleted || e.Object.SystemdActiveState != "active" {
		was, is = o.active, o.idle
	}
	delete(was, e.Object.Name)
	if _, already := is[e.Object.Name]; !already {
		is[e.Object.Name] = now
	}
	close(o.changed)
	o.changed = make(chan struct{})
}

func (o *observer) end(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.err = err
	close(o.changed)
	o.changed = make(chan struct{})
}

// await waits until what is observed fulfils a condition.
func (o *observer) await(ctx context.Context, what string, cond func() bool) error {
	for {
		o.mu.Lock()
		ok, changed, err := cond(), o.changed, o.err
		n := len(o.active)
		o.mu.Unlock()
		switch {
		case ok:
			return nil
		case err != nil:
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("waiting for %s, with %d units active: %w", what, n, ctx.Err())
		case <-changed:
		}
	}
}

// awaitActive waits until so many units run.
func (o *observer) awaitActive(ctx context.Context, n int) error {
	return o.await(ctx, fmt.Sprintf("%d active units", n), func() bool { return len(o.active) >= n })
}
