package systemd

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/fleet-project/fleet/unit"
)

// What a kernel without cgroup.kill has: lists of processes.
func TestSlay(t *testing.T) {
	root := t.TempDir()
	groups := map[string]bool{ // whether they are killed
		"system.slice/a.service":                        true,
		"system.slice/a.service/inner":                  true,
		"system.slice/deep.slice/_cpu.service":          true,
		"system.slice/b.service":                        false,
		"a.service.d":                                   false,
		"user.slice/user@0.service/app.slice/a.service": false, // a user's own
	}
	processes := map[string]*exec.Cmd{}
	for group := range groups {
		cmd := exec.Command("sleep", "infinity")
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = cmd.Process.Kill() })
		processes[group] = cmd
		if err := os.MkdirAll(filepath.Join(root, group), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(root, group, "cgroup.procs"), fmt.Append(nil, cmd.Process.Pid, "\n"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if err := slayBelow(root, []unit.Name{"a.service", "cpu.service", "nowhere.service"}); err != nil {
		t.Error(err)
	}
	for group, killed := range groups {
		if !killed {
			if err := processes[group].Process.Signal(syscall.Signal(0)); err != nil {
				t.Errorf("%s: %v", group, err)
			}
			_ = processes[group].Process.Kill()
		}
		err := processes[group].Wait()
		status := processes[group].ProcessState.Sys().(syscall.WaitStatus)
		if status.Signal() != syscall.SIGKILL {
			t.Errorf("%s: %v", group, err)
		}
	}
}
