package platform

import (
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

// Check decides between real hosts and a fallback: it must not be taken in by a
// root that isn't one.
func TestCheckWithoutPrivileges(t *testing.T) {
	if os.Geteuid() != 0 {
		if err := Check(); err == nil || !strings.Contains(err.Error(), "root") {
			t.Errorf("as an ordinary user: %v", err)
		}
		return
	}
	for name, attr := range map[string]*syscall.SysProcAttr{
		"user namespace": {
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{Size: 1 << 16}},
			GidMappings: []syscall.SysProcIDMap{{Size: 1 << 16}},
		},
		"own network in a user namespace": {
			Cloneflags:  syscall.CLONE_NEWUSER | syscall.CLONE_NEWNET,
			UidMappings: []syscall.SysProcIDMap{{Size: 1 << 16}},
			GidMappings: []syscall.SysProcIDMap{{Size: 1 << 16}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), ownerEnv+"=check -")
			cmd.SysProcAttr = attr
			out, err := cmd.CombinedOutput()
			if _, started := err.(*exec.ExitError); err != nil && !started {
				t.Skipf("can't be tried here: %v", err)
			}
			if err == nil {
				t.Error("Check found nothing missing")
			}
			if said := strings.TrimSpace(string(out)); !strings.HasPrefix(said, "real hosts need ") || strings.Contains(said, "\n") {
				t.Errorf("it says %q, want one line", said)
			}
		})
	}
}

// Check must leave the process as it was: other goroutines run on its threads.
func TestCheckChangesNothing(t *testing.T) {
	namespaces := func() string {
		var all strings.Builder
		for _, ns := range []string{"mnt", "net", "uts", "ipc", "cgroup"} {
			for _, of := range []string{"self", "thread-self"} {
				link, err := os.Readlink("/proc/" + of + "/ns/" + ns)
				if err != nil {
					t.Fatal(err)
				}
				all.WriteString(link + " ")
			}
		}
		return all.String()
	}
	before := namespaces()
	for range 50 {
		_ = Check()
		if now := namespaces(); now != before {
			t.Fatalf("namespaces: %s, were %s", now, before)
		}
	}
}
