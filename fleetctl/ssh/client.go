package ssh

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strings"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Config says how to get into hosts.
type Config struct {
	User string
	// Timeout bounds connecting and authenticating.
	Timeout time.Duration
	// KnownHosts is the file of the hosts' keys.
	KnownHosts string
	// Strict refuses a host whose key is not the known one; an unknown host is
	// asked about (Confirm) or refused.
	Strict bool
	// Confirm asks a person whether an unknown host's key is right; nil refuses.
	Confirm func(host, fingerprint string) bool
	// ForwardAgent lets commands on the host use this host's agent.
	ForwardAgent bool
	// Dial makes the connection; nil means directly.
	Dial func(ctx context.Context, network, address string) (net.Conn, error)
}

// Client is a connection to one host.
type Client struct {
	addr   string
	config Config
	ssh    *ssh.Client
	agent  net.Conn
}

// Dial connects to a host, HOST or HOST:PORT. Its errors name the host.
func Dial(ctx context.Context, addr string, config Config) (*Client, error) {
	addr = WithPort(addr, "22")
	ctx, cancel := context.WithTimeout(ctx, config.Timeout)
	defer cancel()
	fail := func(err error) error {
		if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
			err = fmt.Errorf("no answer within %s: is the host up? (--ssh-timeout)", config.Timeout)
		}
		return fmt.Errorf("ssh to %s: %w", addr, err)
	}
	socket := os.Getenv("SSH_AUTH_SOCK")
	if socket == "" {
		return nil, fail(errors.New("no SSH agent is running: start one (eval $(ssh-agent)) and give it a key (ssh-add)"))
	}
	agentConn, err := (&net.Dialer{}).DialContext(ctx, "unix", socket)
	if err != nil {
		return nil, fail(fmt.Errorf("the SSH agent: %w", err))
	}
	c := &Client{addr: addr, config: config, agent: agentConn}
	if c.ssh, err = c.connect(ctx, agent.NewClient(agentConn)); err != nil {
		agentConn.Close()
		return nil, fail(err)
	}
	return c, nil
}

func (c *Client) connect(ctx context.Context, keys agent.ExtendedAgent) (*ssh.Client, error) {
	check, algorithms, err := c.config.hostKeys(c.addr)
	if err != nil {
		return nil, err
	}
	dial := c.config.Dial
	if dial == nil {
		dial = (&net.Dialer{}).DialContext
	}
	conn, err := dial(ctx, "tcp", c.addr)
	if err != nil {
		return nil, err
	}
	// The handshake knows no context: it ends when its connection does.
	stop := context.AfterFunc(ctx, func() { conn.Close() })
	sshConn, channels, requests, err := ssh.NewClientConn(conn, c.addr, &ssh.ClientConfig{
		User:              c.config.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeysCallback(keys.Signers)},
		HostKeyCallback:   check,
		HostKeyAlgorithms: algorithms,
	})
	if !stop() && err == nil {
		err = context.Cause(ctx)
	}
	if err != nil {
		conn.Close()
		if ctx.Err() != nil {
			err = ctx.Err()
		} else if strings.Contains(err.Error(), "unable to authenticate") {
			err = fmt.Errorf("the host accepts none of the agent's keys for user %s (ssh-add -l lists them; --ssh-username): %w", c.config.User, err)
		}
		return nil, err
	}
	client := ssh.NewClient(sshConn, channels, requests)
	if c.config.ForwardAgent {
		if err := agent.ForwardToAgent(client, keys); err != nil {
			client.Close()
			return nil, err
		}
	}
	return client, nil
}

// Close ends the connection.
func (c *Client) Close() error {
	defer c.agent.Close()
	return c.ssh.Close()
}

// DialContext makes a connection from the host: what goes through a tunnel.
func (c *Client) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := c.ssh.DialContext(ctx, network, address)
	if err != nil {
		return nil, fmt.Errorf("through %s to %s: %w", c.addr, address, err)
	}
	return conn, nil
}

// WithPort adds a port to an address without one.
func WithPort(addr, port string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(strings.Trim(addr, "[]"), port)
}
