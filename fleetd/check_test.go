package main

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// What a process would read is told by its arguments, its environment and where it is.
func TestCheckOfAProcess(t *testing.T) {
	dir := t.TempDir()
	conf := filepath.Join(dir, "conf")
	if err := unix.Mkfifo(conf, 0o600); err != nil {
		t.Fatal(err)
	}
	// It waits for its configuration's end, and then has no reason to go on.
	fleetd := exec.Command("fleetd", "-config", "conf")
	fleetd.Dir, fleetd.Env = dir, []string{"FLEET_TOKEN_LIMIT=7"}
	if err := fleetd.Start(); err != nil {
		t.Fatal(err)
	}
	end, err := os.OpenFile(conf, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		fmt.Fprintln(end, "verbosity=loud")
		if err := end.Close(); err != nil {
			t.Error(err)
		}
		if err := fleetd.Wait(); err == nil {
			t.Error("it goes on")
		}
	}()
	ask := func() (string, error) {
		cmd := exec.Command("fleetd", "check", "--pid", fmt.Sprint(fleetd.Process.Pid))
		cmd.Env = []string{"FLEET_TOKEN_LIMIT=not its"}
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	for _, tt := range []struct{ name, text, want string }{
		{"good", "metadata=a=1\n", ""},
		{"broken", "metadata=a=1\nverbosity=loud\n", "fleetd: conf:2: verbosity"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if err := os.WriteFile(conf+".new", []byte(tt.text), 0o600); err != nil {
				t.Fatal(err)
			}
			if err := os.Rename(conf+".new", conf); err != nil {
				t.Fatal(err)
			}
			out, err := ask()
			if (err == nil) != (tt.want == "") || !strings.HasPrefix(out, tt.want) || err == nil && out != "" {
				t.Errorf("%v: %s", err, out)
			}
		})
	}
}

func TestCheckOfAnotherProcess(t *testing.T) {
	for name, args := range map[string][]string{
		"another program":     {"sleep", "infinity"},
		"another of fleetd's": {"fleetd", "discovery", "--listen", "127.0.0.1:0", "--data-dir", t.TempDir()},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			if err := checkProcess(cmd.Process.Pid); err == nil || !strings.Contains(err.Error(), "no fleetd that has a configuration") {
				t.Errorf("%v", err)
			}
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
			_ = cmd.Wait() // it was killed
		})
	}
}
