package platform

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
)

// baseDir is where each platform of this machine has its directory, by its
// name: that is how another process finds it.
func baseDir() string {
	if dir := os.Getenv("FLEET_PLATFORM_DIR"); dir != "" {
		return dir
	}
	return "/var/lib/fleet-platform"
}

// description is what another process needs to know of a platform.
type description struct {
	Name     string
	Net      network
	Cgroup   string // every process of every host is below it
	RootFS   string
	Data     string // hosts' disks, by name
	Tmpfs    bool   // a tmpfs is mounted on Data
	Detached bool   // it stays when its owner goes
	Owner    int    // process id, for people to read; the lock is what counts
}

// hostDescription is the same of a host.
type hostDescription struct {
	Name       string
	Number     int
	MachineID  string
	Docker     bool
	Layers     []string
	Supervisor int // the process id of its launch.sh, if it runs
}

// Names end up in host names, interface aliases, cgroups and paths.
var validName = regexp.MustCompile(`^[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?$`)

func checkName(what, name string) error {
	if !validName.MatchString(name) {
		return fmt.Errorf("%s name %q: want 1 to 40 of a-z, 0-9 and inner dashes", what, name)
	}
	return nil
}

// writeJSON replaces a file whole, so that a reader never sees half of it.
func writeJSON(path string, v any) error {
	data, err := json.MarshalIndent(v, "", "\t")
	if err != nil {
		return err
	}
	tmp := path + ".new"
	if err := os.WriteFile(tmp, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return os.Rename(tmp, path)
}

func readJSON(path string, v any) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if err := json.Unmarshal(data, v); err != nil {
		return fmt.Errorf("%s: %w", path, err)
	}
	return nil
}

// platformNames are the names that have a directory, complete or not.
func platformNames() ([]string, error) {
	entries, err := os.ReadDir(baseDir())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		if e.IsDir() && validName.MatchString(e.Name()) {
			names = append(names, e.Name())
		}
	}
	return names, nil
}

func platformDir(name string) string { return filepath.Join(baseDir(), name) }
