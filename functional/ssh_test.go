package functional

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"

	"github.com/fleet-project/fleet/functional/platform"
)

// told is a unit that says a line.
const told = "[Service]\nExecStart=/bin/sh -c 'echo said by %p; exec sleep infinity'\n"

func TestSSHRunsCommands(t *testing.T) {
	w := use(t)
	l := w.laptop("core")
	w.apiOnTCP(w.Hosts[0], w.Hosts[0].IP()+":4001")
	l.env = append(l.env, "FLEETCTL_TUNNEL=", "FLEETCTL_ENDPOINT=http://"+w.Hosts[0].IP()+":4001")
	w.fleetctl("start", w.file("near.service", sleeper("")))
	on := w.host("near.service")
	h := w.Hosts[2]
	id := h.MachineID()
	for _, tt := range []struct {
		name  string
		stdin string
		args  []string
		want  result
	}{
		{"by the beginning of a machine's id", "", []string{id[:8], "hostname"}, result{h.Name() + "\n", "", 0}},
		{"by a unit", "", []string{"near", "hostname"}, result{on.Name() + "\n", "", 0}},
		{"by --machine", "", []string{"-m", id, "hostname"}, result{h.Name() + "\n", "", 0}},
		{"by --unit", "", []string{"--unit", "near.service", "hostname"}, result{on.Name() + "\n", "", 0}},
		{"as the user core", "", []string{id, "id", "-un"}, result{"core\n", "", 0}},
		{"its exit code", "", []string{id, "echo said; echo erred >&2; exit 7"}, result{"said\n", "erred\n", 7}},
		{"killed by a signal", "", []string{id, "kill -TERM $$"}, result{"", "", 143}},
		{"its standard input", "one\ntwo\n", []string{id, "wc -l"}, result{"2\n", "", 0}},
		{"flags of the command's own", "", []string{id, "uname", "-s"}, result{"Linux\n", "", 0}},
		{"after --, as fleet 1.0 wanted it", "", []string{id, "--", "uname", "-s"}, result{"Linux\n", "", 0}},
		{"words go to a shell over there", "", []string{id, "cd", "/etc/ssh", "&&", "ls", "ssh_host_*_key"}, result{"ssh_host_ed25519_key\n", "", 0}},
		{"and keep its quotes", "", []string{id, "echo", "'*.x   y'"}, result{"*.x   y\n", "", 0}},
		{"nothing that is known", "", []string{"nothing", "true"}, result{"", "Unable to proceed: could not find matching unit or machine\n", 1}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := l.feed(tt.stdin, append([]string{"ssh"}, tt.args...)...); got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
	t.Run("a shell, without a terminal", func(t *testing.T) {
		if r := l.feed("hostname\nexit 5\n", "ssh", id); r.code != 5 || !strings.HasSuffix(r.out, "\n"+h.Name()+"\n") {
			t.Errorf("got %+v", r)
		}
	})
	t.Run("the agent", func(t *testing.T) {
		if r := l.run("ssh", id, "ssh-add -l"); r.code == 0 {
			t.Errorf("unasked, it was forwarded: %+v", r)
		}
		for _, args := range [][]string{{"-A", id}, {id, "--forward-agent"}} {
			out := l.ok(append(append([]string{"ssh"}, args...), "ssh-add", "-l")...)
			if !strings.Contains(out, "SHA256:") {
				t.Errorf("%v: the agent over there has %q", args, out)
			}
		}
	})
	t.Run("no agent", func(t *testing.T) {
		l := *l
		l.env = append(l.env[:len(l.env):len(l.env)], "SSH_AUTH_SOCK=")
		l.fails(1, []string{h.IP(), "ssh-agent", "ssh-add"}, "ssh", id, "true")
	})
	t.Run("no key that fits", func(t *testing.T) {
		l := *l
		l.env = append(l.env[:len(l.env):len(l.env)], "FLEETCTL_SSH_USERNAME=nobody")
		l.fails(1, []string{h.IP(), "none of the agent's keys for user nobody", "ssh-add -l", "--ssh-username"}, "ssh", id, "true")
	})
}

func TestTunnel(t *testing.T) {
	w := use(t)
	l := w.laptop("root")
	first, last := w.Hosts[0], w.Hosts[2]
	w.sshd(first, "2222", "AllowStreamLocalForwarding=no")
	w.sshd(first, "2223", "DisableForwarding=yes")
	w.apiOnTCP(first, "127.0.0.1:4001")
	key := strings.TrimPrefix(l.line(first), first.IP())
	l.remember(l.line(first) + "[" + first.IP() + "]:2222" + key + "[" + first.IP() + "]:2223" + key + l.line(last) + l.line(w.Hosts[1]))
	w.file("dug@.service", sleeper(""))
	machines := w.fleetctl("list-machines", "--full")
	for name, env := range map[string][]string{
		"to the socket":                 nil,
		"to the socket, port given":     {"FLEETCTL_TUNNEL=" + first.IP() + ":22"},
		"by fd-forward":                 {"FLEETCTL_TUNNEL=" + first.IP() + ":2222"},
		"by fd-forward, nothing else":   {"FLEETCTL_TUNNEL=" + first.IP() + ":2223"},
		"to a port that is there only":  {"FLEETCTL_ENDPOINT=http://127.0.0.1:4001"},
		"fleet 1.0's spelling, no port": {"FLEETCTL_ENDPOINT=unix:///var/run/fleet.sock"},
	} {
		t.Run(name, func(t *testing.T) {
			l := *l
			l.env = append(l.env[:len(l.env):len(l.env)], env...)
			if got := l.ok("list-machines", "--full"); got != machines {
				t.Errorf("got\n%s, want\n%s", got, machines)
			}
		})
	}
	t.Run("many requests at once", func(t *testing.T) {
		l := *l
		l.env = append(l.env[:len(l.env):len(l.env)], "FLEETCTL_TUNNEL="+first.IP()+":2222")
		unit := l.home + "/dug@.service"
		if err := os.WriteFile(unit, []byte(sleeper("")), 0o644); err != nil {
			t.Fatal(err)
		}
		args := []string{"start"}
		for i := range 30 {
			args = append(args, fmt.Sprintf("%s/dug@%d.service", l.home, i))
		}
		if got := strings.Count(l.ok(args...), " launched on "); got != 30 {
			t.Errorf("%d units launched, want 30", got)
		}
		w.fleetctl("destroy", "dug@*")
	})
	t.Run("onward", func(t *testing.T) {
		from := l.ok("ssh", last.MachineID(), "echo $SSH_CONNECTION")
		if f := strings.Fields(from); len(f) != 4 || f[0] != first.IP() || f[2] != last.IP() {
			t.Errorf("the connection is %q, want it from %s to %s", from, first.IP(), last.IP())
		}
	})
	t.Run("nothing listens", func(t *testing.T) {
		l.fails(1, []string{first.IP(), "unix:///nowhere.sock", "no such file"}, "--endpoint", "unix:///nowhere.sock", "list-machines")
	})
	t.Run("a user who may not", func(t *testing.T) {
		l.fails(1, []string{first.IP(), "permission denied", "--ssh-username"}, "--ssh-username", "core", "list-machines")
	})
	t.Run("a user of the socket's group", func(t *testing.T) { // as docs/ssh.md says
		w.run(first, "chgrp core /run/fleet.sock")
		defer w.run(first, "chgrp root /run/fleet.sock")
		if got := l.ok("--ssh-username", "core", "list-machines", "--full"); got != machines {
			t.Errorf("got\n%s, want\n%s", got, machines)
		}
	})
}

// fleet 1.0's fleetctl runs exactly this on the host, and speaks HTTP over it.
func TestTunnelOfFleet1(t *testing.T) {
	w := use(t)
	l := w.laptop("root")
	h := w.Hosts[0]
	ssh := exec.CommandContext(w.ctx, "ssh", "-o", "UserKnownHostsFile="+l.known, "root@"+h.IP(), "fleetctl fd-forward /var/run/fleet.sock")
	ssh.Env = l.env
	in, err := ssh.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := ssh.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := ssh.Start(); err != nil {
		t.Fatal(err)
	}
	answers := bufio.NewReader(out)
	for range 2 { // the connection stays
		fmt.Fprint(in, "GET /fleet/v1/machines HTTP/1.1\r\nHost: fleet\r\n\r\n")
		if line, err := answers.ReadString('\n'); line != "HTTP/1.1 200 OK\r\n" {
			t.Fatalf("%q %v", line, err)
		}
		body := ""
		for !strings.Contains(body, h.MachineID()) {
			line, err := answers.ReadString('}')
			if body += line; err != nil {
				t.Fatalf("%q %v", body, err)
			}
		}
		if _, err := io.CopyN(io.Discard, answers, int64(answers.Buffered())); err != nil {
			t.Fatal(err)
		}
	}
	in.Close()
	if err := ssh.Wait(); err != nil {
		t.Error(err)
	}
	w.none(h, "fd-forward")
}

// none awaits that no process on a host has that in its command line.
func (w *world) none(h *platform.Host, words string) {
	w.t.Helper()
	w.await("no "+words+" on "+h.Name(), func() (bool, string) {
		out, _ := h.Run(w.ctx, "pgrep", "-af", words) // it fails if there is none
		return out == "", out
	})
}

func TestStatusOverSSH(t *testing.T) {
	w := use(t)
	l := w.laptop("root")
	w.file("everywhere.service", sleeper("Global=true\n"))
	w.fleetctl("start", "--no-block", "/root/units/everywhere.service")
	// At once: the units' machines are known, whatever these have said yet.
	out := l.ok("status", "everywhere")
	for _, h := range w.Hosts {
		if !strings.Contains(out, "==> "+h.MachineID()[:8]+".../"+h.IP()+" <==") {
			t.Errorf("status does not show it on %s:\n%s", h.Name(), out)
		}
	}
	w.await("the unit to be active everywhere", func() (bool, string) {
		r := l.run("status", "everywhere")
		return r.code == 0 && strings.Count(r.out, "active (running)") == len(w.Hosts), r.out + r.err
	})
	if out := l.ok("status", "-m", w.Hosts[1].MachineID()[:8], "everywhere"); strings.Count(out, "Active:") != 1 {
		t.Errorf("status of one machine:\n%s", out)
	}
	for _, row := range rows(t, l.ok("status", "-o", "json", "everywhere")) {
		if row["unit"] != "everywhere.service" || row["active"] != "active" || row["sub"] != "running" || row["machine"] == "" || row["global"] != true {
			t.Errorf("status as data: %v", row)
		}
	}
	w.fleetctl("stop", "everywhere")
	if r := l.run("status", "everywhere"); r.code != 3 || !strings.Contains(r.out, "inactive (dead)") {
		t.Errorf("status of a stopped unit: %+v, want systemctl's exit code 3", r)
	}
	if r := l.run("status", "-o", "json", "everywhere"); r.code != 3 || len(rows(t, r.out)) != len(w.Hosts) {
		t.Errorf("status of a stopped unit as data: %+v", r)
	}
	w.fleetctl("submit", w.file("idle.service", sleeper("")))
	l.fails(1, []string{"Unit idle.service does not appear to be loaded."}, "status", "idle")
	l.fails(1, []string{"Unit nix.service does not exist."}, "status", "nix")
}

// A user of the hosts has to become root there to ask; a host that has left the
// cluster is the one that is asked most.
func TestDoctorOverSSH(t *testing.T) {
	w := use(t)
	w.apiOnTCP(w.Hosts[0], w.Hosts[0].IP()+":4001")
	core, root := w.laptop("core"), w.laptop("root")
	core.env = append(core.env, "FLEETCTL_TUNNEL=", "FLEETCTL_ENDPOINT=http://"+w.Hosts[0].IP()+":4001")
	ill := w.Hosts[2]
	for name, l := range map[string]*laptop{"core": core, "root": root} {
		all := rows(t, l.ok("doctor", "-o", "json", ill.MachineID()[:8], w.Hosts[1].IP()))
		if len(all) != 2 || all[0]["machineID"] != ill.MachineID() || all[1]["machineID"] != w.Hosts[1].MachineID() {
			t.Errorf("as %s: %v", name, all)
		}
	}
	if out := w.run(ill, "fleetctl doctor "+ill.MachineID()); !strings.Contains(out, "errors 0") {
		t.Errorf("of itself, without SSH:\n%s", out)
	}
	root.fails(1, []string{"nosuch: there is no such machine in the cluster; and by that name: ssh to nosuch"}, "doctor", "nosuch")

	w.run(ill, "cp /etc/fleet/fleet.conf /root/well.conf; echo agent_ttl=soon >>/etc/fleet/fleet.conf; systemctl restart fleet || true")
	t.Cleanup(func() {
		// The test's own context is over.
		if _, err := ill.Run(context.Background(), "sh", "-ec", "mv /root/well.conf /etc/fleet/fleet.conf; systemctl start fleet"); err != nil {
			t.Error(err)
		}
	})
	w.await("the host to have left the cluster", func() (bool, string) {
		out := w.fleetctl("list-machines", "--full", "--no-legend")
		return !strings.Contains(out, ill.MachineID()), out
	})
	for _, l := range []*laptop{core, root} {
		l.fails(1, []string{ill.IP() + ": ", "fleet.service is activating", "fleet.conf:", "agent_ttl"}, "doctor", ill.IP())
	}
	// What it says in words stays out of what programs read.
	if out, err := ill.Run(w.ctx, "fleetctl", "doctor", "-o", "json"); err == nil || out != "" {
		t.Errorf("%v, and to standard output:\n%s", err, out)
	}
}

func TestJournalOverSSH(t *testing.T) {
	w := use(t)
	w.fleetctl("start", w.file("talk.service", told))
	h := w.host("talk.service")
	w.apiOnTCP(w.Hosts[0], w.Hosts[0].IP()+":4001")
	for _, user := range []string{"root", "core"} {
		t.Run(user, func(t *testing.T) {
			l := w.laptop(user)
			l.env = append(l.env, "FLEETCTL_TUNNEL=", "FLEETCTL_ENDPOINT=http://"+w.Hosts[0].IP()+":4001")
			args := []string{"journal", "--lines", "100", "--output", "cat"}
			if user != "root" {
				args = append(args, "--sudo")
			}
			w.await("the unit's line", func() (bool, string) {
				r := l.run(append(args, "talk")...)
				return r.code == 0 && strings.Contains(r.out, "said by talk\n"), r.out + r.err
			})
			follow := l.command(w.ctx, append(args, "-f", "talk")...)
			out, err := follow.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := follow.Start(); err != nil {
				t.Fatal(err)
			}
			lines := bufio.NewReader(out)
			awaitLine(t, lines, "said by talk")
			w.fleetctl("restart", "talk")
			awaitLine(t, lines, "said by talk")
			if err := follow.Process.Signal(syscall.SIGINT); err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(io.Discard, lines); err != nil {
				t.Fatal(err)
			}
			if _ = follow.Wait(); follow.ProcessState.ExitCode() != 130 {
				t.Errorf("interrupted, it ended with %v", follow.ProcessState)
			}
			w.none(h, "journalctl --unit talk")
		})
	}
}

// awaitLine reads until a line has the words.
func awaitLine(t *testing.T, lines *bufio.Reader, words string) {
	t.Helper()
	for {
		line, err := lines.ReadString('\n')
		if strings.Contains(line, words) {
			return
		}
		if err != nil {
			t.Fatalf("waited in vain for %q: %v", words, err)
		}
	}
}
