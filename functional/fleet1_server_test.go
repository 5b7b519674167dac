package functional

import (
	"errors"
	"os/exec"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// This fleetctl does its work at a fleet 1.0, which knows no watch, no texts, no
// restart and no explanation.
func TestFleet1_0Server(t *testing.T) {
	w := useFleet1(t)
	w.fleet1Units()
	tests := []struct {
		args string
		says string // a regular expression
		code int
	}{
		{"list-machines --no-legend", `^\w{8}\.\.\.\s+10\.\S+\s+index=[01]\n\w{8}\.\.\.\s+10\.\S+\s+index=[01]\n$`, 0},
		{"submit a.service", `^Unit a.service inactive\n$`, 0},
		{"submit a.service", `^$`, 0},
		{"load a.service", `^Unit a.service loaded on \S+\n$`, 0},
		{"start a.service", `^Unit a.service launched on \S+\n$`, 0},
		{"start a.service", `^$`, 0},
		{"list-units --no-legend", `^a.service\s+\S+\s+active\s+running\n$`, 0},
		{"list-unit-files --full --no-legend", `^a.service\s+9d0fbe047ade03f9094bedccd34a8d2dcf43b362\s+launched\s+launched\s+\S+\n$`, 0},
		{"list-units --full --no-legend --fields hash", `^9d0fbe047ade03f9094bedccd34a8d2dcf43b362\n$`, 0},
		{"cat a", `^\[Unit\]\nDescription=hello\n\n\[Service\]\nExecStart=/bin/sh -c "echo said by a; \\\n    exec sleep infinity"\n$`, 0},
		{"start changed/a.service", `^WARNING: Unit a.service in registry differs from local unit file changed/a.service. Add --replace to override.\n$`, 0},
		{"load --replace changed/a.service", `Unable to replace unit a.service in state launched: use fleetctl start --replace`, 1},
		{"start --replace changed/a.service", `^Unit a.service launched on \S+\n$`, 0},
		{"cat a", `Description=changed`, 0},
		{"stop a", `^Unit a.service loaded on \S+\nSuccessfully stopped units \[a.service\].\n$`, 0},
		{"list-units --no-legend", `^a.service\s+\S+\s+inactive\s+dead\n$`, 0},
		{"unload a", `^Unit a.service inactive\nSuccessfully unloaded units \[a.service\].\n$`, 0},
		{"unload a", `^$`, 0},
		{"start once.service", `^Unit once.service inactive\nUnit once.service launched on \S+\n$`, 0},
		{"start bad.service", `Unit bad.service failed on \S+: systemd says failed \(failed\)\n`, 1},
		{"submit t@.service", `^Unit t@.service inactive\n$`, 0},
		{"start t@1 t@2", `^Unit t@1.service inactive\nUnit t@2.service inactive\nUnit t@\d.service launched on \S+\nUnit t@\d.service launched on \S+\n$`, 0},
		{"stop 't@*'", `Successfully stopped units \[t@1.service t@2.service\].\n$`, 0},
		{"start --block-attempts=1 none.service", `Gave up waiting for unit none.service: still waiting for a machine that it fits on`, 1},
		{"start g.service", `^Unit g.service inactive\nTriggered global unit g.service start\n$`, 0},
		{"explain a", `is fleet 1.0 or older, which can't explain where a unit may run`, 1},
		{"start nosuch", `unable to find Unit\(nosuch.service\) in Registry or on filesystem`, 1},
		{"stop nosuch", `^Units not found in registry\n$`, 0},
		{"status nosuch", `^Unit nosuch.service does not exist.\n$`, 1},
		{"restart nosuch", `^Unit nosuch.service does not exist.\n$`, 1},
		{"destroy a once bad none g t@1 t@2 t@.service", `(?s)Destroyed a.service.*Destroyed t@2.service`, 0},
		{"list-unit-files --no-legend", `^$`, 0},
		{"list-units --no-legend", `^$`, 0},
	}
	for _, tt := range tests {
		said, code := w.fleetctlAt(tt.args)
		if code != tt.code || !regexp.MustCompile(tt.says).MatchString(said) {
			t.Errorf("fleetctl %s says, exit %d:\n%s\nwant exit %d and %s", tt.args, code, said, tt.code, tt.says)
		}
	}
}

// restart, of which fleet 1.0 knows nothing, stops and starts units where they
// are, global ones too.
func TestFleet1_0ServerRestart(t *testing.T) {
	w := useFleet1(t)
	w.fleet1Units()
	if said, code := w.fleetctlAt("start a.service g.service"); code != 0 {
		t.Fatal(said)
	}
	running := regexp.MustCompile(`\.service\s+active\s+running`)
	w.await("a unit on one machine and one on both", func() (bool, string) {
		said, _ := w.fleetctlAt("list-units --no-legend --fields unit,active,sub")
		return len(running.FindAllString(said, -1)) == 1+len(w.Hosts), said
	})
	before := w.processes("a.service", "g.service")
	one, _ := w.fleetctlAt("list-machines --no-legend --full --fields machine")
	said, code := w.fleetctlAt("restart g.service --machine " + strings.Fields(one)[0])
	if code != 1 || !strings.Contains(said, "is fleet 1.0 or older, which can't restart a unit on one machine only") {
		t.Errorf("exit %d: %s", code, said)
	}
	if d := cmp.Diff(before, w.processes("a.service", "g.service")); d != "" {
		t.Errorf("what was refused has changed main processes:\n%s", d)
	}
	said, code = w.fleetctlAt("restart a.service g.service")
	if code != 0 || !strings.Contains(said, "Unit a.service restarted on ") || !strings.Contains(said, "Unit g.service restarted on 2 machines\n") {
		t.Errorf("exit %d: %s", code, said)
	}
	for where, pid := range w.processes("a.service", "g.service") {
		if (pid == "0") != (before[where] == "0") || pid != "0" && pid == before[where] {
			t.Errorf("the main process of %s was %s and is %s", where, before[where], pid)
		}
	}
}

// processes gives units' main processes by "unit on host".
func (w *world) processes(units ...string) map[string]string {
	w.t.Helper()
	all := map[string]string{}
	for _, h := range w.Hosts {
		for _, u := range units {
			all[u+" on "+h.Name()] = w.mainPID(h, u)
		}
	}
	return all
}

// fleet1Units puts unit files on the first host.
func (w *world) fleet1Units() {
	w.t.Helper()
	files := fleet1Files()
	for name, text := range map[string]string{
		"once.service": "[Service]\nType=oneshot\nExecStart=/bin/sleep 1\n",
		"none.service": sleeper("MachineMetadata=index=none\n"),
	} {
		f := files["/root/fleet1/a.service"]
		f.Content = text
		files["/root/fleet1/"+name] = f
	}
	if err := w.Hosts[0].WriteFiles(w.ctx, files); err != nil {
		w.t.Fatal(err)
	}
}

// waiting is what a fleetctl without a terminal says now and then.
var waiting = regexp.MustCompile(`(?m)^waiting for .*\n`)

// fleetctlAt runs our fleetctl where the unit files are, and gives all that it
// prints, but for what it waits for, and its exit code.
func (w *world) fleetctlAt(args string) (said string, code int) {
	w.t.Helper()
	out, err := w.Hosts[0].Command(w.ctx, "sh", "-c", "cd /root/fleet1 && exec timeout 60 fleetctl "+args).CombinedOutput()
	said = waiting.ReplaceAllString(string(out), "")
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return said, exit.ExitCode()
	} else if err != nil {
		w.t.Fatal(err)
	}
	return said, 0
}
