package ssh

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// knownHosts is what the file of that name says.
type knownHosts struct {
	path  string
	check ssh.HostKeyCallback
	// lines are the file's, to tell authorities' from hosts'.
	lines []string
}

// readKnownHosts reads the file of the hosts' keys; none is an empty one.
func (c Config) readKnownHosts() (*knownHosts, error) {
	k := &knownHosts{path: c.KnownHosts}
	text, err := os.ReadFile(c.KnownHosts)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		k.check, err = knownhosts.New()
	case err == nil:
		k.lines = strings.Split(string(text), "\n")
		if k.check, err = knownhosts.New(c.KnownHosts); err != nil {
			err = fmt.Errorf("%s: correct or delete that line", strings.TrimPrefix(err.Error(), "knownhosts: "))
		}
	}
	if err == nil {
		return k, nil
	}
	err = fmt.Errorf("the known hosts: %w (--known-hosts-file)", err)
	if c.Strict {
		return nil, err
	}
	c.warn("WARNING: %v", err)
	k.check, err = knownhosts.New()
	return k, err
}

// keyError is why a host's key is refused.
type keyError string

func (e keyError) Error() string { return string(e) }

func keyErrorf(format string, args ...any) error { return keyError(fmt.Sprintf(format, args...)) }

// judge gives the check of a host's key during the handshake.
func (k *knownHosts) judge(c Config, p *patience) ssh.HostKeyCallback {
	return func(host string, remote net.Addr, key ssh.PublicKey) error {
		name, err := k.look(host, remote, key)
		print := ssh.FingerprintSHA256(key)
		var wrong *knownhosts.KeyError
		var revoked *knownhosts.RevokedError
		switch {
		case err == nil:
			return nil
		case errors.As(err, &revoked):
			return keyErrorf("the host's key %s is revoked (%s:%d)", print, k.path, revoked.Revoked.Line)
		case !errors.As(err, &wrong):
			return err
		case len(wrong.Want) > 0:
			text := fmt.Sprintf("the host's key has CHANGED: it shows %s %s, but %s:%d says otherwise. "+
				"Either the host was set up anew, or somebody is in between. If it was set up anew: ssh-keygen -f %s -R %s",
				key.Type(), print, k.path, lineOf(wrong.Want, key), Quote([]string{k.path}), Quote([]string{knownhosts.Normalize(name)}))
			if c.Strict {
				return keyErrorf("%s", text)
			}
			c.warn("WARNING: %s: %s", host, text)
			return nil
		case !c.Strict:
			return nil
		case c.Confirm != nil && p.pause(func() bool { return c.Confirm(p, host, key.Type()+" "+print) }):
			return k.remember(host, key)
		}
		return keyErrorf("the host is unknown: it shows the key %s %s. If that is right: %s >>%s",
			key.Type(), print, c.scanCommand(host), Quote([]string{k.path}))
	}
}

// look looks a host up by the name it was called by; where there is nothing, by
// its address, by which fleet 1.0 knew hosts. It gives the name that counts.
func (k *knownHosts) look(host string, remote net.Addr, key ssh.PublicKey) (name string, err error) {
	err = k.check(host, remote, key)
	var unknown *knownhosts.KeyError
	if !errors.As(err, &unknown) || len(unknown.Want) > 0 {
		return host, err
	}
	if tcp, ok := remote.(*net.TCPAddr); ok && len(tcp.IP) > 0 {
		host = tcp.String()
	}
	return host, k.check(host, remote, key)
}

// lineOf is the line to show for a key that isn't among those wanted: the one
// of its kind, if there is one.
func lineOf(want []knownhosts.KnownKey, key ssh.PublicKey) int {
	for _, w := range want {
		if w.Key.Type() == key.Type() {
			return w.Line
		}
	}
	return want[0].Line
}

// remember adds a host's key to the file.
func (k *knownHosts) remember(host string, key ssh.PublicKey) error {
	if err := os.MkdirAll(filepath.Dir(k.path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(k.path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	line := knownhosts.Line([]string{host}, key) + "\n"
	if len(k.lines) > 0 && k.lines[len(k.lines)-1] != "" {
		line = "\n" + line // somebody's editor left the last line open
	}
	_, err = f.WriteString(line)
	return errors.Join(err, f.Close())
}

// algorithms are those of host keys to ask for: first those that are known,
// lest the host shows another key of its; then the others, so that a key of
// another kind is seen to be one. Certificates only count if an authority does.
func (k *knownHosts) algorithms(host string, remote net.Addr) []string {
	var known *knownhosts.KeyError
	_, err := k.look(host, remote, noKey{})
	_ = errors.As(err, &known) // it is the only one there can be
	var certificates, first, rest []string
	for _, a := range ssh.SupportedAlgorithms().HostKeys {
		isCertificate := strings.Contains(a, "-cert-v01@")
		switch {
		case isCertificate && known != nil && slices.ContainsFunc(known.Want, k.isAuthority):
			certificates = append(certificates, a)
		case isCertificate:
		case known != nil && slices.ContainsFunc(known.Want, func(w knownhosts.KnownKey) bool { return signsBy(w.Key.Type(), a) }):
			first = append(first, a)
		default:
			rest = append(rest, a)
		}
	}
	return slices.Concat(certificates, first, rest)
}

func (k *knownHosts) isAuthority(known knownhosts.KnownKey) bool {
	return strings.HasPrefix(strings.TrimSpace(k.lines[known.Line-1]), "@cert-authority")
}

// signsBy reports whether keys of a kind sign by an algorithm.
func signsBy(kind, algorithm string) bool {
	if kind == ssh.KeyAlgoRSA {
		return strings.HasPrefix(algorithm, "rsa-sha2-")
	}
	return kind == algorithm
}

// scanCommand prints a host's keys.
func (c Config) scanCommand(addr string) string {
	scan := []string{"ssh-keyscan"}
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		host = addr
	} else if port != "22" {
		scan = append(scan, "-p", port)
	}
	scan = append(scan, host)
	if t := c.Through; t != nil { // from where the host can be reached
		jump := []string{"ssh"}
		host, port, _ := net.SplitHostPort(t.addr)
		if port != "22" {
			jump = append(jump, "-p", port)
		}
		scan = append(append(jump, t.config.User+"@"+host), scan...)
	}
	return Quote(scan)
}

func (c Config) warn(format string, args ...any) {
	if c.Warn != nil {
		c.Warn(fmt.Sprintf(format, args...))
	}
}

// noKey is a key that can't be known: asking for it tells which are.
type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }
