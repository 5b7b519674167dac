package functional

import (
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

const bootConfig = `#cloud-config
hostname: from-the-config
write_files:
  - path: /etc/told
    content: "private: $private_ipv4\n"
coreos:
  units:
    - name: first.service
      command: start
      content: |
        [Unit]
        After=fleet-cloudinit.service
        [Service]
        Type=oneshot
        RemainAfterExit=yes
        ExecStart=/bin/sh -c 'echo first >> /root/order'
    - name: fails.service
      command: start
      content: |
        [Service]
        Type=oneshot
        ExecStart=/bin/false
    - name: last.service
      command: restart
      content: |
        [Unit]
        After=fleet-cloudinit.service
        [Service]
        Type=oneshot
        ExecStart=/bin/sh -c 'echo last >> /root/order'
`

// A host boots with a cloud-config whose commands are for units that wait for
// the service that applies it: the boot is not held up, the commands run in their
// order, and the one that fails is told and keeps none from running. By hand, all
// of it is said on the terminal.
func TestCloudConfigOnARealHost(t *testing.T) {
	if whyNoHost != nil {
		t.Skipf("needs real hosts: %v", whyNoHost)
	}
	layer, err := cluster.Installed(t.Context(), plat)
	if err != nil {
		t.Fatal(err)
	}
	w := bareHosts(t, platform.HostSpec{Name: "cloudinit", Layers: []string{layer}, Files: map[string]platform.File{
		"/var/lib/coreos-install/user_data": {Content: bootConfig},
	}})
	h := w.Hosts[0]
	const commands = "fleet-cloudinit-commands.service"
	w.await("the commands' end", func() (bool, string) {
		state := w.run(h, "systemctl show -P ActiveState "+commands)
		return state == "failed", state
	})
	if got := w.run(h, "systemctl is-active fleet-cloudinit.service; cat /etc/told; hostname; cat /root/order"); got !=
		"active\nprivate: "+h.IP()+"\nfrom-the-config\nfirst\nlast" {
		t.Errorf("after the boot: %s", got)
	}
	log := w.run(h, "journalctl --no-pager -o cat -u "+commands)
	for _, want := range []string{"start first.service: done", "start fails.service: failed", "restart last.service: done", "look at `journalctl -u fails.service`"} {
		if !strings.Contains(log, want) {
			t.Errorf("the commands' log lacks %q:\n%s", want, log)
		}
	}
	if left := w.run(h, "ls /run/fleet-cloudinit"); strings.Contains(left, "commands.json") {
		t.Errorf("left behind: %s", left)
	}

	// By hand: nothing differs, and a command that fails makes it fail.
	if got := w.run(h, "fleetd cloudinit --diff"); got != "nothing would be changed: this host is as /var/lib/coreos-install/user_data says" {
		t.Errorf("--diff: %s", got)
	}
	got := w.run(h, "fleetd cloudinit 2>&1 || echo status $?")
	for _, want := range []string{"start first.service: done", "start fails.service: failed", "nothing to change: this host is as", "status 1"} {
		if !strings.Contains(got, want) {
			t.Errorf("by hand, %q is missing:\n%s", want, got)
		}
	}
	// As an old unit file may call it; the service may be run again, too.
	w.run(h, "ln -s /usr/bin/fleetd /root/coreos-cloudinit; echo '#cloud-config' > /root/none.yaml; /root/coreos-cloudinit -from-file=/root/none.yaml")
	w.run(h, "systemctl restart fleet-cloudinit.service")

	// A drive whose user-data is malformed: its keys are taken all the same, so
	// that somebody can log in to see why.
	w.run(h, `mkdir -p /media/configdrive/openstack/latest && cd /media/configdrive/openstack/latest
echo '{"hostname": "from-the-drive", "public_keys": {"me": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJc0wrXGpyGDmYxGbMAZmrkxiFCW5Vp9zqJXZuFyJfWk me"}}' > meta_data.json
printf '#cloud-config\nhostnam: wrong\n' > user_data`)
	got = w.run(h, "fleetd cloudinit -oem=ec2-compat 2>&1 || echo status $?; hostname; grep -c ' me$' /home/core/.ssh/authorized_keys*")
	for _, want := range []string{"the config drive in /media/configdrive:2: error: hostnam", "so that one can log in", "status 1", "from-the-drive", "1"} {
		if !strings.Contains(got, want) {
			t.Errorf("with malformed user-data, %q is missing:\n%s", want, got)
		}
	}
}
