package functional

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// laptop is an operator's: fleetctl on the machine of the tests, which is no
// host of the cluster, with an SSH agent and known hosts of its own.
type laptop struct {
	w     *world
	home  string
	known string // the file of known hosts
	agent string // the agent's socket
	env   []string
}

// laptop logs in as a user of the hosts, through the first host unless env says
// otherwise.
func (w *world) laptop(user string, env ...string) *laptop {
	w.t.Helper()
	home, err := os.MkdirTemp("", "laptop") // a socket's path must be short
	if err != nil {
		w.t.Fatal(err)
	}
	l := &laptop{w: w, home: home, known: filepath.Join(home, ".fleetctl", "known_hosts"), agent: filepath.Join(home, "agent")}
	l.env = append([]string{
		"HOME=" + home, "PATH=" + os.Getenv("PATH"), "SSH_AUTH_SOCK=" + l.agent, "TERM=xterm",
		"FLEETCTL_SSH_USERNAME=" + user, "FLEETCTL_TUNNEL=" + w.Hosts[0].IP(),
	}, env...)
	agent := exec.Command("ssh-agent", "-D", "-a", l.agent)
	if err := agent.Start(); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() {
		_ = agent.Process.Kill()
		_ = agent.Wait() // it was killed
		os.RemoveAll(home)
	})
	w.await("the SSH agent", func() (bool, string) { // its socket is there before it listens
		conn, err := net.Dial("unix", l.agent)
		if err != nil {
			return false, err.Error()
		}
		return true, fmt.Sprint(conn.Close())
	})
	add := exec.CommandContext(w.ctx, "ssh-add", "-q", plat.SSHKey())
	add.Env = l.env
	if out, err := add.CombinedOutput(); err != nil {
		w.t.Fatalf("ssh-add: %v\n%s", err, out)
	}
	var lines strings.Builder
	for _, h := range w.Hosts {
		lines.WriteString(l.line(h))
	}
	l.remember(lines.String())
	return l
}

// line is a host's in a known_hosts file.
func (l *laptop) line(h *platform.Host) string {
	l.w.t.Helper()
	return h.IP() + " " + l.w.run(h, "cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub") + "\n"
}

// remember makes these the known hosts.
func (l *laptop) remember(lines string) {
	l.w.t.Helper()
	if err := os.MkdirAll(filepath.Dir(l.known), 0o700); err != nil {
		l.w.t.Fatal(err)
	}
	if err := os.WriteFile(l.known, []byte(lines), 0o600); err != nil {
		l.w.t.Fatal(err)
	}
}

func (l *laptop) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join(cluster.Root(), "bin", "fleetctl"), args...)
	cmd.Env, cmd.Dir = l.env, l.home
	return cmd
}

// result is how a fleetctl ended.
type result struct {
	out, err string
	code     int
}

// run runs fleetctl to its end.
func (l *laptop) run(args ...string) result {
	l.w.t.Helper()
	return l.feed("", args...)
}

// feed is run with a standard input.
func (l *laptop) feed(stdin string, args ...string) result {
	l.w.t.Helper()
	var out, said bytes.Buffer
	cmd := l.command(l.w.ctx, args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(stdin), &out, &said
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		l.w.t.Fatalf("fleetctl %v: %v", args, err)
	}
	return result{out.String(), said.String(), cmd.ProcessState.ExitCode()}
}

// ok runs fleetctl, which must succeed, and gives what it printed.
func (l *laptop) ok(args ...string) string {
	l.w.t.Helper()
	r := l.run(args...)
	if r.code != 0 {
		l.w.t.Fatalf("fleetctl %v: exit code %d\n%s%s", args, r.code, r.out, r.err)
	}
	return r.out
}

// fails runs fleetctl, which must end so, with all of these words.
func (l *laptop) fails(code int, words []string, args ...string) {
	l.w.t.Helper()
	r := l.run(args...)
	if r.code != code {
		l.w.t.Errorf("fleetctl %v: exit code %d, want %d\n%s%s", args, r.code, code, r.out, r.err)
	}
	for _, word := range words {
		if !strings.Contains(r.err, word) {
			l.w.t.Errorf("fleetctl %v does not say %q:\n%s", args, word, r.err)
		}
	}
}

// rows reads what fleetctl printed as JSON.
func rows(t testing.TB, text string) (rows []map[string]any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &rows); err != nil {
		t.Fatalf("%v in %s", err, text)
	}
	return rows
}

// sshd starts another SSH server on a host, with options of its own.
func (w *world) sshd(h *platform.Host, port string, options ...string) {
	w.t.Helper()
	line := "systemd-run --quiet --unit=sshd-" + port + " /usr/sbin/sshd -D -e -p " + port + " -o PidFile=none"
	for _, o := range options {
		line += " -o " + o
	}
	w.run(h, line)
	w.t.Cleanup(func() {
		if _, err := h.Run(context.Background(), "systemctl", "stop", "sshd-"+port); err != nil {
			w.t.Error(err)
		}
	})
	w.await("sshd on port "+port, func() (bool, string) {
		out, _ := h.Run(w.ctx, "ss", "-Hltn", "sport", "=", ":"+port)
		return out != "", "nothing listens"
	})
}

// apiOnTCP has a host serve its fleetd's API on a TCP port, too.
func (w *world) apiOnTCP(h *platform.Host, address string) {
	w.t.Helper()
	w.run(h, "systemd-run --quiet --unit=api-tcp --socket-property=ListenStream="+address+" /lib/systemd/systemd-socket-proxyd /run/fleet.sock")
	w.t.Cleanup(func() {
		if _, err := h.Run(context.Background(), "systemctl", "stop", "api-tcp.*"); err != nil {
			w.t.Error(err)
		}
	})
}
