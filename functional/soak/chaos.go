package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/fleet-project/fleet/functional/faults"
	"github.com/fleet-project/fleet/functional/platform"
)

// chaos is one of the two loops that do bad things.
type chaos struct {
	soak *soak
	rng  *rand.Rand
	hit  []string // the hosts that this fault was drawn for
}

// work does faults until ctx ends, and heals the last. That one couldn't be done,
// for the other loop's had already taken the host down, is no failure: what stays
// broken shows at the next mark.
func (c *chaos) work(ctx context.Context, from []fault) {
	for {
		pause(ctx, faultEvery/2+time.Duration(c.rng.Int64N(int64(faultEvery))))
		if ctx.Err() != nil {
			return
		}
		f := pick(c.rng, from)
		c.hit = nil
		began := time.Now()
		err := f.run(context.WithoutCancel(ctx), c)
		c.soak.count(f)
		c.soak.detail("fault: %s, %s, %.1f s, %v", f.name, strings.Join(c.hit, " "), time.Since(began).Seconds(), err)
	}
}

// any is a host, whichever.
func (c *chaos) any() *platform.Host { return c.one(c.soak.Hosts) }

// victim is a host whose fleetd may be killed.
func (c *chaos) victim() *platform.Host { return c.one(c.soak.Hosts[:len(c.soak.Hosts)-1]) }

func (c *chaos) one(hosts []*platform.Host) *platform.Host {
	h := pick(c.rng, hosts)
	c.hit = append(c.hit, h.Name())
	return h
}

// between draws a time, in seconds.
func (c *chaos) between(from, to int) time.Duration {
	return time.Duration(from)*time.Second + time.Duration(c.rng.Int64N(int64(to-from)*int64(time.Second)))
}

// run runs a shell line on a host.
func (c *chaos) run(ctx context.Context, h *platform.Host, line string) error {
	if !slices.Contains(c.soak.typable(), h) {
		return fmt.Errorf("nobody can type on %s", h.Name())
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	_, err := h.Run(ctx, "sh", "-ec", line)
	return err
}

// cutting does what takes hosts out of touch with etcd, and notes when. A host is in
// touch again once its member answers, which can be long after the fault is healed:
// TCP tries less and less often to get through.
func (c *chaos) cutting(do func() error, hosts ...*platform.Host) error {
	return c.soak.noting(&c.soak.cuts, func() error {
		err := do()
		healed := time.Now()
		var all sync.WaitGroup
		for _, h := range hosts {
			all.Go(func() { c.soak.awaitEtcd(h) })
		}
		all.Wait()
		c.soak.detail("in touch again after %.1f s", time.Since(healed).Seconds())
		return err
	}, hosts...)
}

// touching is how long it is waited for a host to be in touch again. If it takes
// longer, that shows at the next mark.
const touching = 2 * time.Minute

// awaitEtcd waits until a host's etcd answers for the cluster, or the host is down.
func (s *soak) awaitEtcd(h *platform.Host) {
	ctx, cancel := context.WithTimeout(context.Background(), touching)
	defer cancel()
	for ctx.Err() == nil && slices.Contains(s.typable(), h) {
		if _, err := sh(ctx, h, "curl -sf -m 2 http://127.0.0.1:2379/health"); err == nil {
			return
		}
		pause(ctx, 250*time.Millisecond)
	}
}

// freezing does what takes away a host's every chance to stop anything.
func (c *chaos) freezing(do func() error, h *platform.Host) error {
	return c.cutting(func() error { return c.soak.noting(&c.soak.frozen, do, h) }, h)
}

// leaving has a host go down in order and come back. Nobody types anything there
// meanwhile: systemd would wait for commands that come from outside of the host, as
// no user's do.
func (c *chaos) leaving(h *platform.Host, do func() error) error {
	c.soak.leaves(h, true)
	defer c.soak.leaves(h, false)
	return do()
}

// cut cuts hosts off for some time.
func (c *chaos) cut(ctx context.Context, d time.Duration, do func() error, hosts ...*platform.Host) error {
	return c.cutting(func() error {
		err := do()
		pause(ctx, d)
		return errors.Join(err, hosts[0].Rejoin(ctx))
	}, hosts...)
}

func (c *chaos) cutOff(ctx context.Context, h *platform.Host, d time.Duration) error {
	return c.cut(ctx, d, func() error { return h.CutOff(ctx) }, h)
}

// stall stops a service's main process for some time.
func (c *chaos) stall(ctx context.Context, h *platform.Host, service string, d time.Duration) error {
	if err := c.run(ctx, h, "systemctl kill -s STOP --kill-whom=main "+service); err != nil {
		return err
	}
	pause(ctx, d)
	return c.run(ctx, h, "systemctl kill -s CONT --kill-whom=main "+service)
}

// etcdDown kills etcd on some hosts, all at once, and starts it again later.
func (c *chaos) etcdDown(ctx context.Context, hosts ...*platform.Host) error {
	everywhere := func(line string) error {
		errs := make([]error, len(hosts))
		var all sync.WaitGroup
		for i, h := range hosts {
			all.Go(func() { errs[i] = c.run(ctx, h, line) })
		}
		all.Wait()
		return errors.Join(errs...)
	}
	return c.cutting(func() error {
		err := everywhere("systemctl kill -s KILL etcd2; systemctl stop etcd2")
		pause(ctx, c.between(2, 25))
		return errors.Join(err, everywhere("systemctl start etcd2"))
	}, hosts...)
}

// goingDown is how long a host may take to go down: fleet hands its units over, and
// the rest is quick.
const goingDown = 2 * time.Minute

// powerOff has a host go down in order; that it doesn't is wrong.
func (c *chaos) powerOff(ctx context.Context, h *platform.Host) error {
	ctx, cancel := context.WithTimeout(ctx, goingDown)
	defer cancel()
	err := h.PowerOff(ctx)
	if err != nil {
		c.soak.found(fmt.Sprintf("%s did not go down: %v", h.Name(), err))
		err = errors.Join(err, h.Kill())
	}
	return err
}

// found notes what is wrong, for the next mark to tell.
func (s *soak) found(what string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.wrong = append(s.wrong, what)
}

// back has a host that is off start again, in time for its lease or not.
func (c *chaos) back(ctx context.Context, h *platform.Host) error {
	pause(ctx, c.between(1, 25))
	return h.Start(ctx)
}

// noting does something, and notes of which hosts and when.
func (s *soak) noting(where *[]faults.Cut, do func() error, hosts ...*platform.Host) error {
	from := now()
	err := do()
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, h := range hosts {
		*where = append(*where, faults.Cut{Host: h.Name(), Span: faults.Span{From: from, To: now().Add(faults.Reaction)}})
	}
	return err
}

// leaves notes whether a host is going down.
func (s *soak) leaves(h *platform.Host, is bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.leaving[h] = is
}

// typable are the hosts on which somebody can type, be they cut off.
func (s *soak) typable() []*platform.Host {
	s.mu.Lock()
	defer s.mu.Unlock()
	var all []*platform.Host
	for _, h := range s.Hosts {
		if state := h.State(); !s.leaving[h] && (state == platform.Running || state == platform.CutOff) {
			all = append(all, h)
		}
	}
	return all
}

// now is the moment by the clock of the witnesses.
func now() faults.Moment {
	m, err := faults.Now()
	if err != nil {
		panic(err) // Linux always tells its uptime
	}
	return m
}
