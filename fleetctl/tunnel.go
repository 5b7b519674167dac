package main

import (
	"context"
	"fmt"
	"net"
	"sync"

	"github.com/fleet-project/fleet/fleetctl/ssh"
)

// tunnelConnections is how many connections to fleetd go through the tunnel at a
// time. sshd allows ten commands on one connection, and each may need one.
const tunnelConnections = 8

// tunnel is the connection to the host that --tunnel names.
type tunnel struct {
	mu       sync.Mutex // guards what follows: requests go out at the same time
	host     *ssh.Client
	commands bool // its sshd has refused to connect to sockets
}

func (t *tunnel) close() {
	if t.host != nil {
		t.host.Close()
	}
}

// openTunnel gives the connection to the host that --tunnel names, a new one if
// the last has ended. It outlives the request that needs it first.
func (c *cli) openTunnel(ctx context.Context) (*ssh.Client, error) {
	t := &c.tunnel
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.host != nil && t.host.Ended() == nil {
		return t.host, nil
	}
	t.close()
	host, err := ssh.Dial(ctx, c.flags.tunnel, c.sshConfig())
	if err != nil {
		return nil, fmt.Errorf("--tunnel: %w", err)
	}
	t.host = host
	return host, nil
}

// dialThroughTunnel connects to fleetd from the host that --tunnel names.
func (c *cli) dialThroughTunnel(ctx context.Context, network, address string) (net.Conn, error) {
	host, err := c.openTunnel(ctx)
	if err != nil {
		return nil, err
	}
	if network != "unix" {
		return host.DialContext(ctx, network, address)
	}
	c.tunnel.mu.Lock()
	commands := c.tunnel.commands
	c.tunnel.mu.Unlock()
	if !commands {
		conn, err := host.DialContext(ctx, network, address)
		if !ssh.IsRefused(err) {
			return conn, err
		}
		// Its sshd is old, or told not to, or nothing listens there: fleetctl
		// over there can, or says why not.
		c.tunnel.mu.Lock()
		c.tunnel.commands = true
		c.tunnel.mu.Unlock()
	}
	return host.DialCommand(ctx, ssh.Quote([]string{"fleetctl", "fd-forward", address}))
}
