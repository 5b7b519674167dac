package ssh

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"golang.org/x/crypto/ssh"
)

// DialContext makes a connection from the host: what goes through a tunnel.
func (c *Client) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	p := newPatience(ctx, c.config.Timeout)
	defer p.end()
	conn, err := c.ssh.DialContext(p, network, address)
	if err != nil {
		if cause := context.Cause(p); cause != nil {
			err = cause
		}
		if ended := c.Ended(); ended != nil {
			return nil, ended
		}
		return nil, fmt.Errorf("through %s to %s: %w", c.addr, address, err)
	}
	return c.relay(conn, func() error { return io.EOF }), nil
}

// IsRefused reports whether a host would not make a connection: its sshd doesn't
// forward, or nothing is there.
func IsRefused(err error) bool {
	var refused *ssh.OpenChannelError
	return errors.As(err, &refused)
}

// DialCommand runs a command on the host and connects to its standard input and
// output.
func (c *Client) DialCommand(ctx context.Context, command string) (net.Conn, error) {
	var stream commandStream
	session, err := c.session(ctx, func(s *ssh.Session) (err error) {
		s.Stderr = &stream.said
		if stream.WriteCloser, err = s.StdinPipe(); err != nil {
			return err
		}
		stream.Reader, err = s.StdoutPipe()
		return err
	}, func(s *ssh.Session) error { return s.Start(command) })
	if err != nil {
		return nil, err
	}
	stream.session = session
	return c.relay(&stream, func() error {
		err := session.Wait()
		if err == nil {
			return io.EOF
		}
		if said := strings.TrimSpace(stream.said.String()); said != "" {
			err = errors.New(said)
		}
		return fmt.Errorf("%q on %s: %w", command, c.addr, err)
	}), nil
}

// commandStream is a command's input and output.
type commandStream struct {
	io.Reader
	io.WriteCloser
	said    bytes.Buffer // on standard error; complete once the session is over
	session *ssh.Session
}

// Close ends the command: it reads the end of its input, and has no output.
func (s *commandStream) Close() error {
	return errors.Join(s.WriteCloser.Close(), s.session.Close())
}

// relay gives a stream to the host as a connection. A channel's own reads wait
// until the host agrees to its end, and it knows no deadlines. why is the error
// of reading on when the host has ended it.
func (c *Client) relay(stream io.ReadWriteCloser, why func() error) net.Conn {
	near, far := net.Pipe()
	r := &relayed{Conn: near, over: make(chan struct{})}
	stop := context.AfterFunc(c.life, func() { far.Close() })
	c.all.Go(func() {
		_, _ = io.Copy(far, stream)
		r.why = why()
		close(r.over)
		far.Close()
		stop()
	})
	c.all.Go(func() {
		_, _ = io.Copy(stream, far)
		stream.Close()
	})
	return r
}

// relayed is this side of what is relayed.
type relayed struct {
	net.Conn
	over chan struct{} // the host has ended it
	why  error         // set once it is over
}

func (r *relayed) Read(b []byte) (int, error) {
	n, err := r.Conn.Read(b)
	if err == io.EOF { //nolint:errorlint // what a pipe says at its end, as it is
		select {
		case <-r.over:
			err = r.why
		default:
		}
	}
	return n, err
}

// RemoteAddr is not known: the host has looked it up.
func (r *relayed) RemoteAddr() net.Addr { return &net.TCPAddr{} }
