package ssh_test

import (
	"bytes"
	"crypto/ed25519"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/fleet-project/fleet/fleetctl/ssh"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

// host is an SSH server that answers "exec" with its command line, and exits
// with the number after "exit".
type host struct {
	t    *testing.T
	addr string
	key  gossh.Signer
	user gossh.PublicKey

	// silentAfter is what a client asks for last: "login", a channel's or a
	// request's type. From then on the host takes packets and says nothing.
	silentAfter string
	// refuses is a channel's type that the host forbids.
	refuses string
	// authority, if any, has signed its key.
	authority gossh.Signer

	all    sync.WaitGroup
	closed chan struct{}
	mu     sync.Mutex
	conns  []net.Conn
}

func newKey(t *testing.T) (gossh.Signer, ed25519.PrivateKey) {
	t.Helper()
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := gossh.NewSignerFromKey(private)
	if err != nil {
		t.Fatal(err)
	}
	return signer, private
}

// newHost starts a server that lets in the key of an agent that it starts, too.
func newHost(t *testing.T, change ...func(*host)) *host {
	t.Helper()
	h := &host{t: t, closed: make(chan struct{})}
	for _, f := range change {
		f(h)
	}
	h.key, _ = newKey(t)
	user, private := newKey(t)
	h.user = user.PublicKey()
	serveAgent(t, private)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	h.addr = l.Addr().String()
	h.all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			h.mu.Lock()
			h.conns = append(h.conns, conn)
			h.mu.Unlock()
			h.all.Go(func() { h.serve(conn) })
		}
	})
	t.Cleanup(func() {
		l.Close()
		close(h.closed)
		h.hangUp()
		h.all.Wait()
	})
	return h
}

// hangUp ends all connections.
func (h *host) hangUp() {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, c := range h.conns {
		c.Close()
	}
}

func serveAgent(t *testing.T, keys ...ed25519.PrivateKey) {
	keyring := agent.NewKeyring()
	for _, key := range keys {
		if err := keyring.Add(agent.AddedKey{PrivateKey: key}); err != nil {
			t.Fatal(err)
		}
	}
	dir, err := os.MkdirTemp("", "agent")
	if err != nil {
		t.Fatal(err)
	}
	socket := filepath.Join(dir, "s")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				_ = agent.ServeAgent(keyring, conn) // ends with its client
			})
		}
	})
	t.Cleanup(func() {
		l.Close()
		all.Wait()
		os.RemoveAll(dir)
	})
	t.Setenv("SSH_AUTH_SOCK", socket)
}

func (h *host) serve(conn net.Conn) {
	defer conn.Close()
	config := &gossh.ServerConfig{PublicKeyCallback: func(_ gossh.ConnMetadata, key gossh.PublicKey) (*gossh.Permissions, error) {
		if !bytes.Equal(key.Marshal(), h.user.Marshal()) {
			return nil, errors.New("unknown key")
		}
		return nil, nil
	}}
	config.AddHostKey(h.key)
	if h.authority != nil {
		config.AddHostKey(h.certificate())
	}
	sshConn, channels, requests, err := gossh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer sshConn.Close()
	if h.silentAfter == "login" {
		<-h.closed
		return
	}
	h.all.Go(func() {
		for r := range requests {
			if r.Type == h.silentAfter {
				<-h.closed
			}
			_ = r.Reply(false, nil)
		}
	})
	for ch := range channels {
		switch ch.ChannelType() {
		case h.silentAfter:
			<-h.closed
			return
		case h.refuses:
			_ = ch.Reject(gossh.Prohibited, "forbidden here")
			continue
		}
		switch ch.ChannelType() {
		case "session":
			h.all.Go(func() { h.session(ch) })
		case "direct-tcpip":
			var to struct {
				Host   string
				Port   uint32
				Origin string
				From   uint32
			}
			if gossh.Unmarshal(ch.ExtraData(), &to) == nil {
				h.all.Go(func() { forward(ch, "tcp", net.JoinHostPort(to.Host, fmt.Sprint(to.Port))) })
			}
		case "direct-streamlocal@openssh.com":
			var to struct {
				Path     string
				Reserved string
				Port     uint32
			}
			if gossh.Unmarshal(ch.ExtraData(), &to) == nil {
				h.all.Go(func() { forward(ch, "unix", to.Path) })
			}
		}
	}
}

func (h *host) session(ch gossh.NewChannel) {
	c, requests, err := ch.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	for r := range requests {
		if r.Type == h.silentAfter {
			<-h.closed
			return
		}
		if r.Type != "exec" {
			_ = r.Reply(false, nil)
			continue
		}
		_ = r.Reply(true, nil)
		command := string(r.Payload[4:])
		var code uint32
		switch word, rest, _ := strings.Cut(command, " "); word {
		case "exit":
			fmt.Sscan(rest, &code)
		case "cat":
			io.Copy(c, c)
		case "fail":
			fmt.Fprintln(c.Stderr(), rest)
			code = 1
		case "hang", "speak":
			if word == "speak" {
				fmt.Fprintln(c, "here")
			}
			for r := range requests { // until the client has enough
				if r.Type == "signal" {
					break
				}
			}
			return
		default:
			fmt.Fprintln(c, command)
		}
		_, _ = c.SendRequest("exit-status", false, gossh.Marshal(struct{ Code uint32 }{code}))
		return
	}
}

func forward(ch gossh.NewChannel, network, address string) {
	to, err := net.Dial(network, address)
	if err != nil {
		_ = ch.Reject(gossh.ConnectionFailed, err.Error())
		return
	}
	c, requests, err := ch.Accept()
	if err != nil {
		to.Close()
		return
	}
	var all sync.WaitGroup
	all.Go(func() { gossh.DiscardRequests(requests) })
	all.Go(func() { io.Copy(to, c); to.Close() })
	io.Copy(c, to)
	c.Close()
	all.Wait()
}

// config gets into the host, whose key is known.
func (h *host) config() ssh.Config {
	c := ssh.Config{User: "core", Timeout: 5 * time.Second, KnownHosts: filepath.Join(h.t.TempDir(), "dir", "known_hosts"), Strict: true}
	h.know(c, h.key.PublicKey())
	return c
}

func (h *host) certificate() gossh.Signer {
	cert := &gossh.Certificate{
		Key: h.key.PublicKey(), CertType: gossh.HostCert, ValidPrincipals: []string{"127.0.0.1"}, ValidBefore: gossh.CertTimeInfinity,
	}
	if err := cert.SignCert(rand.Reader, h.authority); err != nil {
		h.t.Fatal(err)
	}
	signer, err := gossh.NewCertSigner(cert, h.key)
	if err != nil {
		h.t.Fatal(err)
	}
	return signer
}

func (h *host) know(c ssh.Config, key gossh.PublicKey) {
	h.t.Helper()
	write(h.t, c.KnownHosts, knownhosts.Line([]string{h.addr}, key)+"\n")
}
