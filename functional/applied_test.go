package functional

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/cluster"
	"github.com/fleet-project/fleet/functional/platform"
)

// appliedConfig is what an Ignition config can say of a running host; KEY is a
// public key.
const appliedConfig = `variant: fcos
version: 1.7.0
passwd:
  groups:
    - name: team
      gid: 4000
  users:
    - name: jo
      groups: [team, sudo]
      password_hash: $6$abc$def
      ssh_authorized_keys: ["KEY"]
    - name: core
      ssh_authorized_keys: ["KEY"]
storage:
  directories:
    - path: /srv/team
      mode: 02770
      group: {name: team}
  files:
    - path: /etc/hostname
      overwrite: true
      contents: {inline: "applied\n"}
    - path: /srv/team/note
      mode: 0640
      user: {name: jo}
      group: {name: team}
      contents: {inline: "hello\n"}
    - path: /usr/local/lib/systemd/system/shipped.service
      contents:
        inline: |
          [Service]
          Type=oneshot
          RemainAfterExit=yes
          ExecStart=/bin/true
          [Install]
          WantedBy=multi-user.target
systemd:
  units:
    - name: lasting.service
      enabled: true
      contents: |
        [Unit]
        Description=as written
        [Service]
        ExecStart=/bin/sleep infinity
        [Install]
        WantedBy=multi-user.target
        RequiredBy=lasting-too.target
        Alias=also-lasting.service
        Also=lasting.socket
      dropins:
        - name: 10-more.conf
          contents: |
            [Service]
            Environment=MORE=1
    - name: lasting.socket
      contents: |
        [Socket]
        ListenStream=/run/lasting.sock
        [Install]
        WantedBy=sockets.target
    - name: each@.service
      contents: |
        [Service]
        ExecStart=/bin/sleep infinity
        [Install]
        WantedBy=multi-user.target
    - name: each@one.service
      enabled: true
    - name: shipped.service
      enabled: true
    - name: cron.service
      enabled: false
    - name: fstrim.timer
      mask: true
    - name: e2scrub_reap.service
      mask: false
`

