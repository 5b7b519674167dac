package functional

import (
	"errors"
	"strings"
	"testing"

	"github.com/fleet-project/fleet/functional/platform"
)

func TestSubmitLoadStartDestroy(t *testing.T) {
	w := use(t)
	path := w.file("life.service", sleeper(""))

	if got, want := w.fleetctl("submit", path), "Unit life.service inactive\n"; got != want {
		t.Errorf("submit: %q, want %q", got, want)
	}
	if got := w.fleetctl("submit", path); got != "" {
		t.Errorf("submitting the same again printed %q", got)
	}
	load := w.fleetctl("load", "life")
	h := w.host("life.service")
	if want := "Unit life.service loaded on " + h.MachineID()[:8] + ".../" + h.IP() + "\n"; load != want {
		t.Errorf("load: %q, want %q", load, want)
	}
	if pid := w.mainPID(h, "life"); pid != "0" {
		t.Errorf("a loaded unit runs as process %s", pid)
	}
	if got, want := w.fleetctl("start", "life"), strings.Replace(load, "loaded", "launched", 1); got != want {
		t.Errorf("start: %q, want %q", got, want)
	}
	if !w.active(h, "life") {
		t.Error("start returned, but systemd does not have the unit active")
	}
	pid := w.mainPID(h, "life")
	w.fleetctl("restart", "life")
	if after := w.mainPID(h, "life"); after == pid || after == "0" {
		t.Errorf("restart: main PID was %s, is %s", pid, after)
	}
	w.fleetctl("stop", "life")
	if w.active(h, "life") {
		t.Error("stop returned, but the unit is active")
	}
	w.fleetctl("unload", "life")
	if got := w.run(h, "systemctl show -P LoadState life.service"); got != "not-found" {
		t.Errorf("unload left the unit %s on the host", got)
	}
	w.fleetctl("start", "life")
	if got := w.fleetctl("cat", "life"); got != sleeper("") {
		t.Errorf("cat: %q", got)
	}
	h = w.host("life.service")
	w.fleetctl("destroy", "life")
	if w.active(h, "life") {
		t.Error("destroy returned, but the unit is active")
	}
	if got := w.fleetctl("list-unit-files", "--no-legend"); got != "" {
		t.Errorf("destroy left %q", got)
	}
	if kvs := w.get(h, prefix+"states/").Kvs; len(kvs) != 0 {
		t.Errorf("destroy left states: %v", kvs)
	}
	if kvs := w.get(h, prefix+"schedule/").Kvs; len(kvs) != 0 {
		t.Errorf("destroy left a schedule: %v", kvs)
	}
}

func TestStatusAndJournalOfUnitsFleetdRuns(t *testing.T) {
	w := use(t)
	path := w.file("talk.service", "[Service]\nExecStart=/bin/sh -c 'echo said by talk; exec sleep infinity'\n")
	w.fleetctl("start", path)
	h := w.host("talk.service")
	w.await("the journal of talk.service", func() (bool, string) {
		out, err := h.Run(w.ctx, "fleetctl", "journal", "talk")
		return err == nil && strings.Contains(out, "said by talk"), out
	})
	out, err := h.Run(w.ctx, "fleetctl", "status", "talk")
	if err != nil || !strings.Contains(out, "active (running)") {
		t.Errorf("status: %v\n%s", err, out)
	}
	w.fleetctl("stop", "talk")
	_, err = h.Run(w.ctx, "fleetctl", "status", "talk")
	var failed *platform.CommandError
	if !errors.As(err, &failed) || failed.Code != 3 {
		t.Errorf("status of a stopped unit: %v, want systemctl's exit code 3", err)
	}
}

func TestRefusedBeforeAnythingIsStored(t *testing.T) {
	w := use(t)
	tests := []struct {
		name, file, text string
		says             []string
	}{
		{"a syntax error", "syntax.service", "[Service]\nExecStart=/bin/true\nwhat is this\n", []string{"syntax.service:3:"}},
		{"an unknown X-Fleet key", "key.service", "[Service]\nExecStart=/bin/true\n[X-Fleet]\nMachineMetdata=a=b\n", []string{"key.service:4:", "MachineMetadata"}},
		{"a bad name", "na!me.service", "[Service]\nExecStart=/bin/true\n", []string{"na!me.service"}},
		{"a bad combination", "both.service", "[Service]\nExecStart=/bin/true\n[X-Fleet]\nGlobal=true\nMachineOf=x.service\n", []string{"both.service:", "Global", "MachineOf"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			before := w.revision(w.Any())
			path := w.file(tt.file, tt.text)
			_, err := w.Fleetctl(w.ctx, "start", path)
			var failed *platform.CommandError
			if !errors.As(err, &failed) || failed.Code != 1 {
				t.Fatalf("got %v, want exit code 1", err)
			}
			for _, s := range tt.says {
				if !strings.Contains(failed.Stderr, s) {
					t.Errorf("%q does not name %q", failed.Stderr, s)
				}
			}
			if after := w.revision(w.Any()); after != before {
				t.Errorf("etcd went from revision %s to %s", before, after)
			}
		})
	}
}

func TestUnitThatFitsNowhereSaysWhy(t *testing.T) {
	w := use(t)
	path := w.file("nowhere.service", sleeper("MachineMetadata=region=mars\n"))
	_, err := w.Fleetctl(w.ctx, "start", "--block-attempts", "1", path)
	var failed *platform.CommandError
	if !errors.As(err, &failed) || failed.Code != 1 {
		t.Fatalf("got %v, want exit code 1", err)
	}
	explained := w.fleetctl("explain", "nowhere")
	for _, h := range w.Hosts {
		for what, text := range map[string]string{"start": failed.Stderr, "explain": explained} {
			if !strings.Contains(text, h.MachineID()[:8]) {
				t.Errorf("%s does not name machine %s:\n%s", what, h.MachineID(), text)
			}
		}
	}
	if !strings.Contains(explained, "region=mars") {
		t.Errorf("explain does not say what does not fit:\n%s", explained)
	}
}

func TestHostsOwnUnitsAreLeftAlone(t *testing.T) {
	w := use(t)
	pids := map[string]string{}
	for _, h := range w.Hosts {
		pids[h.Name()] = w.mainPID(h, "ssh.service")
	}
	path := w.file("ssh.service", sleeper(""))
	_, err := w.Fleetctl(w.ctx, "start", "--block-attempts", "2", path)
	if err == nil || !strings.Contains(err.Error(), "belongs to") {
		t.Errorf("start of a name that is the host's own: %v", err)
	}
	w.fleetctl("destroy", "ssh.service")
	for _, h := range w.Hosts {
		if got := w.mainPID(h, "ssh.service"); got != pids[h.Name()] {
			t.Errorf("%s: sshd was process %s, is %s", h.Name(), pids[h.Name()], got)
		}
	}
}
