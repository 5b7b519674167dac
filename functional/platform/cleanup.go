package platform

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
)

// removeScript removes a platform and everything of it. It is a script because
// it must also run when the process that made the platform is dead: whoever
// removes a platform, it happens by this one text.
//
//go:embed remove.sh
var removeScript string

// reaper removes the platform when its standard input ends, that is when the
// owner is dead, unless told before that the platform stays.
const reaper = `trap '' INT TERM HUP QUIT
read -r word && [ "$word" = detached ] && exit 0
exec sh "$0/remove.sh"`

// writeRemover puts the removal script into the platform's directory.
func (d *description) writeRemover() error {
	twin, err := cgroupTwin(d.Cgroup)
	if err != nil {
		return err
	}
	var b strings.Builder
	quote := func(name, value string) {
		fmt.Fprintf(&b, "%s='%s'\n", name, strings.ReplaceAll(value, "'", `'\''`))
	}
	quote("dir", platformDir(d.Name))
	quote("data", d.Data)
	quote("cgroup", d.Cgroup)
	quote("twin", twin)
	quote("bridge", d.Net.bridge())
	quote("mac", d.Net.MAC)
	quote("links", d.Net.links())
	quote("forward", strings.Join(d.Net.forwardRule(), " "))
	b.WriteString(removeScript)
	return os.WriteFile(filepath.Join(platformDir(d.Name), "remove.sh"), []byte(b.String()), 0o755)
}

// startReaper starts the process that cleans up after this one. What it
// returns keeps it waiting until closed.
func startReaper(dir string) (*os.File, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer r.Close()
	cmd := exec.Command("sh", "-c", reaper, dir)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + toolPath}
	cmd.Stdin = r
	// A session of its own: Ctrl-C is for the owner.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := cmd.Start(); err != nil {
		w.Close()
		return nil, err
	}
	// It ends with the pipe that is returned, or outlives this process.
	go func() { _ = cmd.Wait() }()
	return w, nil
}

// remove runs the platform's removal script.
func remove(ctx context.Context, name string) error {
	dir := platformDir(name)
	script := filepath.Join(dir, "remove.sh")
	if _, err := os.Stat(script); errors.Is(err, fs.ErrNotExist) {
		// Nothing is made before the script is in place.
		return os.RemoveAll(dir)
	}
	cmd := exec.CommandContext(ctx, "sh", script)
	cmd.Env = []string{"PATH=" + toolPath}
	cmd.Dir = "/"
	if _, err := output(cmd, "", []string{"sh", script}, nil); err != nil {
		return fmt.Errorf("remove platform %s: %w", name, err)
	}
	return nil
}

// Reap removes the platforms whose owners died without removing them, and that
// their reapers couldn't remove either (the machine's power, a container's end).
// New does it as well.
func Reap(ctx context.Context, out io.Writer) error {
	lock, err := lockFile(ctx, filepath.Join(baseDir(), ".lock"))
	if err != nil {
		return err
	}
	defer lock.Close()
	names, err := platformNames()
	if err != nil {
		return err
	}
	var failed []error
	for _, name := range names {
		var d description
		if err := readJSON(filepath.Join(platformDir(name), "platform.json"), &d); err == nil && d.Detached {
			continue
		}
		// No lock is there if a removal has come half-way, and perhaps still is
		// going on, which does no harm. Making it anew then would.
		owner, err := tryLock(filepath.Join(platformDir(name), "owner.lock"), 0)
		if errors.Is(err, errLocked) {
			continue
		}
		if err == nil && out != nil {
			fmt.Fprintf(out, "removing platform %s: its owner is gone\n", name)
		}
		if err == nil || errors.Is(err, fs.ErrNotExist) {
			err = remove(ctx, name)
		}
		if err != nil {
			failed = append(failed, err)
		}
		if owner != nil {
			owner.Close()
		}
	}
	return errors.Join(failed...)
}