// A Butane config applied to a running host: its users log in, its units run,
// systemd finds them enabled as if it had done it itself; all of it is there after
// a reboot, and a second time nothing is changed.
func TestConfigAppliedToARunningHost(t *testing.T) {
	if whyNoHost != nil {
		t.Skipf("needs real hosts: %v", whyNoHost)
	}
	layer, err := cluster.Installed(t.Context(), plat)
	if err != nil {
		t.Fatal(err)
	}
	key := filepath.Join(t.TempDir(), "key")
	if out, err := exec.Command("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "jo@home", "-f", key).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	public, err := os.ReadFile(key + ".pub")
	if err != nil {
		t.Fatal(err)
	}
	w := bareHosts(t, platform.HostSpec{Name: "live", Layers: []string{layer}, Files: map[string]platform.File{
		"/root/config.bu":                  {Content: strings.ReplaceAll(appliedConfig, "KEY", strings.TrimSpace(string(public)))},
		"/home/core/.ssh/authorized_keys":  {Content: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIOthers other@home\n"},
		"/etc/systemd/system/cron.service": {Content: "[Service]\nExecStart=/bin/sleep infinity\n[Install]\nWantedBy=multi-user.target\n"},
	}})
	h := w.Hosts[0]
	w.run(h, "chown -R core: /home/core/.ssh; chmod 0700 /home/core/.ssh; systemctl enable cron.service; userdel -rf jo 2>/dev/null || true")
	before := w.run(h, "cat /etc/passwd /etc/group; ls /etc/systemd/system")
	planned := w.run(h, "fleetd cloudinit --diff --from-file /root/config.bu")
	for _, want := range []string{"create /etc/systemd/system/lasting.service", "+Description=as written", "set the host's name", "change /etc/shadow", "content differs"} {
		if !strings.Contains(planned, want) {
			t.Errorf("--diff lacks %q:\n%s", want, planned)
		}
	}
	if strings.Contains(planned, "$6$abc") {
		t.Errorf("--diff shows a password's hash:\n%s", planned)
	}
	if after := w.run(h, "cat /etc/passwd /etc/group; ls /etc/systemd/system"); after != before {
		t.Errorf("--diff changed\n%s\nto\n%s", before, after)
	}
	w.run(h, "fleetd cloudinit --from-file /root/config.bu")

	check := func(when string) {
		t.Helper()
		for _, c := range []struct{ line, want string }{
			{"hostname", "applied"},
			{"id jo", "uid=1001(jo) gid=1001(jo) groups=1001(jo),27(sudo),4000(team)"},
			{"getent shadow jo | cut -d: -f2", "$6$abc$def"},
			{"pwck -rq; grpck -r && echo consistent", "consistent"},
			{"stat -c '%a %U %G' /srv/team /srv/team/note /home/jo/.ssh /home/jo/.ssh/authorized_keys | xargs", "2770 root team 640 jo team 700 jo jo 600 jo jo"},
			{"cat /home/jo/.profile | cmp - /etc/skel/.profile && [ $(stat -c %a /home/jo) = $(stat -c %a /home/core) ] && echo alike", "alike"},
			{"grep -c Others /home/core/.ssh/authorized_keys", "1"},
			{"systemctl is-active lasting.service also-lasting.service each@one.service shipped.service lasting.socket | xargs", "active active active active active"},
			{"systemctl is-enabled lasting.service lasting.socket each@one.service shipped.service | xargs", "enabled enabled enabled enabled"},
			{"systemctl is-enabled cron.service fstrim.timer e2scrub_reap.service 2>&1 | xargs || true", "disabled masked enabled"},
			{"systemctl show -P Environment lasting.service", "MORE=1"},
			{"systemctl show -P NeedDaemonReload lasting.service each@one.service cron.service | xargs", "no no no"},
			{"systemctl is-system-running || systemctl --failed --no-legend", "running"},
		} {
			if got := w.run(h, c.line); got != c.want {
				t.Errorf("%s, `%s` says %q, not %q", when, c.line, got, c.want)
			}
		}
		for _, user := range []string{"jo", "core"} {
			ssh := exec.CommandContext(w.ctx, "ssh", "-i", key, "-o", "IdentitiesOnly=yes", "-o", "IdentityAgent=none", "-o", "StrictHostKeyChecking=no", "-o", "UserKnownHostsFile=/dev/null",
				"-o", "BatchMode=yes", user+"@"+h.IP(), "id", "-un")
			if out, err := ssh.Output(); err != nil || strings.TrimSpace(string(out)) != user {
				t.Errorf("%s, %s's login: %q, %v", when, user, out, err)
			}
		}
		pid := w.run(h, "systemctl show -P MainPID lasting.service")
		again := w.run(h, "fleetd cloudinit --output=json --from-file /root/config.bu")
		var told struct{ Changes []any }
		if err := json.Unmarshal([]byte(again), &told); err != nil || len(told.Changes) > 0 {
			t.Errorf("%s, a second time: %v\n%s", when, err, again)
		}
		if now := w.run(h, "systemctl show -P MainPID lasting.service"); now != pid {
			t.Errorf("%s, a second time restarted lasting.service", when)
		}
	}
	check("applied")

	// What we linked is what systemctl would have linked.
	const links = "cd /etc/systemd/system; find . -type l -printf '%p %l\n' | sort"
	ours := w.run(h, links)
	w.run(h, "systemctl -q disable lasting.service lasting.socket each@one.service shipped.service; systemctl -q enable lasting.service each@one.service shipped.service")
	if theirs := w.run(h, links); ours != theirs {
		t.Errorf("we link\n%s\nsystemctl links\n%s", ours, theirs)
	}

	if err := h.PowerOff(w.ctx); err != nil {
		t.Fatal(err)
	}
	if err := h.Start(w.ctx); err != nil {
		t.Fatal(err)
	}
	w.await("the boot's end", func() (bool, string) {
		state := w.run(h, "systemctl is-system-running || true")
		return state == "running", state
	})
	check("after a reboot")

	// Tools of the host find accounts that they can work on.
	w.run(h, "usermod -aG docker jo && useradd -m later && passwd -l jo && userdel -r later")

	// Killed at any moment, and run again: nothing is left to do after that.
	w.run(h, `sed -i 's/as written/killed/; s/hello/killed/' /root/config.bu; sed -i 's/^    - path: .srv.team.note/&\n      overwrite: true/' /root/config.bu
for delay in 0.005 0.01 0.015 0.02 0.03 0.05; do timeout -s KILL $delay fleetd cloudinit --quiet --from-file /root/config.bu || true; done
fleetd cloudinit --quiet --from-file /root/config.bu`)
	if got := w.run(h, "systemctl show -P Description lasting.service; systemctl show -P NeedDaemonReload lasting.service; cat /srv/team/note; ls -A /etc /srv/team /etc/systemd/system | grep -c fleetd-cloudinit- || true"); got != "killed\nno\nkilled\n0" {
		t.Errorf("killed and run again: %q", got)
	}
	check("killed and run again")
	// A script's output is in the journal, and how it ends is how the run ends.
	scripted := func(script string) string {
		return w.run(h, "printf '"+script+"' > /root/script; fleetd cloudinit --from-file /root/script 2>&1 || echo status $?; journalctl --sync; journalctl -q --no-pager -o cat -u 'fleet-cloudinit-script-*'")
	}
	if got := scripted(`#!/bin/bash\necho said by $BASH\n`); !strings.Contains(got, ": done") || !strings.Contains(got, "said by /bin/bash") {
		t.Errorf("a script: %s", got)
	}
	if got := scripted(`#!/bin/bash\nexit 3\n`); !strings.Contains(got, ": failed") || !strings.Contains(got, "status 1") {
		t.Errorf("a script that fails: %s", got)
	}

	// What a cloud-config says until the next boot only.
	w.run(h, `cat > /root/runtime.yaml <<'END'
#cloud-config
coreos:
  units:
    - name: brief.service
      runtime: true
      enable: true
      command: start
      content: |
        [Service]
        ExecStart=/bin/sleep infinity
        [Install]
        WantedBy=multi-user.target
    - name: lasting.service
      runtime: true
      mask: true
      command: stop
END
fleetd cloudinit --from-file /root/runtime.yaml`)
	if got := w.run(h, "systemctl is-enabled brief.service; systemctl is-active brief.service; readlink /run/systemd/system/lasting.service; systemctl is-active lasting.service || true"); got != "enabled-runtime\nactive\n/dev/null\ninactive" {
		t.Errorf("until the next boot: %q", got)
	}
}
