package functional

import (
	"bufio"
	"bytes"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/platform"
)

func TestChangedHostKeyIsRefused(t *testing.T) {
	w := use(t)
	l := w.laptop("root")
	tunnel, h := w.Hosts[0], w.Hosts[1]
	foreign := h.IP() + " " + w.run(tunnel, "cut -d' ' -f1,2 /etc/ssh/ssh_host_ed25519_key.pub") + "\n"
	l.remember("# mine\n" + l.line(tunnel) + foreign)
	w.fleetctl("start", w.file("there.service", told+"[X-Fleet]\nMachineID="+h.MachineID()+"\n"))
	for _, args := range [][]string{{"ssh", h.MachineID(), "true"}, {"status", "there"}, {"journal", "there"}} {
		l.fails(1, []string{h.IP(), "CHANGED", l.known + ":3", "ssh-keygen -f " + l.known + " -R " + h.IP()}, args...)
	}
	r := l.run("--strict-host-key-checking=false", "ssh", h.MachineID(), "hostname")
	if r.code != 0 || r.out != h.Name()+"\n" || !strings.Contains(r.err, "WARNING: "+h.IP()) {
		t.Errorf("unchecked: %+v", r)
	}

	// What the message says to do, done: then the host is unknown, and the next
	// message says how to know it.
	l.shell("ssh-keygen -f " + l.known + " -R " + h.IP())
	r = l.run("ssh", h.MachineID(), "hostname")
	if r.code != 1 || !strings.Contains(r.err, "the host is unknown") {
		t.Errorf("of an unknown host: %+v", r)
	}
	_, remedy, ok := strings.Cut(strings.TrimSpace(r.err), "If that is right: ")
	if !ok || !strings.HasPrefix(remedy, "ssh root@"+tunnel.IP()+" ssh-keyscan "+h.IP()) {
		t.Fatalf("no way out of %q", r.err)
	}
	l.shell(strings.Replace(remedy, "ssh ", "ssh -o UserKnownHostsFile="+l.known+" ", 1))
	if got := l.ok("ssh", h.MachineID(), "hostname"); got != h.Name()+"\n" {
		t.Errorf("got %q", got)
	}
	// Hashed, it is known as well; and the tunnel's key counts, too.
	l.shell("ssh-keygen -q -H -f " + l.known)
	l.ok("ssh", h.MachineID(), "true")
	l.remember(strings.Replace(l.line(h), h.IP(), tunnel.IP(), 1))
	l.fails(1, []string{"--tunnel", tunnel.IP(), "CHANGED", l.known + ":1"}, "list-machines")
	if _, err := os.Stat(l.home + "/.ssh/known_hosts"); err == nil {
		t.Error("fleetctl wrote into ~/.ssh/known_hosts")
	}
}

// shell runs a line as the operator would.
func (l *laptop) shell(line string) {
	l.w.t.Helper()
	cmd := exec.CommandContext(l.w.ctx, "sh", "-ec", line)
	cmd.Env, cmd.Dir = l.env, l.home
	if out, err := cmd.CombinedOutput(); err != nil {
		l.w.t.Fatalf("%s: %v\n%s", line, err, out)
	}
}

func TestHangingHostTimesOut(t *testing.T) {
	w := use(t)
	l := w.laptop("root", "FLEETCTL_SSH_TIMEOUT=2")
	h := w.Hosts[1]
	w.fleetctl("start", w.file("there.service", told+"[X-Fleet]\nMachineID="+h.MachineID()+"\n"))
	w.await("the unit's line", func() (bool, string) {
		r := l.run("journal", "there")
		return strings.Contains(r.out, "said by there"), r.out + r.err
	})
	for _, tt := range []struct {
		name string
		hang func() error
		wake func() error
	}{
		{"its packets vanish", func() error { return h.CutPorts(w.ctx, 22) }, func() error { return h.Rejoin(w.ctx) }},
		{"its sshd says nothing", func() error { return signalSSH(w, h, "STOP") }, func() error { return signalSSH(w, h, "CONT") }},
	} {
		t.Run(tt.name, func(t *testing.T) {
			follow := l.command(w.ctx, "journal", "-f", "there")
			var said bytes.Buffer
			follow.Stderr = &said
			out, err := follow.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := follow.Start(); err != nil {
				t.Fatal(err)
			}
			awaitLine(t, bufio.NewReader(out), "said by there")
			if err := tt.hang(); err != nil {
				t.Fatal(err)
			}
			silence := []string{h.IP() + ":22", "no answer within 2s", "--ssh-timeout"}
			for _, args := range [][]string{{"ssh", h.MachineID(), "true"}, {"status", "there"}, {"journal", "there"}, {"journal", "-f", "there"}} {
				l.fails(1, silence, args...)
			}
			l.fails(1, append(silence, "--tunnel"), "--tunnel", h.IP(), "list-machines")
			// What ran when it happened notices as well.
			if err := follow.Wait(); err == nil || !strings.Contains(said.String(), h.IP()+":22") || !strings.Contains(said.String(), "no answer within 2s") {
				t.Errorf("journal -f ended with %v: %s", err, said.String())
			}
			if err := tt.wake(); err != nil {
				t.Fatal(err)
			}
			l.ok("ssh", h.MachineID(), "true")
		})
	}
}

// Where there are several hosts, one that hangs is named, and the others go on.
func TestOthersGoOnWithoutTheHostThatHangs(t *testing.T) {
	w := use(t)
	l := w.laptop("root", "FLEETCTL_SSH_TIMEOUT=2")
	first, h, last := w.Hosts[0], w.Hosts[1], w.Hosts[2]
	w.fleetctl("start", w.file("all.service", told+"[X-Fleet]\nGlobal=true\n"))
	for _, host := range w.Hosts {
		w.await("the unit's line", func() (bool, string) {
			r := l.run("journal", "-m", host.MachineID(), "all")
			return strings.Contains(r.out, "said by all"), r.out + r.err
		})
	}
	follow := l.command(w.ctx, "journal", "-f", "all")
	out, err := follow.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	said, err := follow.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := follow.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	for range w.Hosts {
		awaitLine(t, lines, "said by all")
	}
	if err := h.CutPorts(w.ctx, 22); err != nil {
		t.Fatal(err)
	}
	r := l.run("status", "all")
	if r.code != 1 || !strings.Contains(r.err, h.IP()+":22") || strings.Count(r.out, "active (running)") != 2 {
		t.Errorf("status: %+v", r)
	}
	r = l.run("journal", "all")
	if r.code != 1 || !strings.Contains(r.err, h.IP()+":22") || strings.Count(r.out, "said by all") != 2 {
		t.Errorf("journal: %+v", r)
	}
	awaitLine(t, bufio.NewReader(said), h.IP()+":22")
	for _, host := range []*platform.Host{first, last} {
		w.run(host, "systemctl restart all.service")
		awaitLine(t, lines, "said by all")
	}
	if err := follow.Process.Signal(os.Interrupt); err != nil {
		t.Fatal(err)
	}
	if _ = follow.Wait(); follow.ProcessState.ExitCode() != 130 {
		t.Errorf("interrupted, it ended with %v", follow.ProcessState)
	}
	if err := h.Rejoin(w.ctx); err != nil {
		t.Fatal(err)
	}
}

// signalSSH sends a signal to all of a host's SSH servers: the one that listens and
// those that serve somebody.
func signalSSH(w *world, h *platform.Host, name string) error {
	_, err := h.Run(w.ctx, "pkill", "-"+name, "-x", "sshd.*")
	return err
}
