package ssh_test

import (
	"context"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/fleet-project/fleet/fleetctl/ssh"
	gossh "golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

func TestHostKeys(t *testing.T) {
	h := newHost(t)
	other, _ := newKey(t)
	_, port, err := net.SplitHostPort(h.addr)
	if err != nil {
		t.Fatal(err)
	}
	byName := net.JoinHostPort("localhost", port) // the known hosts have its address
	yes := func(_ context.Context, _, key string) bool { return strings.HasPrefix(key, "ssh-ed25519 SHA256:") }
	line := func(host string, key gossh.PublicKey) string { return knownhosts.Line([]string{host}, key) + "\n" }
	// An RSA key's line, for a host that shows no such key.
	const rsa = " ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQC3y6omlFuiBQfV2lqwqt3EuQHXLxvghhdfyZ840je6pRNnidgfCTmzNgIjmqdfkCwIthh+fhArkFPWIT6dRwim4hhtbpum7AzAay1h6mmLsmJVJQ/nK+zLwQ4JHs6+Tfj6F3iXJyrZR9JMTeLLs0mEd+VNHbX3LxIh7nXk5IM0G5LP2nnIYG96Luu4WunJzFsDVFLgxMl66T9VBYeAIbfUeCoCDYMmJK7kTleLD1XfL2KdoHkh0t9fkJVA5XJUZJPh3PJw+mT7eP3meAMc8EzyCGcRm+5GQzAe2/M4dNaZ5iqF7YIO7HJpA8UyAE+Dgd9WqhoBX/6ItdcuDXVAy63v\n"
	for _, tt := range []struct {
		name    string
		addr    string // if not the host's
		known   string
		confirm func(ctx context.Context, host, key string) bool
		lax     bool
		words   string // of the error; "" for none
		warning string
		adds    bool // the key to the known hosts
	}{
		{name: "known", known: line(h.addr, h.key.PublicKey())},
		{name: "known by its address", addr: byName, known: line(h.addr, h.key.PublicKey())},
		{name: "known by its hashed name", known: line(knownhosts.HashHostname(knownhosts.Normalize(h.addr)), h.key.PublicKey())},
		{name: "known by the second of its lines", known: "# hosts\n\n" + knownhosts.Normalize(h.addr) + rsa + line(h.addr, h.key.PublicKey())},
		{name: "known by a pattern", known: "[127.0.0.*]:" + port + " " + string(gossh.MarshalAuthorizedKey(h.key.PublicKey()))},
		{name: "another port is another host", known: line("127.0.0.1:22", h.key.PublicKey()), words: "the host is unknown"},
		{name: "unknown", words: "the host is unknown: it shows the key ssh-ed25519 SHA256:"},
		{name: "unknown and confirmed", confirm: yes, adds: true},
		{name: "unknown and declined", confirm: func(context.Context, string, string) bool { return false }, words: "ssh-keyscan -p " + port + " 127.0.0.1 >>"},
		{name: "confirmed after an open line", known: "# no newline", confirm: yes, adds: true},
		{name: "changed", known: "# hosts\n" + line(h.addr, other.PublicKey()), confirm: func(context.Context, string, string) bool { t.Error("asked about a changed key"); return true },
			words: "KNOWN:2 says otherwise"},
		{name: "changed to another kind", known: knownhosts.Normalize(h.addr) + rsa, words: "KNOWN:1 says otherwise"},
		{name: "changed, of two kinds", known: knownhosts.Normalize(h.addr) + rsa + line(h.addr, other.PublicKey()), words: "KNOWN:2 says otherwise"},
		{name: "changed, under its address", addr: byName, known: line(h.addr, other.PublicKey()), words: "-R '[127.0.0.1]:" + port + "'"},
		{name: "revoked", known: "@revoked * " + string(gossh.MarshalAuthorizedKey(h.key.PublicKey())), words: "is revoked (KNOWN:1)"},
		{name: "malformed", known: "# fine\nnonsense\n", words: "KNOWN:2: "},
		{name: "unchecked and known", lax: true, known: line(h.addr, h.key.PublicKey())},
		{name: "unchecked and unknown", lax: true},
		{name: "unchecked and changed", lax: true, known: line(h.addr, other.PublicKey()), warning: "has CHANGED"},
		{name: "unchecked and malformed", lax: true, known: "nonsense\n", warning: "KNOWN:1: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var warnings strings.Builder
			c := h.config()
			c.Confirm, c.Strict = tt.confirm, !tt.lax
			c.Warn = func(text string) { fmt.Fprintln(&warnings, text) }
			write(t, c.KnownHosts, tt.known)
			addr := h.addr
			if tt.addr != "" {
				addr = tt.addr
			}
			client, err := ssh.Dial(t.Context(), addr, c)
			if err == nil {
				client.Close()
			}
			words := strings.ReplaceAll(tt.words, "KNOWN", c.KnownHosts)
			switch {
			case words == "" && err != nil:
				t.Fatal(err)
			case words != "" && (err == nil || !strings.Contains(err.Error(), words) || !strings.Contains(err.Error(), addr)):
				t.Errorf("%v doesn't say %q and %s", err, words, addr)
			}
			warning := strings.ReplaceAll(tt.warning, "KNOWN", c.KnownHosts)
			if got := warnings.String(); !strings.Contains(got, warning) || warning == "" && got != "" {
				t.Errorf("warned %q, want %q", got, warning)
			}
			after, err := os.ReadFile(c.KnownHosts)
			if err != nil {
				t.Fatal(err)
			}
			if added := string(after) != tt.known; added != tt.adds {
				t.Errorf("the known hosts were %q, are %q", tt.known, after)
			}
			if tt.adds { // and from now on it is known
				c.Confirm = nil
				dial(t, addr, c)
			}
		})
	}
}

