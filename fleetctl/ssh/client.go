package ssh

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
)

// Config says how to get into hosts.
type Config struct {
	User string
	// Timeout is how long a host may keep silent: while it is connected to,
	// when it is asked to run something, and at any time later. 0: for ever.
	Timeout time.Duration
	// KnownHosts is the file of the hosts' keys.
	KnownHosts string
	// Strict refuses a host whose key is not the known one; an unknown host is
	// asked about (Confirm) or refused. Otherwise a key that isn't the known
	// one is only told of (Warn).
	Strict bool
	// Confirm asks a person whether an unknown host's key is right; nil refuses.
	Confirm func(ctx context.Context, host, key string) bool
	// Warn tells a person something; nil doesn't.
	Warn func(text string)
	// ForwardAgent lets commands on the host use this host's agent.
	ForwardAgent bool
	// Through is the host from which the connection is made; nil: from here.
	Through *Client
}

// Client is a connection to one host.
type Client struct {
	addr   string
	config Config
	ssh    *ssh.Client

	// life ends with the connection; its cause says why.
	life context.Context
	end  context.CancelCauseFunc
	all  sync.WaitGroup // the client's goroutines
}

// Dial connects to a host, HOST or HOST:PORT. Its errors name the host.
func Dial(ctx context.Context, addr string, config Config) (*Client, error) {
	if config.Timeout == 0 {
		config.Timeout = math.MaxInt64
	}
	c := &Client{addr: WithPort(addr, "22"), config: config}
	c.life, c.end = context.WithCancelCause(context.Background())
	p := newPatience(ctx, config.Timeout)
	defer p.end()
	if err := c.connect(p); err != nil {
		if cause := context.Cause(p); cause != nil {
			err = cause
		}
		return nil, c.failure(err)
	}
	c.all.Go(func() {
		err := c.ssh.Wait()
		if err == nil {
			err = errLost
		}
		c.end(err)
	})
	c.all.Go(c.keepAlive)
	return c, nil
}

var errLost = errors.New("the host ended the connection")

func (c *Client) failure(err error) error {
	var silent silence
	if errors.As(err, &silent) && c.config.Through != nil {
		return fmt.Errorf("ssh to %s through %s: %w", c.addr, c.config.Through.addr, err)
	}
	return fmt.Errorf("ssh to %s: %w", c.addr, err)
}

func (c *Client) connect(p *patience) error {
	signers, done, err := agentKeys(p)
	if err != nil {
		return err
	}
	defer done()
	known, err := c.config.readKnownHosts()
	if err != nil {
		return err
	}
	p.waitFor("is the host up?")
	conn, err := c.dial(p)
	if err != nil {
		return err
	}
	p.waitFor("it took the connection, but its SSH server doesn't speak")
	// The handshake knows no context: it ends when its connection does.
	stop := context.AfterFunc(p, func() { conn.Close() })
	sshConn, channels, requests, err := ssh.NewClientConn(conn, c.addr, &ssh.ClientConfig{
		User:              c.config.User,
		Auth:              []ssh.AuthMethod{ssh.PublicKeys(signers...)},
		HostKeyCallback:   known.judge(c.config, p),
		HostKeyAlgorithms: known.algorithms(c.addr, conn.RemoteAddr()),
	})
	if !stop() && err == nil {
		err = context.Cause(p)
	}
	if err != nil {
		conn.Close()
		var refused keyError
		if errors.As(err, &refused) {
			return refused // without the handshake around it
		}
		if strings.Contains(err.Error(), "unable to authenticate") {
			err = fmt.Errorf("the host accepts none of the agent's keys for user %s (ssh-add -l lists them; --ssh-username): %w", c.config.User, err)
		}
		return err
	}
	c.ssh = ssh.NewClient(sshConn, channels, requests)
	if c.config.ForwardAgent {
		if err := agent.ForwardToRemote(c.ssh, agentSocket()); err != nil {
			c.ssh.Close()
			return fmt.Errorf("forwarding the agent: %w", err)
		}
	}
	return nil
}

func (c *Client) dial(ctx context.Context) (net.Conn, error) {
	if c.config.Through != nil {
		return c.config.Through.DialContext(ctx, "tcp", c.addr)
	}
	return (&net.Dialer{}).DialContext(ctx, "tcp", c.addr)
}

// Close ends the connection and all that goes over it.
func (c *Client) Close() error {
	c.cut(net.ErrClosed)
	c.all.Wait()
	return nil
}

// cut ends the connection for a reason.
func (c *Client) cut(why error) {
	c.end(why)
	c.ssh.Close()
}

// Ended says why the connection has ended; nil while it has not.
func (c *Client) Ended() error {
	if cause := context.Cause(c.life); cause != nil {
		return c.failure(cause)
	}
	return nil
}

// within runs what asks the host for something, for as long as the host may
// keep silent. A request can't be given up alone: the connection ends.
func (c *Client) within(ctx context.Context, f func() error) error {
	p := newPatience(ctx, c.config.Timeout)
	defer p.end()
	stop := context.AfterFunc(p, func() { c.cut(context.Cause(p)) })
	err := f()
	if !stop() {
		err = context.Cause(p)
	}
	return err
}

// WithPort adds a port to an address without one.
func WithPort(addr, port string) string {
	if _, _, err := net.SplitHostPort(addr); err == nil {
		return addr
	}
	return net.JoinHostPort(strings.Trim(addr, "[]"), port)
}
