package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/fleet-project/fleet/registry"
)

// alive is an error if a part of the node is stuck: the agent's loop, the
// engine's planner, the API. A part that waits for etcd is not.
func (n *node) alive(ctx context.Context) error {
	n.mu.Lock()
	ag := n.agent
	n.mu.Unlock()
	if ag != nil {
		if err := ag.Alive(ctx); err != nil && ctx.Err() != nil { // else it has ended, in order
			return err
		}
	}
	if n.engine != nil {
		if err := n.engine.Alive(); err != nil {
			return err
		}
	}
	answered := make(chan struct{})
	go func() {
		defer close(answered)
		n.server.Report()
	}()
	select {
	case <-answered:
	case <-ctx.Done():
		return errors.New("the API's memory is locked for good")
	}
	return n.answers(ctx)
}

// answers asks the API on one of its own sockets whether it takes requests. A
// socket that cannot be reached at all, as one whose file was removed, says
// nothing of fleetd.
func (n *node) answers(ctx context.Context) error {
	if len(n.listeners) == 0 {
		return nil
	}
	addr := n.listeners[0].Addr()
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, addr.Network(), addr.String())
	if err != nil {
		return nil
	}
	defer conn.Close()
	conn = n.tls.ask(conn)
	end := context.AfterFunc(ctx, func() { conn.Close() })
	defer end()
	// The HTTP server itself answers this: no handler counts it as a request.
	line := ""
	if _, err = fmt.Fprint(conn, "OPTIONS * HTTP/1.1\r\nHost: fleetd\r\nConnection: close\r\n\r\n"); err == nil {
		line, err = bufio.NewReader(conn).ReadString('\n')
	}
	if err != nil || !strings.HasPrefix(line, "HTTP/1.1 200") {
		return fmt.Errorf("the API on %s takes no requests (%q): %w", addr, strings.TrimSpace(line), errors.Join(err, ctx.Err()))
	}
	return nil
}

// status says how the node is, in a line.
func (n *node) status() string {
	n.mu.Lock()
	p, ag, phase := n.presence, n.agent, n.phase
	n.mu.Unlock()
	etcd := n.registry.Health()
	if phase != "" {
		return phase
	}
	if p == nil || ag == nil {
		if etcd != nil {
			return fmt.Sprintf("waiting for etcd to join the cluster: %v", etcd)
		}
		return "joining the cluster"
	}
	m := p.Machine()
	s := fmt.Sprintf("joined as %s (%s), %d units", m.ID.Short(), m.IP, ag.Units())
	if n.engine != nil && n.engine.Report().Leads != nil {
		s += ", leads the cluster"
	}
	if refused := (*registry.RefusedError)(nil); errors.As(etcd, &refused) {
		return s + fmt.Sprintf("; everything stays as it is: %v", refused)
	}
	if etcd != nil {
		return s + fmt.Sprintf("; etcd is out of reach, everything stays as it is: %v", etcd)
	}
	if err := ag.Health(); err != nil {
		return s + fmt.Sprintf("; changes nothing: %v", err)
	}
	return s
}