// A known_hosts file that isn't there is an empty one, and is made when there is
// something to remember.
func TestNoKnownHosts(t *testing.T) {
	h := newHost(t)
	c := h.config()
	c.KnownHosts = filepath.Join(t.TempDir(), "new", "known_hosts")
	if _, err := ssh.Dial(t.Context(), h.addr, c); err == nil || !strings.Contains(err.Error(), "the host is unknown") {
		t.Error(err)
	}
	// A person takes longer than the host may.
	c.Timeout = time.Second
	c.Confirm = func(context.Context, string, string) bool {
		deadline := time.NewTimer(2 * c.Timeout)
		<-deadline.C
		return true
	}
	dial(t, h.addr, c)
	info, err := os.Stat(c.KnownHosts)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", info, err)
	}
}

// A host whose key an authority has signed needs no line of its own; where no
// authority is known, its certificate is not asked for.
func TestHostCertificate(t *testing.T) {
	authority, _ := newKey(t)
	stranger, _ := newKey(t)
	h := newHost(t, func(h *host) { h.authority = authority })
	everywhere := "@cert-authority " + strings.Replace(knownhosts.Normalize(h.addr), "127.0.0.1", "127.*", 1) + " "
	for name, tt := range map[string]struct {
		known string
		words string
	}{
		"by its authority":     {everywhere + string(gossh.MarshalAuthorizedKey(authority.PublicKey())), ""},
		"by its key":           {knownhosts.Line([]string{h.addr}, h.key.PublicKey()) + "\n", ""},
		"by no one":            {"", "the host is unknown"},
		"by another authority": {everywhere + string(gossh.MarshalAuthorizedKey(stranger.PublicKey())), "no authorities for hostname"},
	} {
		t.Run(name, func(t *testing.T) {
			c := h.config()
			write(t, c.KnownHosts, tt.known)
			client, err := ssh.Dial(t.Context(), h.addr, c)
			if err == nil {
				client.Close()
			}
			if tt.words == "" && err != nil || tt.words != "" && (err == nil || !strings.Contains(err.Error(), tt.words)) {
				t.Errorf("got %v, want %q", err, tt.words)
			}
		})
	}
}

func write(t *testing.T, path, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
