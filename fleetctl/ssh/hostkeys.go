package ssh

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/crypto/ssh"
	"golang.org/x/crypto/ssh/knownhosts"
)

// hostKeys gives the check of a host's key, and the algorithms to ask for: those
// of the keys that are known, if any, lest the host shows another one.
func (c Config) hostKeys(addr string) (ssh.HostKeyCallback, []string, error) {
	if !c.Strict {
		return ssh.InsecureIgnoreHostKey(), nil, nil //nolint:gosec // asked for: --strict-host-key-checking=false
	}
	if err := ensureFile(c.KnownHosts); err != nil {
		return nil, nil, fmt.Errorf("the known hosts: %w", err)
	}
	check, err := knownhosts.New(c.KnownHosts)
	if err != nil {
		return nil, nil, fmt.Errorf("the known hosts: %w", err)
	}
	return func(host string, remote net.Addr, key ssh.PublicKey) error {
		return c.judge(check(host, remote, key), host, key)
	}, knownAlgorithms(check, addr), nil
}

func (c Config) judge(err error, host string, key ssh.PublicKey) error {
	var unknown *knownhosts.KeyError
	switch {
	case err == nil:
		return nil
	case !errors.As(err, &unknown):
		return err
	case len(unknown.Want) > 0:
		return fmt.Errorf("the host's key has CHANGED: it shows %s, but %s:%d says otherwise. "+
			"Either the host was set up anew, or somebody is in between. If it was set up anew: ssh-keygen -f %s -R %q",
			ssh.FingerprintSHA256(key), unknown.Want[0].Filename, unknown.Want[0].Line, c.KnownHosts, knownhosts.Normalize(host))
	}
	if c.Confirm == nil || !c.Confirm(host, ssh.FingerprintSHA256(key)) {
		return fmt.Errorf("the host is unknown: it shows the key %s. If that is right: ssh-keyscan %s >>%s",
			ssh.FingerprintSHA256(key), scanArgs(host), c.KnownHosts)
	}
	return c.remember(host, key)
}

func (c Config) remember(host string, key ssh.PublicKey) error {
	f, err := os.OpenFile(c.KnownHosts, os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintln(f, knownhosts.Line([]string{host}, key))
	return errors.Join(err, f.Close())
}

func scanArgs(addr string) string {
	host, port, err := net.SplitHostPort(addr)
	switch {
	case err != nil:
		return addr
	case port == "22":
		return host
	}
	return "-p " + port + " " + host
}

// knownAlgorithms asks the known hosts, by a key that can't be known, which keys
// they have of a host.
func knownAlgorithms(check ssh.HostKeyCallback, addr string) []string {
	var known *knownhosts.KeyError
	if !errors.As(check(addr, &net.TCPAddr{}, noKey{}), &known) {
		return nil
	}
	var out []string
	for _, k := range known.Want {
		if t := k.Key.Type(); t == ssh.KeyAlgoRSA {
			out = append(out, ssh.KeyAlgoRSASHA256, ssh.KeyAlgoRSASHA512)
		} else {
			out = append(out, t)
		}
	}
	return out
}

type noKey struct{}

func (noKey) Type() string                        { return "none" }
func (noKey) Marshal() []byte                     { return []byte("none") }
func (noKey) Verify([]byte, *ssh.Signature) error { return errors.New("no key") }

// ensureFile has an empty file where there is none.
func ensureFile(path string) error {
	if strings.TrimSpace(path) == "" {
		return errors.New("no file is named")
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_RDONLY, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}
