package main

import (
	"context"
	"errors"
	"time"

	"github.com/fleet-project/fleet/functional/platform"
)

const (
	// agentTTL is how long a host may be silent. With it, fleetd has systemd restart
	// it if it hangs for 8.8 s; so the steady host's is stalled for less than that.
	agentTTL = 20 * time.Second
	// faultEvery is how often each of the two loops does something, on average;
	// not counting for how long it lasts.
	faultEvery = 20 * time.Second
)

// fault is something bad.
type fault struct {
	name string
	run  func(context.Context, *chaos) error
}

// outer are the faults of hosts, networks and etcd: one at a time, for what
// follows is promised of the loss of one.
var outer = []fault{
	{"etcd killed", func(ctx context.Context, c *chaos) error {
		return c.run(ctx, c.any(), "systemctl kill -s KILL etcd2")
	}},
	{"etcd restarted", func(ctx context.Context, c *chaos) error {
		return c.run(ctx, c.any(), "systemctl restart etcd2")
	}},
	{"etcd stalled", func(ctx context.Context, c *chaos) error {
		h := c.any()
		return c.cutting(func() error { return c.stall(ctx, h, "etcd2", c.between(2, 35)) }, h)
	}},
	{"etcd down", func(ctx context.Context, c *chaos) error { return c.etcdDown(ctx, c.any()) }},
	{"etcd without quorum", func(ctx context.Context, c *chaos) error {
		alive := c.any()
		var two []*platform.Host
		for _, h := range c.soak.Hosts {
			if h != alive {
				two = append(two, h)
			}
		}
		return c.cutting(func() error { return c.etcdDown(ctx, two...) }, alive)
	}},
	{"etcd compacted", func(ctx context.Context, c *chaos) error {
		return c.soak.compact(ctx, c.any())
	}},
	{"host cut off for a moment", func(ctx context.Context, c *chaos) error { return c.cutOff(ctx, c.any(), c.between(1, 6)) }},
	{"host cut off", func(ctx context.Context, c *chaos) error { return c.cutOff(ctx, c.any(), c.between(22, 45)) }},
	{"host cut off from one other", func(ctx context.Context, c *chaos) error {
		h := c.any()
		other := c.any()
		for other == h {
			other = pick(c.rng, c.soak.Hosts)
		}
		// One of the two may have lost etcd's leader.
		return c.cut(ctx, c.between(5, 40), func() error { return h.CutFrom(ctx, other) }, h, other)
	}},
	{"etcd's peers cut off", func(ctx context.Context, c *chaos) error {
		h := c.any()
		return c.cut(ctx, c.between(5, 40), func() error { return h.CutPorts(ctx, 2380) }, h)
	}},
	{"host killed", func(ctx context.Context, c *chaos) error {
		h := c.victim()
		if err := h.Kill(); err != nil {
			return err
		}
		return c.back(ctx, h)
	}},
	{"host powered off", func(ctx context.Context, c *chaos) error {
		h := c.victim()
		return c.leaving(h, func() error { return errors.Join(c.powerOff(ctx, h), c.back(ctx, h)) })
	}},
	{"host rebooted", func(ctx context.Context, c *chaos) error {
		h := c.victim()
		return c.leaving(h, func() error { return errors.Join(c.powerOff(ctx, h), h.Start(ctx)) })
	}},
	{"host frozen", func(ctx context.Context, c *chaos) error {
		h, most := c.any(), 35
		if h == c.soak.steady() {
			most = 4 // systemd would then find that its fleetd hung
		}
		return c.freezing(func() error {
			if err := h.Freeze(ctx); err != nil {
				return err
			}
			pause(ctx, c.between(2, most))
			return h.Thaw(ctx)
		}, h)
	}},
}

// inner are the faults of fleetd and of what it lives on.
var inner = []fault{
	{"fleetd killed", func(ctx context.Context, c *chaos) error {
		return c.run(ctx, c.victim(), "systemctl kill -s KILL --kill-whom=main fleet")
	}},
	{"fleetd killed thrice", func(ctx context.Context, c *chaos) error {
		h := c.victim()
		for range 3 {
			if err := c.run(ctx, h, "systemctl kill -s KILL --kill-whom=main fleet"); err != nil {
				return err
			}
			pause(ctx, c.between(1, 3))
		}
		return nil
	}},
	{"fleetd restarted", func(ctx context.Context, c *chaos) error {
		return c.run(ctx, c.victim(), "systemctl restart fleet")
	}},
	{"fleet stopped", func(ctx context.Context, c *chaos) error {
		h := c.victim()
		if err := c.run(ctx, h, "systemctl stop fleet"); err != nil {
			return err
		}
		pause(ctx, c.between(1, 15))
		return c.run(ctx, h, "systemctl start fleet")
	}},
	{"fleetd stalled for a moment", func(ctx context.Context, c *chaos) error {
		h := c.any()
		return c.cutting(func() error { return c.stall(ctx, h, "fleet", c.between(1, 4)) }, h)
	}},
	{"fleetd stalled", func(ctx context.Context, c *chaos) error {
		h := c.victim()
		return c.cutting(func() error { return c.stall(ctx, h, "fleet", c.between(11, 35)) }, h)
	}},
	{"D-Bus restarted", func(ctx context.Context, c *chaos) error {
		return c.run(ctx, c.any(), "systemctl restart dbus")
	}},
	{"systemd executed anew", func(ctx context.Context, c *chaos) error {
		return c.run(ctx, c.any(), "systemctl daemon-reexec")
	}},
	{"systemd reloaded", func(ctx context.Context, c *chaos) error {
		return c.run(ctx, c.any(), "systemctl daemon-reload")
	}},
	{"fleetd reloaded", func(ctx context.Context, c *chaos) error {
		return c.run(ctx, c.any(), "systemctl reload fleet")
	}},
}
