package ssh_test

import (
	"bytes"
	"context"
	"errors"
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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

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

func TestNoTimeout(t *testing.T) {
	h := newHost(t)
	c := h.config()
	c.Timeout = 0
	var out bytes.Buffer
	if _, err := dial(t, h.addr, c).Run(t.Context(), "echo on", ssh.Streams{Stdout: &out}); err != nil || out.String() != "echo on\n" {
		t.Errorf("%v %q", err, out.String())
	}
}

func TestAgent(t *testing.T) {
	h := newHost(t)
	c := h.config()
	_, stranger := newKey(t)
	for _, tt := range []struct {
		name   string
		change func()
		words  string
	}{
		{"without the right key", func() { serveAgent(t, stranger) }, "none of the agent's keys for user core"},
		{"without a key", func() { serveAgent(t) }, "the SSH agent holds no key: give it one (ssh-add)"},
		{"gone", func() { t.Setenv("SSH_AUTH_SOCK", filepath.Join(t.TempDir(), "gone")) }, "no SSH agent answers at SSH_AUTH_SOCK"},
		{"not named", func() { t.Setenv("SSH_AUTH_SOCK", "") }, "eval $(ssh-agent)"},
		{"silent", func() {
			socket := filepath.Join(t.TempDir(), "s")
			l, err := net.Listen("unix", socket)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			t.Setenv("SSH_AUTH_SOCK", socket)
			c.Timeout = 50 * time.Millisecond
		}, "(SSH_AUTH_SOCK) hangs"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			tt.change()
			_, err := ssh.Dial(t.Context(), h.addr, c)
			if err == nil || !strings.Contains(err.Error(), tt.words) || !strings.Contains(err.Error(), h.addr) {
				t.Errorf("%v doesn't say %q and %s", err, tt.words, h.addr)
			}
		})
	}
}

// A host that says nothing any more is given up, by name, wherever it stops.
func TestSilentHost(t *testing.T) {
	const patient = 2 * time.Second // a busy machine takes its time for a handshake
	var all sync.WaitGroup
	for _, tt := range []struct {
		silentAfter string
		do          func(*ssh.Client) error
	}{
		{"login", func(c *ssh.Client) error {
			_, err := c.Run(t.Context(), "true", ssh.Streams{})
			return err
		}},
		{"session", func(c *ssh.Client) error {
			_, err := c.Run(t.Context(), "true", ssh.Streams{})
			return err
		}},
		{"exec", func(c *ssh.Client) error {
			_, err := c.DialCommand(t.Context(), "true")
			return err
		}},
		{"keepalive@openssh.com", func(c *ssh.Client) error {
			_, err := c.Run(t.Context(), "hang", ssh.Streams{})
			return err
		}},
		{"direct-tcpip", func(c *ssh.Client) error {
			_, err := c.DialContext(t.Context(), "tcp", "127.0.0.1:1")
			return err
		}},
	} {
		h := newHost(t, func(h *host) { h.silentAfter = tt.silentAfter })
		c := h.config()
		c.Timeout = patient
		client := dial(t, h.addr, c)
		all.Go(func() {
			if err := tt.do(client); err == nil || !strings.Contains(err.Error(), "no answer within") || !strings.Contains(err.Error(), h.addr) {
				t.Errorf("silent after %s: %v doesn't say that %s gave no answer", tt.silentAfter, err, h.addr)
			}
		})
	}
	h := newHost(t)
	l, err := net.Listen("tcp", "127.0.0.1:0") // its kernel accepts
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	through := dial(t, h.addr, h.config())
	for name, through := range map[string]*ssh.Client{"": nil, " through " + h.addr: through} {
		c := h.config()
		c.Through, c.Timeout = through, patient
		all.Go(func() {
			_, err := ssh.Dial(t.Context(), l.Addr().String(), c)
			if err == nil || !strings.Contains(err.Error(), "ssh to "+l.Addr().String()+name+": no answer within 2s: it took the connection") {
				t.Error(err)
			}
		})
	}
	all.Wait()
}

// Who has had enough gets away at once from a host that doesn't.
func TestInterruptSilentHost(t *testing.T) {
	h := newHost(t, func(h *host) { h.silentAfter = "login" })
	ctx, cancel := context.WithCancelCause(t.Context())
	enough := errors.New("enough")
	client := dial(t, h.addr, h.config())
	done := make(chan error)
	go func() {
		_, err := client.Run(ctx, "true", ssh.Streams{})
		done <- err
	}()
	cancel(enough)
	if err := <-done; !errors.Is(err, enough) {
		t.Error(err)
	}
}

func TestHostThatGoesAway(t *testing.T) {
	h := newHost(t)
	client := dial(t, h.addr, h.config())
	if err := client.Ended(); err != nil {
		t.Error(err)
	}
	out, said := io.Pipe()
	go func() {
		_, _ = io.ReadFull(out, make([]byte, len("here\n"))) // the command runs
		h.hangUp()
	}()
	_, err := client.Run(t.Context(), "speak", ssh.Streams{Stdout: said})
	if err == nil || !strings.Contains(err.Error(), "ssh to "+h.addr+": ") {
		t.Error(err)
	}
	if err := client.Ended(); err == nil || !strings.Contains(err.Error(), h.addr) {
		t.Error(err)
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
	onward.Through = tunnel
	client := dial(t, h.addr, onward)
	if code, err := client.Run(t.Context(), "exit 4", ssh.Streams{}); code != 4 || err != nil {
		t.Errorf("%d %v", code, err)
	}
	if _, err := tunnel.DialContext(t.Context(), "tcp", "127.0.0.1:1"); err == nil || !strings.Contains(err.Error(), "through "+h.addr) {
		t.Error(err)
	}
}

// Where sockets aren't forwarded, a command connects.
func TestTunnelByCommand(t *testing.T) {
	h := newHost(t, func(h *host) { h.refuses = "direct-streamlocal@openssh.com" })
	tunnel := dial(t, h.addr, h.config())
	if _, err := tunnel.DialContext(t.Context(), "unix", "/s"); !ssh.IsRefused(err) || !strings.Contains(err.Error(), "forbidden here") {
		t.Error(err)
	}
	conn, err := tunnel.DialCommand(t.Context(), "cat")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(conn, "hello"); err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 5)
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != "hello" {
		t.Errorf("%q %v", got, err)
	}
	conn.Close()
	if conn, err = tunnel.DialCommand(t.Context(), "fail no such socket"); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadAll(conn); err == nil || !strings.Contains(err.Error(), h.addr) || !strings.Contains(err.Error(), "no such socket") {
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

func TestWithPort(t *testing.T) {
	for given, want := range map[string]string{
		"host": "host:22", "host:2222": "host:2222", "10.0.0.1": "10.0.0.1:22",
		"fd00::1": "[fd00::1]:22", "[fd00::1]": "[fd00::1]:22", "[fd00::1]:2222": "[fd00::1]:2222",
	} {
		if got := ssh.WithPort(given, "22"); got != want {
			t.Errorf("%s: got %s, want %s", given, got, want)
		}
	}
}
