package ssh_test

import (
	"bytes"
	"context"
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
	"go.uber.org/goleak"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/agent"
	"golang.org/x/crypto/ssh/knownhosts"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// host is an SSH server that answers "exec" with its command line, and exits
// with the number after "exit".
type host struct {
	t    *testing.T
	addr string
	key  gossh.Signer
	user gossh.PublicKey

	all   sync.WaitGroup
	mu    sync.Mutex
	conns []net.Conn
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
func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t}
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
		h.mu.Lock()
		for _, c := range h.conns {
			c.Close()
		}
		h.mu.Unlock()
		h.all.Wait()
	})
	return h
}

func serveAgent(t *testing.T, private ed25519.PrivateKey) {
	keyring := agent.NewKeyring()
	if err := keyring.Add(agent.AddedKey{PrivateKey: private}); err != nil {
		t.Fatal(err)
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
	sshConn, channels, requests, err := gossh.NewServerConn(conn, config)
	if err != nil {
		return
	}
	defer sshConn.Close()
	h.all.Go(func() { gossh.DiscardRequests(requests) })
	for ch := range channels {
		switch ch.ChannelType() {
		case "session":
			h.all.Go(func() { session(ch) })
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

func session(ch gossh.NewChannel) {
	c, requests, err := ch.Accept()
	if err != nil {
		return
	}
	defer c.Close()
	for r := range requests {
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
		case "hang":
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

func (h *host) know(c ssh.Config, key gossh.PublicKey) {
	h.t.Helper()
	if err := os.MkdirAll(filepath.Dir(c.KnownHosts), 0o700); err != nil {
		h.t.Fatal(err)
	}
	if err := os.WriteFile(c.KnownHosts, []byte(knownhosts.Line([]string{h.addr}, key)+"\n"), 0o600); err != nil {
		h.t.Fatal(err)
	}
}

func dial(t *testing.T, addr string, c ssh.Config) *ssh.Client {
	t.Helper()
	client, err := ssh.Dial(t.Context(), addr, c)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { client.Close() })
	return client
}

func TestRun(t *testing.T) {
	h := newHost(t)
	client := dial(t, h.addr, h.config())
	var out bytes.Buffer
	code, err := client.Run(t.Context(), ssh.Quote([]string{"echo", "it's", "a b"}), ssh.Streams{Stdout: &out})
	if code != 0 || err != nil || out.String() != "echo 'it'\\''s' 'a b'\n" {
		t.Errorf("%d %v %q", code, err, out.String())
	}
	if code, err := client.Run(t.Context(), "exit 3", ssh.Streams{}); code != 3 || err != nil {
		t.Errorf("%d %v", code, err)
	}
	out.Reset()
	if _, err := client.Run(t.Context(), "cat", ssh.Streams{Stdin: strings.NewReader("in and out"), Stdout: &out}); err != nil || out.String() != "in and out" {
		t.Errorf("%v %q", err, out.String())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := client.Run(ctx, "hang", ssh.Streams{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%v", err)
	}
}

func TestHostKeys(t *testing.T) {
	h := newHost(t)
	other, _ := newKey(t)
	for _, tt := range []struct {
		name   string
		change func(*ssh.Config)
		words  string // of the error; "" for none
	}{
		{"known", func(*ssh.Config) {}, ""},
		{"unknown", func(c *ssh.Config) { os.Remove(c.KnownHosts) }, "the host is unknown"},
		{"unknown and confirmed", func(c *ssh.Config) {
			os.Remove(c.KnownHosts)
			c.Confirm = func(_, print string) bool { return strings.HasPrefix(print, "SHA256:") }
		}, ""},
		{"unknown and declined", func(c *ssh.Config) {
			os.Remove(c.KnownHosts)
			c.Confirm = func(string, string) bool { return false }
		}, "the host is unknown"},
		{"changed", func(c *ssh.Config) {
			h.know(*c, other.PublicKey())
			c.Confirm = func(string, string) bool { t.Error("asked about a changed key"); return true }
		}, "CHANGED"},
		{"changed and not checked", func(c *ssh.Config) { h.know(*c, other.PublicKey()); c.Strict = false }, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			c := h.config()
			tt.change(&c)
			client, err := ssh.Dial(t.Context(), h.addr, c)
			if tt.words == "" {
				if err != nil {
					t.Fatal(err)
				}
				client.Close()
				if tt.name == "unknown and confirmed" { // and from now on known
					c.Confirm = nil
					dial(t, h.addr, c)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tt.words) || !strings.Contains(err.Error(), h.addr) {
				t.Errorf("%v doesn't say %q and %s", err, tt.words, h.addr)
			}
		})
	}
}

func TestRefusedKey(t *testing.T) {
	h := newHost(t)
	c := h.config()
	_, private := newKey(t)
	serveAgent(t, private)
	if _, err := ssh.Dial(t.Context(), h.addr, c); err == nil || !strings.Contains(err.Error(), "none of the agent's keys for user core") {
		t.Error(err)
	}
	t.Setenv("SSH_AUTH_SOCK", "")
	if _, err := ssh.Dial(t.Context(), h.addr, c); err == nil || !strings.Contains(err.Error(), "ssh-agent") {
		t.Error(err)
	}
}

func TestHangingHostTimesOut(t *testing.T) {
	h := newHost(t)
	l, err := net.Listen("tcp", "127.0.0.1:0") // accepts, and says nothing
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	c := h.config()
	c.Timeout = 100 * time.Millisecond
	begin := time.Now()
	_, err = ssh.Dial(t.Context(), l.Addr().String(), c)
	if err == nil || !strings.Contains(err.Error(), l.Addr().String()) || !strings.Contains(err.Error(), "100ms") || time.Since(begin) > 3*time.Second {
		t.Errorf("after %s: %v", time.Since(begin), err)
	}
}

func TestTunnel(t *testing.T) {
	h := newHost(t)
	dir, err := os.MkdirTemp("", "sock")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	tunnel := dial(t, h.addr, h.config())
	for network, address := range map[string]string{"tcp": "127.0.0.1:0", "unix": filepath.Join(dir, "s")} {
		l, err := net.Listen(network, address)
		if err != nil {
			t.Fatal(err)
		}
		var all sync.WaitGroup
		all.Go(func() {
			conn, err := l.Accept()
			if err == nil {
				io.WriteString(conn, "hello")
				conn.Close()
			}
		})
		conn, err := tunnel.DialContext(t.Context(), network, l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(conn)
		if string(got) != "hello" || err != nil {
			t.Errorf("%s: %q %v", network, got, err)
		}
		conn.Close()
		l.Close()
		all.Wait()
	}
	// On to another host.
	onward := h.config()
	onward.Dial = tunnel.DialContext
	client := dial(t, h.addr, onward)
	if code, err := client.Run(t.Context(), "exit 4", ssh.Streams{}); code != 4 || err != nil {
		t.Errorf("%d %v", code, err)
	}
	if _, err := tunnel.DialContext(t.Context(), "tcp", "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "through "+h.addr) {
		t.Error(err)
	}
}

func TestQuote(t *testing.T) {
	for want, args := range map[string][]string{
		"systemctl status -l web@1.service": {"systemctl", "status", "-l", "web@1.service"},
		`'' 'a b' '$HOME' 'a\x2db'`:         {"", "a b", "$HOME", `a\x2db`},
	} {
		if got := ssh.Quote(args); got != want {
			t.Errorf("%q: got %s, want %s", args, got, want)
		}
	}
}
