package functional

import (
	"strings"
	"testing"
)

// Who may talk to fleetd is who may do all as root: root, and the group that the
// operator has chosen.
func TestWhoMayUseTheAPISocket(t *testing.T) {
	w := use(t)
	h := w.Hosts[1]
	w.run(h, "groupadd fleet-admins; useradd --create-home somebody; useradd --create-home --groups fleet-admins admin")
	machines := w.fleetctl("list-machines")
	if got := w.run(h, "stat -L -c '%a %U %G' /run/fleet.sock"); got != "660 root root" {
		t.Errorf("/run/fleet.sock is %s", got)
	}
	refused := func(user string) {
		t.Helper()
		for _, args := range [][]string{{"list-machines"}, {"destroy", "x.service"}, {"--endpoint", "unix:///run/fleet.sock", "list-units"}} {
			out, err := h.RunAs(w.ctx, user, append([]string{"fleetctl"}, args...)...)
			if err == nil {
				t.Errorf("%s was let in with %v:\n%s", user, args, out)
				continue
			}
			for _, want := range []string{"you may not write to that socket", "sudo", "SocketGroup="} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%v says nothing of %q:\n%v", args, want, err)
				}
			}
		}
		if out, err := h.RunAs(w.ctx, user, "curl", "-sS", "--unix-socket", "/run/fleet.sock", "http://fleet/metrics"); err == nil {
			t.Errorf("%s was let in:\n%.200s", user, out)
		}
	}
	refused("somebody")
	refused("admin")

	w.deploy(h, map[string]string{"/etc/systemd/system/fleet.socket.d/30-group.conf": "[Socket]\nSocketGroup=fleet-admins\n"},
		"systemctl stop fleet.socket; systemctl restart fleet.service")
	refused("somebody")
	if got, err := h.RunAs(w.ctx, "admin", "fleetctl", "list-machines"); err != nil || got != machines {
		t.Errorf("a member of the group: %v\n%s", err, got)
	}
	// What else fleet keeps is nobody else's either.
	if open := w.run(h, "find /run/fleet /run/fleet.sock /var/lib/etcd2 -perm /o+w ! -type l"); open != "" {
		t.Errorf("anybody may write:\n%s", open)
	}
	for _, path := range []string{"/var/lib/etcd2/member", "/run/fleet/fleetd.lock"} {
		if out, err := h.RunAs(w.ctx, "somebody", "head", "-c1", path); err == nil {
			t.Errorf("anybody may read %s: %q", path, out)
		}
	}
}
